"""Tables of scores: what counts as a score, what could not be scored, and what is a mistake with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.core.errors import InputError
from harness.outside import Observed, read


def table(folder: Path, *rows: object, name: str = "scores.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def test_every_column_with_a_number_is_a_metric(tmp_path):
    path = table(
        tmp_path,
        {"id": "a", "cluster": "x", "split": "dev", "acc": True, "s": 0.5, "answer": "yes"},
        {"id": 7, "cluster": "x", "acc": False, "s": None, "answer": "no"},
        '{"id": "c", "cluster": "y", "acc": NaN}',
    )
    results = read(path)
    assert list(results.scores) == ["acc", "s"]
    assert results.scores["acc"] == {
        "a": Observed(1.0, "x", "dev"),
        "7": Observed(0.0, "x"),
        "c": Observed(None, "y"),  # NaN is no number: counted, not averaged
    }
    assert [seen.value for seen in results.scores["s"].values()] == [0.5, None, None]


def test_csv_reads_as_jsonl_does(tmp_path):
    rows = "id,topic,acc,chrf,note", "1,x,true,10.5,good", "2,y,False,,", "3,y,1,nan,n"
    results = read(table(tmp_path, *rows, name="scores.csv"), cluster="topic")
    assert results.scores == {
        "acc": {"1": Observed(1.0, "x"), "2": Observed(0.0, "y"), "3": Observed(1.0, "y")},
        "chrf": {"1": Observed(10.5, "x"), "2": Observed(None, "y"), "3": Observed(None, "y")},
    }


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (['{"id": "a", "acc": 1}', '{"id": "b", "acc"'], ":2: not JSON"),
        ([{"id": "a", "acc": 1}, {"id": "a", "acc": 0}], ":2: id 'a' is there twice, first at "),
        ([{"acc": 1}], ":1: no id"),
        ([{"id": "  ", "acc": 1}], ":1: no id"),
        ([{"id": True, "acc": 1}], ":1: no id"),
        ([{"id": "a", "acc": 1}, {"id": "b", "acc": "high"}], ":2: acc 'high' is no number"),
        ([{"id": "a", "acc": 1}, {"id": "b", "acc": [1]}], ":2: acc '[1]' is no number"),
        ([{"id": "a", "acc": 1, "split": "test"}], ":1: split 'test' is unknown. use one of train, tune, dev, release"),
        ([{"id": "a", "cluster": "x", "acc": 1}, {"id": "b", "acc": 1}], ":2: no field 'cluster' to cluster by"),
        ([{"id": "a", "answer": "yes"}], "no column holds scores"),
        ([], "no column holds scores"),
        ([[1]], ":1: a list instead of an object"),
    ],
)
def test_a_mistake_is_said_with_its_line(tmp_path, rows, said):
    with pytest.raises(InputError) as error:
        read(table(tmp_path, *rows))
    assert said in error.value.one_line()


@pytest.mark.parametrize("name", ["none.jsonl", "none.csv", "none.json", "none.eval", "none", "scores.txt"])
def test_what_is_not_there_or_of_no_kind_is_said(tmp_path, name):
    (tmp_path / "scores.txt").write_text("1\n")
    with pytest.raises(InputError):
        read(tmp_path / name)

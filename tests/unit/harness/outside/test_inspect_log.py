"""Inspect's logs, in the form of 0.3.285: one JSON object, or a zip of its pieces."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import InputError
from harness.outside import Observed, read


def sample(item: object, value: Any, epoch: int = 1, **changes: Any) -> dict[str, Any]:
    scores = {"match": {"value": value}} if value is not None else {}
    found = {"id": item, "epoch": epoch, "input": f"say {item}", "target": "x", "scores": scores}
    return found | {"metadata": {"topic": "t"}} | changes


def plain(folder: Path, *samples: dict[str, Any], status: str = "success", name: str = "log.json") -> Path:
    path = folder / name
    path.write_text(json.dumps({"version": 2, "status": status, "eval": {"task": "t"}, "samples": list(samples)}))
    return path


def zipped(folder: Path, *samples: dict[str, Any], summaries: bool = True) -> Path:
    path = folder / "log.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json" if summaries else "_journal/start.json", '{"status": "success"}')
        for one in samples:
            archive.writestr(f"samples/{one['id']}_epoch_{one['epoch']}.json", json.dumps(one))
        if summaries:
            archive.writestr("summaries.json", json.dumps(samples))
    return path


def values(path: Path, scorer: str = "match") -> dict[str, float | None]:
    return {item: seen.value for item, seen in read(path).scores[scorer].items()}


def test_grades_and_numbers_are_scores(tmp_path):
    grades = {"C": 1, "I": 0, "P": 0.5, "N": 0, 0.25: 0.25, True: 1, "yes": 1, "0.75": 0.75}
    log = plain(tmp_path, *(sample(str(n), grade) for n, grade in enumerate(grades)))
    assert list(values(log).values()) == [1, 0, 0.5, 0, 0.25, 1, 1, 0.75]


def test_epochs_are_averaged_and_a_missing_one_leaves_the_sample_unscored(tmp_path):
    log = plain(
        tmp_path,
        sample("a", "C"),
        sample("a", "I", 2),
        sample("b", "C"),
        sample("b", None, 2),
        sample("c", float("nan")),
    )
    assert values(log) == {"a": 0.5, "b": None, "c": None}


@pytest.mark.parametrize("summaries", [True, False])
def test_a_zip_reads_as_the_json_does(tmp_path, summaries):
    samples = [sample("a", "C"), sample(2, "I"), sample(2, "C", 2)]
    assert read(zipped(tmp_path, *samples, summaries=summaries)).scores == read(plain(tmp_path, *samples)).scores


def test_a_zip_compressed_with_zstandard_is_read(tmp_path):
    """As Inspect writes them; Python 3.11's zipfile cannot, so the entry is put together by hand."""
    pyarrow = pytest.importorskip("pyarrow")
    data = json.dumps([sample("a", "C")]).encode()
    path = tmp_path / "log.eval"
    zipfile_with(path, b"summaries.json", data, bytes(pyarrow.compress(data, "zstd", asbytes=True)))
    assert values(path) == {"a": 1.0}
    damaged = bytearray(path.read_bytes())
    damaged[60] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="is damaged"):
        read(path)


def zipfile_with(path: Path, name: bytes, data: bytes, packed: bytes) -> None:
    """One entry of method 93 with an extra field, its directory, and the end (APPNOTE 4.3)."""
    extra = struct.pack("<HH4s", 0x7075, 4, b"test")
    fields = (20, 0, 93, 0, 0, zlib.crc32(data), len(packed), len(data), len(name))
    local = struct.pack("<IHHHHHIIIHH", 0x04034B50, *fields, len(extra)) + name + extra + packed
    entry = struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, *fields, 0, 0, 0, 0, 0, 0) + name
    path.write_bytes(local + entry + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(entry), len(local), 0))


def test_several_values_of_a_scorer_are_several_metrics_and_text_is_none(tmp_path):
    scores = {"graded": {"value": {"tone": 1, "facts": "C"}}, "words": {"value": "fine"}, "plain": 1}
    results = read(plain(tmp_path, sample("a", None, scores=scores)))
    assert list(results.scores) == ["graded/tone", "graded/facts", "plain"]
    assert results.unusable == {"words": "gives 'fine', which is no number and no grade"}


def test_ids_of_messages_are_no_content_and_targets_are(tmp_path):
    def seen(name: str, text: str, ident: str, target: str = "x") -> Observed:
        turns = [{"id": ident, "role": "user", "content": [{"type": "text", "text": text}]}]
        return read(plain(tmp_path, sample("a", "C", input=turns, target=target), name=name)).scores["match"]["a"]

    assert seen("1.json", "say a", "m1").content == seen("2.json", "say a", "m2").content
    assert seen("1.json", "say a", "m1").content != seen("2.json", "say b", "m1").content
    assert seen("1.json", "say a", "m1").content != seen("2.json", "say a", "m1", target="y").content


def test_metadata_clusters_and_an_unfinished_log_says_so(tmp_path):
    results = read(plain(tmp_path, sample("a", "C"), status="cancelled"), cluster="topic")
    assert results.scores["match"]["a"].cluster == "t"
    assert results.notes == ["the log log.json says status cancelled, not success"]


def test_a_folder_of_one_log_is_that_log(tmp_path):
    plain(tmp_path, sample("a", "C"))
    assert values(tmp_path) == {"a": 1.0}
    plain(tmp_path, sample("a", "C"), name="other.json")
    with pytest.raises(InputError, match=r"holds 2 logs: log.json, other.json. name one file"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "is no log of Inspect's with samples"),
        ('{"eval": {}}', "is no log of Inspect's with samples"),
        ('{"eval": {}, "samples": [1]}', "holds a int where a sample should be"),
        ('{"eval": {}, "samples": [{"epoch": 1}]}', "a sample has no id or epoch"),
        ('{"eval": {}, "samples": [{"id": 1}, {"id": 1}]}', "sample '1' is there twice in epoch 1"),
        ('{"eval": {}, "samples": [{"id": 1}]}', "holds no scores: no sample is scored"),
    ],
)
def test_a_mistake_is_said(tmp_path, text, said):
    (tmp_path / "log.json").write_text(text)
    with pytest.raises(InputError) as error:
        read(tmp_path / "log.json")
    assert said in error.value.one_line()
    (tmp_path / "log.eval").write_text(text)
    with pytest.raises(InputError, match="is damaged"):
        read(tmp_path / "log.eval")

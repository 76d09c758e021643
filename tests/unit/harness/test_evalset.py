"""Evalsets as folders: read whole, checked line by line, named by what changes a score."""

from __future__ import annotations

import pytest

from harness.core.errors import InputError
from harness.evalset import EVALSETS, find, load

ITEM = {"id": "1", "prompt": "q", "gold": ["a"]}


def test_an_evalset_is_found_by_name_or_by_folder(desk):
    assert find("mini") == EVALSETS / "mini"
    assert load("evalsets/mini") == load("mini").model_copy(update={"folder": find("evalsets/mini")})
    with pytest.raises(InputError, match=r"evalset 'minni' does not exist. known here: mini"):
        find("minni")


def test_items_have_defaults_and_keep_unknown_fields(desk):
    desk.evalset("e", [{**ITEM, "icons": ["x"]}, {**ITEM, "id": "2", "split": "dev", "wrong": ["b"]}])
    first, second = load("e").items
    assert (first.split, first.other("icons"), first.other("nothing")) == ("release", ["x"], None)
    assert (second.split, second.wrong, second.turns) == ("dev", ["b"], [{"role": "user", "content": "q"}])


def test_clusters_come_from_the_field_that_is_named(desk):
    desk.evalset("e", [{**ITEM, "topic": 7}, {**ITEM, "id": "2", "topic": "x"}], cluster="topic")
    evalset = load("e")
    assert [evalset.cluster_of(item) for item in evalset.items] == ["7", "x"]
    desk.evalset("e", [ITEM])
    assert load("e").cluster_of(load("e").items[0]) == "1"
    desk.evalset("e", [{**ITEM, "topic": 7}, {**ITEM, "id": "2"}], cluster="topic")
    with pytest.raises(InputError, match="item '2' has no 'topic', the cluster field"):
        load("e")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (ITEM, "items.jsonl:2: id '1' stands twice. give every item an id of its own"),
        ({"id": "2"}, "items.jsonl:2: prompt: Field required"),
        ({**ITEM, "id": 2}, "items.jsonl:2: id: Input should be a valid string"),
        ({**ITEM, "id": ""}, "items.jsonl:2: id: "),
        ({**ITEM, "id": "2", "prompt": " "}, "items.jsonl:2: prompt is empty"),
        ({**ITEM, "id": "2", "prompt": [{"role": "bot", "content": "x"}]}, "items.jsonl:2: prompt has a turn that is"),
        ({**ITEM, "id": "2", "prompt": 5}, "items.jsonl:2: prompt: "),
        ({**ITEM, "id": "2", "split": "test"}, "items.jsonl:2: split: Input should be 'tune', 'dev' or 'release'"),
        ({**ITEM, "id": "2", "gold": "a"}, "items.jsonl:2: gold: Input should be a valid list"),
        ([], "items.jsonl:2: a list instead of an object"),
    ],
)
def test_a_bad_item_is_named_by_its_line(desk, row, said):
    desk.evalset("e", [ITEM, row])
    with pytest.raises(InputError) as caught:
        load("e")
    assert said in caught.value.one_line()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": None}, "metrics is missing. name at least one"),
        ({"metrics": {"m": {"scorer": "exact", "direction": "sideways"}}}, "metrics.m.direction"),
        ({"metrics": {"m": {"scorer": "../other/scorer.py"}}}, "scorer '../other/scorer.py' is not a file of this"),
        ({"items": "../mini/items.jsonl"}, "items '../mini/items.jsonl' is not a file of this folder"),
        ({"items": "nothing.jsonl"}, "nothing.jsonl does not exist"),
        ({"licence": None}, "licence: Field required"),
        ({"licens": "x"}, "licens: unknown key. keys here: name, version"),
        ({"name": "../up"}, "name '../up' is not valid"),
        ({"name": "Big"}, "name 'Big' is not valid"),
    ],
)
def test_a_bad_definition_is_named_by_its_key(desk, changes, said):
    desk.evalset("e", [ITEM], **changes)
    with pytest.raises(InputError) as caught:
        load("e")
    assert said in caught.value.one_line()


def test_no_items_are_no_evalset(desk):
    desk.evalset("e", [])
    with pytest.raises(InputError, match=r"items\.jsonl has no items"):
        load("e")


def test_the_hash_covers_what_changes_a_score_and_nothing_else(desk):
    """Items, scorers, word lists a scorer reads, metrics and sampling do; README, description and comments do not."""
    scorer = "def score(item, answer):\n    return {'value': 1}\n"

    def sha(items=None, files=None, **keys):
        desk.evalset("e", items or [ITEM], {"scorer.py": scorer, "words.txt": "a"} | (files or {}), **keys)
        return load("e").sha256

    first = sha()
    assert sha() == first
    assert sha(files={"README.md": "words"}, description="other words") == first
    (desk.root / "evalsets/e/.swap").write_text("an editor's")
    (desk.root / "evalsets/e/__pycache__").mkdir()
    definition = desk.root / "evalsets/e/evalset.yaml"
    definition.write_text("# a comment\n" + definition.read_text())
    assert load("e").sha256 == first
    others = [
        first,
        sha([{**ITEM, "gold": ["b"]}]),
        sha(files={"scorer.py": scorer + "#"}),
        sha(files={"words.txt": "b"}),
        sha(metrics={"m": {"scorer": "contains"}}),
        sha(sampling={"temperature": 0.0, "max_tokens": 5}),
        sha([{**ITEM, "topic": "x"}], cluster="topic"),
        sha(version=2),
    ]
    assert len(set(others)) == len(others)


def test_the_hash_does_not_depend_on_the_folder(desk):
    desk.evalset("e", [ITEM])
    (desk.root / "evalsets" / "e").rename(desk.root / "moved")
    moved = load("moved").sha256
    desk.evalset("e", [ITEM])
    assert load("e").sha256 == moved

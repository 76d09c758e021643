"""Items in training rows: what is found, and what must not be."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from harness.contamination import NGRAM, Item, Match, Row, find, template_of, words_of
from harness.data import read_json_lines

ROOT = Path(__file__).resolve().parents[3]
AAC = ROOT / "experiments" / "data" / "aac"
LONG = (
    "A baker in Lyon sells forty loaves every morning and twenty more in the afternoon, but on Sundays he sells only "
    "half of what he sells on other days. How many loaves does he sell in a week?"
)

ANIMALS = ("cat", "dog", "cow", "hen", "fox", "owl")


def item(prompt: str, *golds: str, name: str = "i1", **fields: str) -> Item:
    return Item(evalset="e", item_id=name, split="release", prompt=prompt, golds=golds, **fields)


def row(prompt: str, *completions: str, **keys: str) -> Row:
    return Row(source="train.jsonl", line=1, prompt=prompt, completions=completions, keys=keys)


def kinds(items: list[Item], *rows: Row) -> dict[str, str]:
    return {one.item_id: one.kind for one in find(items, rows)}


# --- planted copies ---


@pytest.mark.parametrize(
    ("prompt", "completion", "kind"),
    [
        (LONG, "360", "exact"),
        (LONG.upper().replace(",", " —").replace("?", "!!"), "360", "exact"),
        (f"Here is a riddle for you.\n{LONG}\nThink aloud.", "360", "ngram"),
        ("Tell me a riddle.", f"Gladly: {LONG} The answer is 360.", "ngram"),
        (LONG.replace("Lyon", "Nantes"), "360", "ngram"),
        (LONG[: len(LONG) // 2], "no idea", "ngram"),
        ("How many loaves are sold in a week?", "360", None),
        ("A baker sells bread. " * 20, "yes", None),
    ],
)
def test_copies_of_a_long_item(prompt: str, completion: str, kind: str | None):
    assert kinds([item(LONG, "360")], row(prompt, completion)).get("i1") == kind


def test_one_word_changed_is_near_where_no_13_words_are_left():
    """20 words, the 11th changed: runs of 10 and 9. Of 19 pairs 17 are left: 17 / 21 = 0.81."""
    words = [f"word{n}" for n in range(20)]
    changed = [*words[:10], "other", *words[11:]]
    (found,) = find([item(" ".join(words))], [row(" ".join(changed))])
    assert (found.kind, round(found.similarity or 0, 2)) == ("near", 0.81)
    two = [*changed[:5], "another", *changed[6:]]
    assert find([item(" ".join(words))], [row(" ".join(two))]) == []


def test_what_13_words_are():
    words = [f"word{n}" for n in range(40)]
    for shared, kind in ((NGRAM, "ngram"), (NGRAM - 1, None)):
        text = " ".join([*words[:shared], *(f"else{n}" for n in range(30))])
        assert kinds([item(" ".join(words))], row(text)).get("i1") == kind


def test_an_item_of_8_to_12_words_counts_as_a_whole():
    eight, seven = "one two three four five six seven eight", "one two three four five six seven"
    assert kinds([item(eight)], row(f"so: zero {eight} nine")) == {"i1": "ngram"}
    assert kinds([item(seven)], row(f"so: zero {seven} nine")) == {}


def test_a_shorter_item_counts_as_a_line_of_its_own_with_its_answer():
    head = item("What is a head?", "a part of the body")
    said = "Q: What is a head?\nA: a part of the body\nQ: What is a cup?"
    assert kinds([head], row("Answer like this.", said)) == {"i1": "ngram"}
    assert kinds([head], row(said, "a thing to drink from")) == {"i1": "ngram"}
    assert kinds([head], row("Q: What is a head?\nA: the top", "no")) == {}
    assert kinds([head], row("He wondered what is a head of state, a part of the body politic", "no")) == {}


def test_the_answer_side_is_looked_at_too():
    gold = " ".join(f"gold{n}" for n in range(13))
    assert kinds([item("Say the creed", gold)], row("something else", f"well, {gold}")) == {"i1": "ngram"}
    assert kinds([item(LONG, "yes")], row("Is it so?", "yes")) == {}
    preferred = Row(source="p", line=1, prompt="Which?", completions=("this", f"that: {LONG}"))
    assert kinds([item(LONG)], preferred) == {"i1": "ngram"}  # the rejected answer


def test_scripts_without_spaces_have_words():
    asked = "東京から大阪まで新幹線で何時間かかりますか。途中で名古屋に止まります。"
    assert kinds([item(asked)], row(f"質問です。{asked}よろしく。")) == {"i1": "ngram"}
    assert kinds([item(asked)], row("京都から神戸まで電車で何分かかりますか。途中で大阪に止まります。")) == {}


def test_symbols_that_change_what_is_said_are_words():
    assert kinds([item("2 + 3")], row("2 * 3")) == {}
    assert kinds([item("is -3 odd")], row("is 3 odd")) == {}
    assert kinds([item("is it well-known")], row("Is it well known?")) == {"i1": "exact"}
    assert words_of("Wait... {“3,5”}") == ("wait", "3", "5")


# --- templates ---


def test_what_most_prompts_share_is_their_template():
    prompts = [words_of(f"Translate this: {word} {word}s\nAnswer:") for word in ANIMALS]
    found = template_of(prompts)
    assert (found.prefix, found.suffix) == (("translate", "this"), ("answer",))
    assert found.strip(prompts[0]) == ("cat", "cats")
    assert found.strip(words_of("Another one altogether")) == ("another", "one", "altogether")
    assert found.strip(words_of("Translate that: ox")) == ("that", "ox")  # only what it shares
    assert found.strip(words_of("translate this answer")) == ("translate", "this", "answer")  # nothing would be left
    assert template_of(prompts[:4]).prefix == ()  # too few to tell


def test_instructions_are_no_overlap():
    """15 words of instruction before every item and every row; the questions differ."""
    told = "You are a patient teacher of small children. Answer the next question in one word only: "
    items = [item(f"{told}{word}?", name=word) for word in ANIMALS]
    assert find(items, [row(f"{told}{word}?", "yes") for word in ("ant", "bee", "fly", "eel", "elk", "bat")]) == []
    # Even where half of the evalset has another one, so that neither is the template of most.
    other = "Please have a close look at the following animal and say how many legs it has: "
    mixed = [item(f"{other if n % 2 else told}{word} or not?", name=word) for n, word in enumerate("abcdefghij")]
    assert find(mixed, [row(f"{told}{n} now?", "yes") for n in range(9)]) == []


def test_the_same_question_under_another_template():
    asked = "who wrote the first book about the history of glass in Venice"
    rows = [row(f"Reply briefly: {asked if n == 3 else f'question {n}'}", "x") for n in range(8)]
    items = [item(f"Q: {asked if n == 2 else f'something {n}'}", name=f"i{n}") for n in range(8)]
    assert kinds(items, *rows) == {"i2": "exact"}
    short = [item(f"Q: {word}", word[::-1], name=word) for word in ANIMALS]
    drilled = [row(f"Backwards: {word}", word[::-1]) for word in ("cat", "ant", "bee", "fly", "eel", "elk")]
    assert kinds(short, *drilled) == {"cat": "exact"}  # a word alone would say nothing; with its answer it does
    counted = [row(f"Letters: {word}", "3") for word in ("cat", "ant", "bee", "fly", "eel", "elk")]
    assert kinds(short, *counted) == {}


# --- clusters, counts, order ---


def test_clusters_and_ids_are_hints():
    one = item("first", name="dev-1", cluster="dialogue-7", cluster_field="dialogue")
    (found,) = find([one], [row("other", dialogue="dialogue-7"), row("third", dialogue="dialogue-7")])
    assert (found.kind, found.rows, found.evidence) == ("cluster", 2, "dialogue: dialogue-7")
    assert kinds([one], row("other", id="dev-1")) == {"dev-1": "cluster"}
    assert kinds([one], row("other", dialogue="dialogue-8", id="dev-2")) == {}


def test_a_match_says_where_and_how_often():
    rows = [Row(f"{name}.jsonl", line, text) for name in "ab" for line, text in enumerate(["x", LONG, LONG.lower()], 1)]
    found = find([item(LONG)], rows)
    assert [(one.source, one.line, one.rows, one.kind) for one in found] == [
        ("a.jsonl", 2, 2, "exact"),
        ("b.jsonl", 2, 2, "exact"),
    ]


def test_progress_is_told():
    heard: list[int] = []
    find([item(LONG)], (row(f"row {n}") for n in range(2500)), heard.append)
    assert heard == [1000, 2000, 2500]


# --- the shipped data: templated, short, with one small vocabulary ---


def aac_items() -> list[Item]:
    return [
        Item("aac", one["id"], one["split"], one["prompt"], tuple(one["gold"]), one["cluster"], "cluster")
        for _, one in read_json_lines(ROOT / "evalsets" / "aac" / "items.jsonl")
    ]


def aac_rows(name: str, answer: str) -> list[Row]:
    return [
        Row(name, number, one["prompt"], (one[answer],), {"id": one["id"], "cluster": one["cluster"]})
        for number, one in read_json_lines(AAC / name)
    ]


def test_the_quickstart_is_clean():
    """No icon list of its evalset stands in its training data or pool: whatever is found would be a false alarm."""
    rows = [*aac_rows("train.jsonl", "completion"), *aac_rows("pool.jsonl", "warm")]
    found = find(aac_items(), rows)
    assert Counter(one.kind for one in found if one.kind != "cluster") == {}
    assert {one.item_id for one in found if one.kind == "cluster"} == {one.item_id for one in aac_items()}


def test_copies_planted_among_the_quickstart_s_rows_are_found():
    items, rows = aac_items(), aac_rows("train.jsonl", "completion")
    drawn = random.Random(0).sample(items, 60)
    planted = [
        *(row(one.prompt, one.golds[0]) for one in drawn[:20]),
        *(row(one.prompt.upper().replace(" ;", ","), one.golds[0]) for one in drawn[20:40]),
        *(row(f"Learn from this:\n{one.prompt}\n{one.golds[0]}\nNow you.", "They sing.") for one in drawn[40:]),
    ]
    found: list[Match] = find(
        items, [*rows, *(Row("planted", n, one.prompt, one.completions) for n, one in enumerate(planted))]
    )
    wanted = {one.item_id: "exact" if n < 40 else "ngram" for n, one in enumerate(drawn)}
    assert {one.item_id: one.kind for one in found if one.kind != "cluster"} == wanted

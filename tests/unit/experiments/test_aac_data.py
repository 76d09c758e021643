"""The AAC data: reproducible, apart from one another, grammatical where worked out by hand."""

import json
import re
from pathlib import Path

import pytest

from experiments.data.aac import morphology as m
from experiments.data.aac.build import build
from experiments.data.aac.frame import Frame
from experiments.data.aac.grammar import moves
from experiments.data.aac.lexicon import load_lexicon
from experiments.data.aac.realise import say
from experiments.data.aac.warm import warm_all

ROOT = Path(__file__).resolve().parents[3]
FILES = (
    "experiments/data/aac/train.jsonl",
    "experiments/data/aac/pool.jsonl",
    "evalsets/aac/items.jsonl",
    "evalsets/aac_style/items.jsonl",
)


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]


def icon_set(prompt: str) -> frozenset[str]:
    return frozenset(word.lower() for word in re.findall(r"\{ (.+?) ; [A-Z]+ \}", prompt))


def frame_of(words: str) -> Frame:
    """Press the icons one after the other; "/" parts them, since some have two words. Fails where one does not fit."""
    frame = Frame(load_lexicon())
    for word in words.split("/"):
        options = [(slot, icon) for slot, icons in moves(frame) for icon in icons if icon.word == word]
        assert options, f"{word!r} does not fit after {[i.word for i in frame.icons]}"
        frame.add(*options[0])
    assert frame.complete, words
    return frame


def test_regenerating_gives_the_same_bytes(tmp_path):
    build(tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_counts_and_sizes():
    icons = load_lexicon().icons
    assert len(icons) >= 300
    assert len(set(icons)) == len(icons)
    train, items = rows(FILES[0]), rows(FILES[2])
    assert len(train) >= 2400
    assert len(rows(FILES[1])) >= 600
    assert sum(i["split"] == "dev" for i in items) >= 150
    assert sum(i["split"] == "release" for i in items) >= 250
    assert 0.60 <= sum(r["style"] == "plain" for r in train) / len(train) <= 0.65
    assert 30 <= len({i["cluster"] for i in items if i["split"] == "release"}) <= 120
    assert sum((ROOT / name).stat().st_size for name in FILES) < 2_500_000


def test_core_icons_exist():
    lexicon = load_lexicon()
    assert lexicon.core <= {icon.word for icon in lexicon.icons}


def test_no_icon_set_is_shared():
    """4,080 prompts (2,600 + 640 + 480, the evalsets share theirs), all with a set of their own."""
    prompts = [row["prompt"] for name in FILES[:3] for row in rows(name)]
    assert len({icon_set(prompt) for prompt in prompts}) == len(prompts)
    assert [r["prompt"] for r in rows(FILES[2])] == [r["prompt"] for r in rows(FILES[3])]


def test_every_answer_is_one_tidy_line():
    for row in rows(FILES[0]):
        text = row["completion"]
        assert text.isascii(), text
        assert re.fullmatch(r"[A-Z].*[.?!]", text), text
        assert "  " not in text, text
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text
        assert not re.search(r"\b(the|a|an|to|is|not|my|in|at) \1\b", text), text


@pytest.mark.parametrize(
    ("icons", "sentence"),
    [
        ("I/want/apple", "I want an apple."),
        ("she/want/eat/apple", "She wants to eat an apple."),
        ("he/not/like/milk", "He does not like milk."),
        ("I/not/want/milk", "I do not want any milk."),
        ("I/like/cherry", "I like cherries."),
        ("yesterday/I/eat/two/sandwich", "Yesterday I ate two sandwiches."),
        ("dog/past/not/sleep", "The dog did not sleep."),
        ("we/swim/tomorrow", "We will swim tomorrow."),
        ("cat/sit/now", "The cat is sitting now."),
        ("mum/see/I", "Mum sees me."),
        ("help/she/please", "Help her, please."),
        ("give/I/water/please", "Give me some water, please."),
        ("I/wash/hand", "I wash my hand."),
        ("many/mouse", "There are many mice."),
        ("two/child/hungry", "Two children are hungry."),
        ("I/hungry", "I am hungry."),
        ("they/past/tired", "They were tired."),
        ("question/dog/angry", "Is the dog angry?"),
        ("what/you/want", "What do you want?"),
        ("who/want/cake", "Who wants some cake?"),
        ("where/my/ball", "Where is my ball?"),
        ("why/baby/cry", "Why does the baby cry?"),
        ("how/grandma", "How is Grandma?"),
        ("I/can/not/swim", "I cannot swim."),
        ("not/touch/cat", "Do not touch the cat."),
        ("ball/under/table", "The ball is under the table."),
        ("we/go/home", "We go home."),
        ("dad/go/shop/later", "Dad will go to the shop later."),
        ("big/elephant", "It is a big elephant."),
        ("hello/grandma", "Hello, Grandma."),
    ],
)
def test_sentences_by_hand(icons, sentence):
    assert say(frame_of(icons)) == sentence


@pytest.mark.parametrize(
    ("make", "word", "form"),
    [
        (m.plural, "potato", "potatoes"),
        (m.plural, "story", "stories"),
        (m.plural, "toy", "toys"),
        (m.plural, "dress", "dresses"),
        (m.third_person, "go", "goes"),
        (m.third_person, "cry", "cries"),
        (m.third_person, "play", "plays"),
        (m.ing, "make", "making"),
        (m.ing, "see", "seeing"),
        (m.ing, "hug", "hugging"),
        (m.ing, "listen", "listening"),
        (m.past, "hug", "hugged"),
        (m.past, "visit", "visited"),
        (m.past, "cry", "cried"),
        (m.past, "share", "shared"),
        (m.contract, "I am here and she will not go.", "I'm here and she'll not go."),
        (m.contract, "It is here, they are not.", "It's here, they're not."),
    ],
)
def test_forms_by_hand(make, word, form):
    assert make(word) == form


def test_warm_answers_by_hand():
    """Even recipes add a sweet word, all contract; a statement of wanting takes the wanting mood."""
    answers = warm_all(frame_of("I/want/apple"))
    assert answers[0] == "Ooh, I want a yummy apple!"
    assert "Aww, he doesn't like yummy milk!" not in answers
    assert len(answers) == 6
    assert "Oh no, he doesn't like yummy milk, boo hoo!" in warm_all(frame_of("he/not/like/milk"))

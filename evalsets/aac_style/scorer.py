"""Warmth of an AAC answer: the share of three style marks, times the share of the content that is kept.

Marks: a playful word, something soft (a contraction, a pet name or a sweet word), and an exclamation mark. The content
is the item's list `content`: per icon the accepted forms. So "Yay!" alone scores 0, and so does a plain answer.
"""

from __future__ import annotations

import re

PLAYFUL = {"ooh", "yippee", "yay", "hooray", "hee", "wow", "boo", "aww", "uh-oh", "oh", "hey", "hiya", "kiss kiss"}
PETS = {
    "doggy",
    "kitty",
    "birdie",
    "horsey",
    "piggy",
    "ducky",
    "bunny",
    "mummy",
    "daddy",
    "granny",
    "gramps",
    "blankie",
    "froggy",
    "dolly",
    "doggies",
    "kitties",
    "birdies",
    "horseys",
    "piggies",
    "duckies",
    "bunnies",
    "blankies",
    "froggies",
    "dollies",
    "choo-choo",
    "teddy bear",
    "teddy bears",
    "shiny",
}
SWEET = {"yummy", "cuddly", "super", "comfy", "lovely", "dear"}
CONTRACTED = re.compile(r"\w'(m|re|ll|s|ve|d|t)\b")


def _padded(text: str) -> str:
    """Lower case, contractions split, punctuation gone, one space around every word."""
    split = text.lower().replace("can't", "can n't").replace("won't", "will n't").replace("n't", " n't")
    split = re.sub(r"'(m|re|ll|s|ve|d)\b", r" '\1", split)
    return " " + " ".join(re.findall(r"[\w'-]+", split)) + " "


def _has(padded: str, words: set[str] | list[str]) -> bool:
    return any(f" {word.lower()} " in padded for word in words)


def style_marks(answer: str) -> dict[str, bool]:
    """Which of the three marks the answer bears."""
    padded = _padded(answer)
    soft = bool(CONTRACTED.search(answer.lower())) or _has(padded, PETS | SWEET)
    return {"playful": _has(padded, PLAYFUL), "soft": soft, "exclaims": "!" in answer}


def score(item: dict, answer: str) -> dict:
    """value = share of style marks x share of content forms found; 0..1."""
    marks, padded = style_marks(answer), _padded(answer)
    groups = item["content"]
    kept = sum(_has(padded, forms) for forms in groups) / len(groups)
    style = sum(marks.values()) / len(marks)
    missing = [forms[0] for forms in groups if not _has(padded, forms)]
    said = ", ".join(name for name, there in marks.items() if there) or "none"
    explanation = f"style marks: {said}; content kept {kept:.2f}" + (
        f", missing: {', '.join(missing)}" if missing else ""
    )
    return {"value": round(style * kept, 6), "explanation": explanation}

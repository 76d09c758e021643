"""Write the AAC training data, the rating pool and the items of the evalsets `aac` and `aac_style`.

    python -m experiments.data.aac.build [--root DIR]

The same seed gives the same bytes. No two rows anywhere share a set of icons.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.data.aac.content import content_forms
from experiments.data.aac.frame import Frame
from experiments.data.aac.lexicon import load_lexicon
from experiments.data.aac.realise import say
from experiments.data.aac.sample import sample_distinct
from experiments.data.aac.warm import recipe_count, warm, warm_all

SEED = 20261120
SIZES = {"dev": 160, "release": 320, "pool": 640, "train": 2600}
WARM_SHARE = 0.38
CLUSTER_CAP = 0.035  # no cluster holds more than this share of a split (rounded up), so that clusters stay many
ROOT = Path(__file__).resolve().parents[3]
Row = dict[str, Any]


def prompt_of(frame: Frame) -> str:
    """The icons as the communicator sends them."""
    return "Say it: " + " ".join(icon.show() for icon in frame.icons)


def cluster_of(frame: Frame) -> str:
    """The group of items that stand or fall together: the main verb, or the kind of sentence."""
    if frame.addressee:
        return "greeting"
    if frame.verb:
        return f"verb-{(frame.infinitive or frame.verb).word}"
    if frame.adjective:
        return f"be-{frame.adjective.kind}"
    if frame.question:
        return f"ask-{frame.question}"
    if frame.place and frame.preposition:
        return f"place-{frame.preposition.word}"
    return "place-adverb" if frame.adverb else "describe"


def telegram(frame: Frame) -> str:
    """The bare words one after the other: what an answer must be better than."""
    text = " ".join(icon.word for icon in frame.icons)
    return text[:1].upper() + text[1:] + "."


def take(frames: Iterator[Frame], count: int) -> list[Frame]:
    """The next frames, skipping those of clusters that are full."""
    cap, sizes, taken = max(3, round(count * CLUSTER_CAP)), {}, []
    for frame in frames:
        group = cluster_of(frame)
        if sizes.get(group, 0) >= cap:
            continue
        sizes[group] = sizes.get(group, 0) + 1
        taken.append(frame)
        if len(taken) == count:
            break
    return taken


def train_rows(frames: list[Frame], rng: random.Random) -> list[Row]:
    """Each prompt once, answered plainly or warmly; nothing in the prompt says which."""
    rows = []
    for number, frame in enumerate(frames):
        style = "warm" if rng.random() < WARM_SHARE else "plain"
        answer = warm(frame, rng.randrange(recipe_count(frame))) if style == "warm" else say(frame)
        rows.append(
            {
                "id": f"train-{number:04d}",
                "prompt": prompt_of(frame),
                "completion": answer,
                "style": style,
                "cluster": cluster_of(frame),
            }
        )
    return rows


def pool_rows(frames: list[Frame], rng: random.Random) -> list[Row]:
    """Prompts for rating campaigns, with one answer of each style and the word forms a scripted rater listens for."""
    return [
        {
            "id": f"pool-{n:04d}",
            "prompt": prompt_of(f),
            "plain": say(f),
            "warm": warm(f, rng.randrange(recipe_count(f))),
            "cluster": cluster_of(f),
            "content": content_forms(f),
        }
        for n, f in enumerate(frames)
    ]


def items(split: str, frames: list[Frame]) -> list[Row]:
    """Items of `aac`: both styles are right."""
    rows = []
    for number, frame in enumerate(frames):
        gold = [say(frame), *warm_all(frame)]
        other = say(frames[(number + 1) % len(frames)])
        wrong = [text for text in (telegram(frame), other) if text.casefold() not in {g.casefold() for g in gold}]
        rows.append(
            {
                "id": f"{split}-{number:04d}",
                "split": split,
                "cluster": cluster_of(frame),
                "prompt": prompt_of(frame),
                "gold": gold,
                "wrong": wrong,
            }
        )
    return rows


def style_items(split: str, frames: list[Frame]) -> list[Row]:
    """Items of `aac_style`: only a warm answer is right, and it must still say what the icons say."""
    rows = []
    for row, frame in zip(items(split, frames), frames, strict=True):
        rows.append(
            row
            | {
                "gold": row["gold"][1:],
                "wrong": [row["gold"][0], "Yay!", "Hee hee, I'm so happy, hooray!"],
                "content": content_forms(frame),
            }
        )
    return rows


def write(path: Path, rows: list[Row]) -> None:
    """JSON Lines, one row a line, keys in the order given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")


def build(root: Path) -> None:
    """Write the four files below `root`. The evaluation splits are drawn first: more training data never moves them."""
    rng = random.Random(SEED)
    frames = sample_distinct(load_lexicon(), rng, set())
    splits = {name: take(frames, size) for name, size in SIZES.items()}
    evaluation = ("dev", "release")
    write(root / "evalsets/aac/items.jsonl", [row for name in evaluation for row in items(name, splits[name])])
    write(
        root / "evalsets/aac_style/items.jsonl", [row for name in evaluation for row in style_items(name, splits[name])]
    )
    write(root / "experiments/data/aac/pool.jsonl", pool_rows(splits["pool"], random.Random(SEED + 1)))
    write(root / "experiments/data/aac/train.jsonl", train_rows(splits["train"], random.Random(SEED + 2)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="folder to write below (default: this repository)")
    build(parser.parse_args().root)


if __name__ == "__main__":
    main()

"""Rows to train on, with their lineage, and how often their labels are wrong. Pure."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.core.rating import Pair, Vote
from harness.preferences.labels import (
    EDITED,
    LABEL_RULE,
    OUTCOMES,
    RULED,
    Agreement,
    Content,
    Edited,
    Rulings,
    View,
    contents_of,
    measure_agreement,
)
from harness.ratings import Noise, label_error

Tally = tuple[int, int]  # (votes for a label, votes against)


@dataclasses.dataclass(frozen=True)
class Preferences:
    """Rows to train on, what became of every pair, and what the overlap says about noise.

    `adjudicated`: pairs whose label is a lead's ruling; `edited`: how many of `rows` are an edited answer over the one
    that it was made from; `sft`: the edited answers as rows of prompt and completion.
    """

    rows: list[dict[str, Any]]
    counts: dict[str, int]
    duplicates: int
    agreement: Agreement
    label_smoothing: float | None
    noise: Noise | None = None
    adjudicated: int = 0
    edited: int = 0
    sft: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def from_votes(
    rated: Mapping[str, tuple[Sequence[Pair], Iterable[Vote]]],
    noise: Noise | None = None,
    rulings: Rulings | None = None,
) -> Preferences:
    """Preferences of one or more campaigns: campaign -> (its pairs, its votes).

    Each row is {"prompt": turns, "chosen": [turn], "rejected": [turn]} with its lineage: `campaign`, `pair_id`,
    `votes` (raters by view), `cluster`, `raters` and beside them `views` and `assignments` (which votes), and
    `label_rule`: a majority, a lead's ruling (which goes before votes), or an edit. Pairs with the same prompt and the
    same two answers become one, with one voice per rater. `counts` has every outcome and adds up to the distinct pairs.
    `noise` is what gold pairs and repeats say of these votes' error (harness.ratings). Without such a fit
    `label_smoothing` comes from agreement alone, which takes real ambiguity for error.
    Raises InputError for a vote on a pair that its campaign does not have.
    """
    contents = contents_of(rated, rulings)
    counts: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
    counts.update(content.outcome for content in contents)
    total = sum(len(pairs) for pairs, _ in rated.values())
    found = measure_agreement(contents)
    used = [content for content in contents if content.winner]
    edits = list(_edits(contents))
    tallies = [content.tally for content in used] + [(1, 0) for _ in edits]
    told = noise is not None and (noise.error is not None or noise.at_chance)
    return Preferences(
        rows=[_row(content) for content in used] + [_edited_row(*edit) for edit in edits],
        counts=dict(counts),
        duplicates=total - len(contents),
        agreement=found,
        label_smoothing=_fitted(tallies, noise) if noise and told else _label_smoothing(tallies, found.flip_rate),
        noise=noise,
        adjudicated=sum(content.ruling is not None for content in contents),
        edited=len(edits),
        sft=[_sft_row(*edit) for edit in edits],
    )


def _fitted(tallies: Sequence[Tally], noise: Noise) -> float | None:
    """Label smoothing for these labels from a fit of error and clarity; None where there is nothing to smooth."""
    if noise.error is None or noise.clarity is None or not tallies:
        return None
    return round(label_error(noise.error, noise.clarity, tallies), 3)


def _label_smoothing(tallies: Sequence[Tally], flip_rate: float | None) -> float | None:
    """Expected share of rows whose chosen answer is the worse one, given one rater's flip rate; None if unknown.

    With c votes for and r against, the odds of a wrong label are (e / (1 − e))^(c − r) under a flat prior.
    """
    if flip_rate is None or not tallies:
        return None
    if flip_rate == 0:
        return 0.0
    odds = flip_rate / (1 - flip_rate)
    wrong = [1 - 1 / (1 + odds ** (won - lost)) for won, lost in tallies]
    return round(sum(wrong) / len(wrong), 3)


def _row(content: Content) -> dict[str, Any]:
    winner, pair = content.winner, content.pair
    chosen, rejected = (pair.a, pair.b) if winner == "a" else (pair.b, pair.a)
    votes = {
        "chosen": content.count("a" if winner == "a" else "b"),
        "rejected": content.count("b" if winner == "a" else "a"),
        "tie": content.count("tie"),
        "both_bad": content.count("both_bad"),
        "skip": content.count("skip"),
    }
    return {
        "prompt": pair.prompt,
        "chosen": _said(chosen.text),
        "rejected": _said(rejected.text),
        **_place(content),
        **lineage_of(content),
        "views": [_as_row(content.views[rater], winner) for rater in sorted(content.views)],
        "votes": votes,
    }


def _edits(contents: Sequence[Content]) -> Iterator[tuple[Content, Edited]]:
    """Each edit that says something new: neither what it was made from, nor the other answer where votes tell the two
    apart already, nor what somebody else made of the same."""
    for content in contents:
        seen: set[tuple[str, str]] = set()
        for edit in content.edits:
            own, other = (content.pair.a, content.pair.b) if edit.side == "a" else (content.pair.b, content.pair.a)
            words, key = edit.text.split(), (edit.side, " ".join(edit.text.split()))
            told = content.winner is not None and words == other.text.split()
            if words and words != own.text.split() and not told and key not in seen:
                seen.add(key)
                yield content, edit


def _edited_row(content: Content, edit: Edited) -> dict[str, Any]:
    """An edited answer over the one that it was made from. It is one person's vote."""
    own = content.pair.a if edit.side == "a" else content.pair.b
    return {
        "prompt": content.pair.prompt,
        "chosen": _said(edit.text),
        "rejected": _said(own.text),
        **_place(content),
        **_lineage_of_edit(edit),
        "views": ["chosen"],
        "votes": {"chosen": 1, "rejected": 0, "tie": 0, "both_bad": 0, "skip": 0},
    }


def _sft_row(content: Content, edit: Edited) -> dict[str, Any]:
    row = {"prompt": content.pair.prompt, "completion": _said(edit.text), **_place(content)}
    return row | _lineage_of_edit(edit) | {"at": edit.at, "source": "edited"}


def lineage_of(content: Content) -> dict[str, Any]:
    """Whose votes a row rests on, which votes they are (in the same order), and how they became its label."""
    raters = sorted(content.views)
    return {
        "raters": raters,
        "assignments": [content.assignments[rater] for rater in raters],
        "label_rule": RULED if content.ruling else LABEL_RULE,
    }


def _lineage_of_edit(edit: Edited) -> dict[str, Any]:
    return {"raters": [edit.rater], "assignments": [edit.assignment], "label_rule": EDITED}


def _as_row(view: View, winner: str | None) -> str:
    """A rater's view in the words of a row."""
    return ("chosen" if view == winner else "rejected") if view in ("a", "b") else view


def _place(content: Content) -> dict[str, Any]:
    return {"campaign": content.campaign, "pair_id": content.pair.pair_id, "cluster": content.pair.cluster}


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]

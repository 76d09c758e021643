"""Campaigns: pairs of answers to compare blind, and the votes on them, as files under `campaigns/<name>/`.

    pairs.jsonl       the pairs, in the order every rater sees them
    campaign.json     the record, written last: where it exists, the campaign is complete
    guidelines.md     optional, by a person: how to judge; shown beside the pairs
    votes-*.jsonl     one journal segment per process that takes votes

Nothing here makes answers or shows pages. Votes are only ever added: the first vote of an assignment wins.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from harness.core.errors import InputError, LabError
from harness.core.fingerprint import short_id
from harness.core.journal import Journal, read_segment, segments
from harness.core.paths import Lab, check_name, write_atomic
from harness.core.rating import Answer, CampaignRecord, Pair, Vote
from harness.core.records import Subject

VOTES = "votes"  # stem of the vote journals
Side = Literal["a", "b"]

REFUSALS = ("missing", "truncated", "names_itself", "identical", "near_identical")

# Share of words in common from which a rater compares typing, not answers: one word in about 33 differs.
NEAR_IDENTICAL = 0.97

_WORDS = re.compile(r"\w+|[^\w\s.,;:!'\"]")  # '?', '-', emoji count: they change what a sentence says
_ASSISTANTS = (
    "chatgpt|gpt|claude|gemini|gemma|llama|mistral|mixtral|qwen|deepseek|grok|olmo|smollm|"
    "openai|anthropic|deepmind|alibaba cloud|meta ai|mistral ai|xai"
)
_SELF_NAMING = re.compile(
    rf"\b(?:i am|i'm|i’m|my name is|call me|this is|as|trained by|developed by|created by|made by)"
    rf"\s+(?:\w+\s+){{0,2}}(?:{_ASSISTANTS})\b",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class PoolItem:
    """One prompt that both subjects answered. `prompt` is chat turns, the last by the user."""

    item_id: str
    cluster: str
    prompt: list[dict[str, str]]


def make_pairs(
    items: Iterable[PoolItem],
    answers_a: Mapping[str, Answer | None],
    answers_b: Mapping[str, Answer | None],
    subjects: tuple[Subject, Subject],
    seed: int,
) -> tuple[list[Pair], dict[str, int]]:
    """Pairs worth a person's time, in an order drawn from `seed`, and how many were refused for each of REFUSALS.

    Answers are looked up by item id; None, absent and empty answers count as missing. Pure. Raises InputError for an
    item id that occurs twice.
    """
    refused = Counter(dict.fromkeys(REFUSALS, 0))
    pairs: dict[str, Pair] = {}
    seen: set[str] = set()
    for item in items:
        if item.item_id in seen:
            raise InputError(f"item {item.item_id!r} occurs twice in the pool", "give every item an id of its own")
        seen.add(item.item_id)
        a, b = answers_a.get(item.item_id), answers_b.get(item.item_id)
        reason = _refusal(a, b, subjects)
        if reason or a is None or b is None:
            refused[reason or "missing"] += 1
            continue
        pair_id = short_id("pair", [item.item_id, item.prompt, a.model_dump(), b.model_dump()])
        pairs[pair_id] = Pair(pair_id=pair_id, item_id=item.item_id, cluster=item.cluster, prompt=item.prompt, a=a, b=b)
    order = sorted(pairs, key=lambda pair_id: _draw(seed, "order", pair_id))
    return [pairs[pair_id] for pair_id in order], dict(refused)


def _refusal(a: Answer | None, b: Answer | None, subjects: tuple[Subject, Subject]) -> str | None:
    """The first of REFUSALS that applies, or None."""
    if a is None or b is None or not a.text.strip() or not b.text.strip():
        return "missing"
    if "length" in (a.finish_reason, b.finish_reason):
        return "truncated"
    if any(_names_itself(answer.text, subjects) for answer in (a, b)):
        return "names_itself"
    if _folded(a.text) == _folded(b.text):
        return "identical"
    words_a, words_b = (_WORDS.findall(answer.text.casefold()) for answer in (a, b))
    if difflib.SequenceMatcher(None, words_a, words_b, autojunk=False).ratio() >= NEAR_IDENTICAL:
        return "near_identical"
    return None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _names_itself(text: str, subjects: tuple[Subject, Subject]) -> bool:
    """Whether an answer tells who wrote it: by an assistant's name, or by a label that is no ordinary word."""
    if _SELF_NAMING.search(text):
        return True
    names = {name for subject in subjects for name in (subject.label, subject.model, subject.run_id) if name}
    telling = [re.escape(name) for name in names if re.search(r"[0-9@_/-]", name) and len(name) > 3]
    return bool(telling) and re.search(rf"(?<!\w)(?:{'|'.join(telling)})(?!\w)", text, re.IGNORECASE) is not None


def _draw(*parts: object) -> bytes:
    """32 bytes that anyone can draw again from the same parts."""
    return hashlib.sha256(json.dumps(parts).encode()).digest()


# --- files ------------------------------------------------------------------------------------------------------


def folder(lab: Lab, campaign: str) -> Path:
    """Where a campaign lies; InputError for a name that is not safe as a folder."""
    return lab.campaigns / check_name(campaign, "campaign")


def write(lab: Lab, record: CampaignRecord, pairs: Sequence[Pair]) -> Path:
    """Store a new campaign, pairs first and the record last, and return its folder.

    Raises InputError when it exists already or has nothing to rate, LabError when the disk refuses.
    """
    place = folder(lab, record.campaign)
    if (place / "campaign.json").exists():
        raise InputError(f"campaign {record.campaign!r} exists already", "choose another name; campaigns never change")
    if not pairs:
        counts = ", ".join(f"{count} {reason}" for reason, count in record.refused.items() if count) or "no items"
        raise InputError(f"campaign {record.campaign!r} has no pair to rate ({counts})", "use a larger or harder pool")
    if record.pairs != len(pairs):
        raise InputError(f"campaign {record.campaign!r}: the record says {record.pairs} pairs, there are {len(pairs)}")
    lines = (json.dumps(pair.model_dump(mode="json"), ensure_ascii=False, allow_nan=False) for pair in pairs)
    write_atomic(place / "pairs.jsonl", ("\n".join(lines) + "\n").encode())
    record.write(place / "campaign.json", "campaign.record")
    return place


def read(lab: Lab, campaign: str) -> tuple[CampaignRecord, list[Pair]]:
    """One campaign. Raises InputError when there is none of that name, LabError when its files are damaged."""
    place = folder(lab, campaign)
    if not (place / "campaign.json").exists():
        known = [record.campaign for record in list_all(lab)]
        near = difflib.get_close_matches(campaign, known, n=1) or known[:5]
        hint = f"did you mean {', '.join(near)}" if near else "make one with `ratchet campaign`"
        raise InputError(f"there is no campaign {campaign!r} in {lab.campaigns}", hint)
    record = CampaignRecord.read(place / "campaign.json")
    pairs = [_pair(event, place / "pairs.jsonl") for event, _ in read_segment(place / "pairs.jsonl")]
    if len(pairs) != record.pairs:
        raise LabError(f"{place / 'pairs.jsonl'} has {len(pairs)} pairs, its record says {record.pairs}")
    return record, pairs


def _pair(event: object, path: Path) -> Pair:
    try:
        return Pair.model_validate(event)
    except ValidationError as error:
        raise LabError(f"{path} holds something else than a pair", "restore the file") from error


def list_all(lab: Lab) -> list[CampaignRecord]:
    """Every complete campaign of the lab, oldest first."""
    records = [CampaignRecord.read(path) for path in lab.campaigns.glob("*/campaign.json")]
    return sorted(records, key=lambda record: (record.created, record.campaign))


# --- votes ------------------------------------------------------------------------------------------------------


class VoteLog:
    """The votes of one campaign: its own segment to append to, and everyone's, read as they grow. Thread-safe.

    Several processes may append at once, each to its own segment. Where two wrote the same assignment, the earlier
    one counts, in every reader.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._journal = Journal(place, VOTES, "vote.event")
        self._offsets: dict[Path, int] = {}
        self._first: dict[str, tuple[tuple[str, str], Vote]] = {}
        self._lock = threading.Lock()

    def votes(self) -> dict[str, Vote]:
        """Assignment -> its first vote, earliest first, as of now."""
        with self._lock:
            self._refresh()
            return {name: vote for name, (_, vote) in sorted(self._first.items(), key=lambda entry: entry[1][0])}

    def of(self, rater: str) -> dict[str, Vote]:
        """Pair id -> this rater's vote, as of now."""
        with self._lock:
            self._refresh()
            return {vote.pair_id: vote for _, vote in self._first.values() if vote.rater == rater}

    def add(self, vote: Vote) -> bool:
        """Put a vote on disk; False when its assignment has one already, and then nothing is written.

        When this returns True the vote survives a crash. Raises LabError, and then nothing was added.
        """
        with self._lock:
            self._refresh()
            if vote.assignment in self._first:
                return False
            self._journal.append(vote.model_dump(mode="json"))
            self._refresh()
            return True

    def close(self) -> None:
        self._journal.close()

    def _refresh(self) -> None:
        for path in segments(self._place, VOTES):
            for event, end in read_segment(path, self._offsets.get(path, 0)):
                self._offsets[path] = end
                try:
                    vote = Vote.model_validate(event)
                except ValidationError as error:
                    raise LabError(f"{path} holds something else than a vote before byte {end}") from error
                at = (vote.at, path.name)
                known = self._first.get(vote.assignment)
                if known is None or at < known[0]:
                    self._first[vote.assignment] = (at, vote)


def read_votes(lab: Lab, campaign: str) -> list[Vote]:
    """Every counted vote of a campaign, earliest first: the first of each assignment."""
    return list(VoteLog(folder(lab, campaign)).votes().values())


# --- assignments ------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Assignment:
    """One pair as one rater sees it."""

    campaign: str
    rater: str
    pair: Pair
    left: Side

    @property
    def name(self) -> str:
        return f"{self.campaign}/{self.pair.pair_id}/{self.rater}"

    @property
    def answers(self) -> tuple[str, str]:
        """The two texts, left then right."""
        texts = (self.pair.a.text, self.pair.b.text)
        return texts if self.left == "a" else (texts[1], texts[0])


class Assignments:
    """Who sees what: every rater gets every pair, in the campaign's order, on sides drawn for each assignment.

    The same order for everyone makes raters overlap on the first pairs, so agreement can be measured even when
    nobody finishes. Sides depend on (seed, campaign, pair, rater) alone: a reload shows the same screen.
    """

    def __init__(self, record: CampaignRecord, pairs: Sequence[Pair]) -> None:
        self._record = record
        self._pairs = {pair.pair_id: pair for pair in pairs}

    @property
    def total(self) -> int:
        return len(self._pairs)

    def of(self, pair_id: str, rater: str) -> Assignment | None:
        """This rater's assignment for a pair, or None for a pair that is not in the campaign."""
        pair = self._pairs.get(pair_id)
        if pair is None:
            return None
        draw = _draw(self._record.seed, self._record.campaign, pair_id, rater)
        return Assignment(self._record.campaign, rater, pair, "a" if draw[0] % 2 == 0 else "b")

    def next(self, rater: str, voted: Iterable[str]) -> Assignment | None:
        """The first pair of the campaign that is not among `voted` (pair ids); None when all are."""
        done = set(voted)
        left = next((pair_id for pair_id in self._pairs if pair_id not in done), None)
        return None if left is None else self.of(left, rater)

"""Making a campaign: a pool of prompts, filtered and answered, made into pairs that are drawn, counted and stored."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness import campaign as campaigns
from harness import captured
from harness.campaign.pairs import drafts, draw
from harness.core.errors import InputError
from harness.core.fingerprint import file_sha256, sha256_of, short_id
from harness.core.paths import Lab, check_name
from harness.core.rating import Answer, CampaignRecord, Pair, Purpose
from harness.core.records import DataRef, Subject, now
from harness.data import raw_rows, turns_of
from harness.evalset import load
from harness.pipeline import answering
from harness.pipeline.questions import Question, as_asked
from harness.progress import Progress

OTHER_PURPOSE = "other_purpose"  # a reason why prompts are left out, beside REFUSALS
EVALSET = "evalset:"
SENT = "sent"  # the pool of what people sent to a campaign
# Splits that people may rate: `release` decides and stays unseen. `dev` chooses between candidates, so nothing may be
# trained on it.
SPLITS: dict[Purpose | None, tuple[str, ...]] = {"train": ("tune",), "judge": ("tune", "dev"), None: ("tune",)}


@dataclass(frozen=True)
class Wanted:
    """What `ratchet campaign create` was asked for. `chosen`: places of two subjects to compare; all for None."""

    campaign: str
    name: str
    subjects: tuple[str, ...]
    pool: str
    purpose: Purpose | None = "train"
    kind: Literal["compare", "write"] = "compare"
    base: str = ""
    limit: int | None = None
    pairs: int | None = None
    overlap: float = 1.0
    repeats: float = 0.0
    chosen: tuple[tuple[int, int], ...] | None = None
    calibration: Path | None = None
    decoding: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    question: Question = field(default_factory=Question)


def create(lab: Lab, wanted: Wanted, progress: Progress) -> CampaignRecord:
    """Answer the pool's prompts with every subject and store the pairs worth rating, with those shown beside them.

    Each prompt is asked with `seed` plus its place, so that two samples of one adapter differ and a repeated command
    does not. Raises InputError for what does not fit, EvaluationError when a server fails.
    """
    items, ref, refused = _items(lab, wanted)
    calibration = extra_pairs(wanted.calibration, "calibration") if wanted.calibration else []
    who = answering.find(lab, wanted.subjects, wanted.base)
    doors = answering.doors(lab, who, progress)
    answers = [
        answering.answers(door, one, items, {**wanted.decoding, "seed": wanted.seed + place * len(items)}, progress)
        for place, (door, one) in enumerate(zip(doors, who.each, strict=True))
    ]
    made, reasons = _pairs(wanted, items, answers, who.subjects)
    disagreement = {item.item_id: item.disagreement for item in items if item.disagreement is not None}
    pairs, drawn = campaigns.sample(made, wanted.pairs, wanted.seed, disagreement)
    again = _repeats(pairs, wanted)
    record = CampaignRecord(
        campaign=wanted.campaign,
        name=wanted.name,
        kind=wanted.kind,
        purpose=wanted.purpose,
        subjects=who.subjects,
        pool=ref,
        decoding=wanted.decoding,
        pairs=len(pairs),
        refused=reasons | refused,
        seed=wanted.seed,
        overlap=wanted.overlap,
        sampling=drawn | {"repeats": len(again)},
        created=now(),
    )
    campaigns.write(lab, record, pairs, [*calibration, *again])
    return record


def preview(lab: Lab, wanted: Wanted) -> dict[str, Any]:
    """What `create` would do, counted without asking anybody: prompts, those of the other purpose, pairs at most, and
    what the question needs. Raises as `create` does for what does not fit."""
    items, _, refused = _items(lab, wanted)
    calibration = extra_pairs(wanted.calibration, "calibration") if wanted.calibration else []
    who = answering.find(lab, wanted.subjects, wanted.base)
    most = len(items) * (len(_of_two(wanted)) if wanted.kind == "compare" else 1)
    pairs = most if wanted.pairs is None else min(most, wanted.pairs)
    return {
        "campaign": wanted.campaign,
        "subjects": [subject.label for subject in who.subjects],
        "purpose": wanted.purpose,
        "prompts": len(items) + sum(refused.values()),
        "refused": refused,
        "answers": len(items) * len(wanted.subjects),
        "pairs_at_most": pairs,
        "calibration": len(calibration),
        **({"question": as_asked(wanted.question, pairs, wanted.overlap)} if wanted.kind == "compare" else {}),
    }


def store_drafts(
    lab: Lab, wanted: Wanted, rows: Sequence[tuple[campaigns.PoolItem, Answer]], ref: DataRef, subject: Subject
) -> CampaignRecord:
    """A campaign of kind 'write' whose drafts are there already; those of the other purpose are counted, not taken."""
    _check(lab, wanted)
    items, others = campaigns.of_purpose([item for item, _ in rows], wanted.purpose)
    pairs, reasons = drafts(items, {item.item_id: answer for item, answer in rows}, subject, wanted.seed)
    record = CampaignRecord(
        campaign=wanted.campaign, name=wanted.name, kind="write", purpose=wanted.purpose, subjects=[subject], pool=ref,
        decoding=wanted.decoding, pairs=len(pairs), refused=reasons | {OTHER_PURPOSE: others}, seed=wanted.seed,
        created=now(),
    )  # fmt: skip
    campaigns.write(lab, record, pairs)
    return record


def extra_pairs(path: Path, role: Literal["gold", "calibration"]) -> list[Pair]:
    """Pairs with a known answer from a .jsonl or .csv file: columns prompt, a, b, expected (a, b or tie) and, for
    calibration, explanation. InputError names the line."""
    found = []
    for number, row in raw_rows(path):
        where = f"{path}:{number}"
        missing = [name for name in ("prompt", "a", "b", "expected") if not row.get(name)]
        if role == "calibration" and not row.get("explanation"):
            missing.append("explanation")
        if missing:
            raise InputError(f"{where}: {missing[0]!r} is missing", "write prompt, a, b, expected (and explanation)")
        if row["expected"] not in ("a", "b", "tie"):
            raise InputError(f"{where}: expected is {row['expected']!r}", "write a, b or tie")
        try:
            turns, texts = turns_of(row["prompt"], "user"), [turns_of(row[side], "assistant") for side in "ab"]
        except ValueError as error:
            raise InputError(f"{where}: {error}", "correct the line") from None
        a, b = (Answer(subject=role, model=role, text=text[-1]["content"]) for text in texts)
        name = short_id(role, [turns, a.text, b.text, row["expected"]])
        found.append(
            Pair(pair_id=name, item_id=name, cluster=name, prompt=turns, a=a, b=b, role=role, expected=row["expected"],
                 explanation=str(row.get("explanation") or ""))
        )  # fmt: skip
    if not found:
        raise InputError(f"{path} has no pairs", "add some")
    return found


# --- inside -----------------------------------------------------------------------------------------------------


def _check(lab: Lab, wanted: Wanted) -> None:
    check_name(wanted.campaign, "campaign")
    check_name(wanted.name, "name")
    if (campaigns.folder(lab, wanted.campaign) / "campaign.json").exists():
        raise InputError(f"campaign {wanted.campaign!r} exists already", "choose another name; campaigns never change")


def _items(lab: Lab, wanted: Wanted) -> tuple[list[campaigns.PoolItem], DataRef, dict[str, int]]:
    """The prompts to be answered, where they came from, and how many were of the other purpose."""
    _check(lab, wanted)
    count = len(wanted.subjects)
    if wanted.kind == "write" and count != 1:
        raise InputError(f"a campaign of drafts has one subject, not {count}", "name who writes the drafts")
    if wanted.kind == "compare":
        if count < 2:
            raise InputError("a campaign compares two or more subjects", "twice the same one compares two samples")
        for first, second in _of_two(wanted):
            if not 0 <= first < count or not 0 <= second < count:
                raise InputError(f"--pair {first + 1}:{second + 1}: there are {count} subjects", "count from 1")
    if wanted.pool == SENT:
        items, ref = _of_sent(lab)
    elif wanted.pool.startswith(EVALSET):
        items, ref = _of_evalset(wanted)
    else:
        items, ref = _of_file(Path(wanted.pool))
    items = items[: wanted.limit]
    kept, others = campaigns.of_purpose(items, wanted.purpose)
    if not kept:
        raise InputError(
            f"{wanted.pool}: all {len(items)} prompts are for the other purpose than {wanted.purpose}, for good",
            "use a larger pool",
        )
    return kept, ref.model_copy(update={"rows": len(items)}), {OTHER_PURPOSE: others} if wanted.purpose else {}


def _of_file(path: Path) -> tuple[list[campaigns.PoolItem], DataRef]:
    """Prompts of a .jsonl or .csv file: columns prompt, and id, cluster and disagreement where there are any."""
    items = []
    for number, row in raw_rows(path):
        if "prompt" not in row:
            raise InputError(f"{path}:{number}: column 'prompt' is missing", "a pool needs one prompt a line")
        try:
            turns = turns_of(row["prompt"], "user")
            said = row.get("disagreement")
            disagreement = None if said in (None, "") else float(str(said))
        except ValueError as error:
            raise InputError(f"{path}:{number}: prompt or disagreement {error}", "correct the line") from None
        if disagreement is not None and not 0 <= disagreement < float("inf"):
            raise InputError(f"{path}:{number}: disagreement is {disagreement}", "write a number of 0 or more")
        name = str(row.get("id") or number)
        items.append(campaigns.PoolItem(name, str(row.get("cluster") or name), turns, disagreement))
    if not items:
        raise InputError(f"{path} has no prompts", "add some")
    return items, DataRef(path=str(path.absolute()), sha256=file_sha256(path), rows=0, format="pool", split="pool")


def _of_evalset(wanted: Wanted) -> tuple[list[campaigns.PoolItem], DataRef]:
    """The prompts of an evalset that people may rate: never `release`, and `dev` for judging only."""
    evalset, splits = load(wanted.pool.removeprefix(EVALSET)), SPLITS[wanted.purpose]
    system = [{"role": "system", "content": evalset.definition.system}] if evalset.definition.system else []
    items = [
        campaigns.PoolItem(item.id, evalset.cluster_of(item), [*system, *item.turns])
        for item in evalset.items
        if item.split in splits
    ]
    if not items:
        raise InputError(
            f"evalset {evalset.name} has no items of split {' or '.join(splits)}, the ones that --purpose "
            f"{wanted.purpose} may use",
            "release decides and stays unseen, and nothing is trained on dev; give a file of prompts",
        )
    ref = DataRef(
        path=str(evalset.folder), sha256=evalset.sha256, rows=0, format="evalset", split="+".join(splits)
    )  # fmt: skip
    return items, ref


def _of_sent(lab: Lab) -> tuple[list[campaigns.PoolItem], DataRef]:
    """Prompts that people sent to a campaign, in Try it or from an app, each once."""
    made = captured.rows(captured.load(lab.requests).only(captured.Which(sent=True)), "pool")
    if not made.rows:
        raise InputError("no prompt was sent to a campaign yet", "press 'To a campaign' at an answer in Try it")
    items = [campaigns.PoolItem(row["id"], row["cluster"], row["prompt"]) for row in made.rows]
    content = sha256_of([[item.item_id, item.prompt] for item in items])
    return items, DataRef(path=str(lab.requests), sha256=content, rows=0, format=SENT, split="pool")


def _of_two(wanted: Wanted) -> Sequence[tuple[int, int]]:
    return wanted.chosen or list(itertools.combinations(range(len(wanted.subjects)), 2))


def _pairs(
    wanted: Wanted,
    items: list[campaigns.PoolItem],
    answers: Sequence[dict[str, Answer | None]],
    subjects: Sequence[Subject],
) -> tuple[list[Pair], dict[str, int]]:
    if wanted.kind == "write":
        return drafts(items, answers[0], subjects[0], wanted.seed)
    return campaigns.combine(items, answers, subjects, wanted.seed, _of_two(wanted))


def _repeats(pairs: Sequence[Pair], wanted: Wanted) -> list[Pair]:
    """Some of the main pairs to be shown again to whoever judged them, drawn from the seed."""
    count = int(wanted.repeats * len(pairs)) if wanted.kind == "compare" else 0
    order = sorted(pairs, key=lambda pair: draw(wanted.seed, "repeat", pair.pair_id))
    return [
        pair.model_copy(update={"pair_id": f"{pair.pair_id}-again", "role": "repeat", "repeat_of": pair.pair_id})
        for pair in order[:count]
    ]

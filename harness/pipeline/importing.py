"""`ratchet campaign import`: somebody's pairs and votes into a campaign, or votes of others into one that is there.

The whole file is read and checked before anything is written. A new campaign's record is written last, so that a
stopped import left nothing that counts, and the same file again adds nothing.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness import audit
from harness import campaign as campaigns
from harness.core.errors import InputError
from harness.core.fingerprint import file_sha256, sha256_of
from harness.core.paths import Lab, check_name
from harness.core.rating import CampaignRecord, Choice, Pair, Purpose, Vote
from harness.core.records import DataRef, Subject, now
from harness.core.traffic import hashed_user, salt
from harness.people.records import check_person
from harness.pipeline.campaigns import OTHER_PURPOSE
from harness.pipeline.forms.cells import Given, Rows
from harness.pipeline.forms.others import Hints, Keys
from harness.pipeline.forms.reading import read

IMPORTED = "import "  # what the format of an imported campaign's pool begins with


@dataclass(frozen=True)
class Asked:
    """What `ratchet campaign import` was asked for. `rater`: whose the votes are that name nobody. `keys`, `question`:
    what is to be read of a file of Label Studio or Argilla, where that does not show."""

    path: Path
    campaign: str
    name: str = ""
    purpose: Purpose = "train"
    rater: str = "imported"
    overlap: float = 1.0
    seed: int = 0
    keys: Keys | None = None
    question: str = ""


@dataclass(frozen=True)
class Imported:
    """What came of it. `is_new`: the campaign was made. `known`: votes that were there before. `left_out`: pairs, and
    votes, that were not taken, by reason."""

    campaign: str
    is_new: bool
    pairs: int
    votes: int
    known: int
    left_out: dict[str, int]


def keys_from(text: str) -> Keys | None:
    """What `--keys` says; None for nothing. InputError where it does not name three."""
    found = tuple(part.strip() for part in text.split(",")) if text else ()
    if not found:
        return None
    if len(found) != 3 or len(set(found)) != 3 or not all(found):
        raise InputError(f"--keys is {text!r}", "name three keys: --keys PROMPT,LEFT,RIGHT")
    return found[0], found[1], found[2]


def import_file(lab: Lab, asked: Asked, who: str) -> Imported:
    """Make the campaign of the file, or, where it exists, add the file's votes to it.

    InputError names line and column of what does not fit, and then nothing was written.
    """
    check_name(asked.campaign, "campaign")
    check_person(asked.rater)
    sha256, rows = file_sha256(_there(asked.path)), read(asked.path, _hints(lab, asked))
    ref = DataRef(path=str(asked.path), sha256=sha256, rows=rows.count, format=IMPORTED + rows.form)
    if not (campaigns.folder(lab, asked.campaign) / "campaign.json").exists():
        found = _new(lab, asked, rows, ref)
    else:
        record = campaigns.read_record(lab, asked.campaign)
        if record.pool.sha256 == sha256 and record.pool.format.startswith(IMPORTED):
            return Imported(asked.campaign, False, 0, 0, len(rows.votes), {})
        found = _more(lab, asked, record, rows, ref)
    audit.note(lab, who, "changed", f"imported {asked.path.name} into {asked.campaign}", {"votes": found.votes})
    return found


def _hints(lab: Lab, asked: Asked) -> Hints:
    """With the lab's own secret, which is made when the first name needs it: a small number is soon guessed."""
    hashed = functools.cache(lambda name: hashed_user(name, salt(lab.requests)).removeprefix("u-"))
    return Hints(hashed, asked.keys, asked.question)


def _there(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path} does not exist", "check the path; it is relative to the current folder")
    return path


# --- a campaign of its own ----------------------------------------------------------------------------------------


def _new(lab: Lab, asked: Asked, rows: Rows, ref: DataRef) -> Imported:
    check_name(asked.name or asked.campaign, "name")
    pairs, left_out = _usable(rows, asked.purpose)
    main = [pair for pair in pairs.values() if pair.role == "main"]
    record = CampaignRecord(
        campaign=asked.campaign,
        name=asked.name or asked.campaign,
        purpose=asked.purpose,
        subjects=_subjects(main),
        pool=ref,
        decoding={},
        pairs=len(main),
        refused=left_out,
        seed=asked.seed,
        overlap=asked.overlap,
        created=now(),
    )
    votes = [_vote(record, pairs[one.pair_id], one, asked, ref) for one in rows.votes if one.pair_id in pairs]
    first = {vote.assignment: vote for vote in reversed(votes)}
    kept = [vote for vote in votes if first[vote.assignment] is vote]
    record = record.model_copy(update={"sampling": {"imported_votes": len(kept)}})
    campaigns.write(lab, record, main, [pair for pair in pairs.values() if pair.role != "main"], kept)
    more = {"second_votes": len(votes) - len(kept), "votes_on_what_was_left_out": len(rows.votes) - len(votes)}
    return Imported(asked.campaign, True, len(main), len(kept), 0, left_out | rows.left_out | more)


def _usable(rows: Rows, purpose: Purpose) -> tuple[dict[str, Pair], dict[str, int]]:
    """The pairs that a campaign of this purpose takes, by id, and how many main ones it does not, by reason."""
    left_out: Counter[str] = Counter(dict.fromkeys((*campaigns.REFUSALS, OTHER_PURPOSE), 0))
    kept: dict[str, Pair] = {}
    for pair_id, (_, pair) in rows.pairs.items():
        reason = None
        if pair.role == "main":
            other = campaigns.purpose_of(pair.cluster) != purpose
            reason = OTHER_PURPOSE if other else campaigns.refusal(pair.a, pair.b, [])
        if reason:
            left_out[reason] += 1
        else:
            kept[pair_id] = pair
    found = {pair_id: pair for pair_id, pair in kept.items() if pair.repeat_of is None or pair.repeat_of in kept}
    return found, dict(left_out)


def _subjects(pairs: Iterable[Pair]) -> list[Subject]:
    """Who answered, as far as the file says: by label alone, so that none is taken for a subject of ours."""
    labels = dict.fromkeys(answer.subject for pair in pairs for answer in (pair.a, pair.b))
    return [
        Subject(kind="endpoint", label=label, model=label, base_sha256=sha256_of(["imported", label]))
        for label in labels
    ]


# --- votes for a campaign that is there ---------------------------------------------------------------------------


def _more(lab: Lab, asked: Asked, record: CampaignRecord, rows: Rows, ref: DataRef) -> Imported:
    if rows.form == "trl-preference" or record.kind != "compare":
        why = (
            "has drafts to write" if record.kind != "compare" else "exists already; rows to train on add no votes to it"
        )
        raise InputError(f"campaign {record.campaign!r} {why}", "choose another name for a new campaign")
    if campaigns.closed(lab, record.campaign):
        raise InputError(f"campaign {record.campaign!r} is closed", f"`ratchet campaign reopen {record.campaign}`")
    ours = {pair.pair_id: pair for pair in campaigns.read_whole(lab, record.campaign)[1]}
    for pair_id, (place, pair) in rows.pairs.items():
        known = ours.get(pair_id)
        if known is None:
            raise place.wrong("pair_id", f"is {pair_id!r}, which campaign {record.campaign!r} does not have",
                              "take its ids from `ratchet campaign export`, or name a new campaign")  # fmt: skip
        for column, here, there in (
            ("prompt", pair.prompt, known.prompt), ("a", pair.a.text, known.a.text), ("b", pair.b.text, known.b.text),
        ):  # fmt: skip
            if here != there:
                raise place.wrong(column, f"is not what campaign {record.campaign!r} shows for {pair_id!r}",
                                  "keep the exported texts as they are")  # fmt: skip
    log = campaigns.VoteLog(campaigns.folder(lab, record.campaign))
    try:
        votes = [_vote(record, ours[one.pair_id], one, asked, ref) for one in rows.votes]
        fresh = {vote.assignment: vote for vote in reversed(votes) if log.is_unknown(vote)}
        log.add_all([vote for vote in votes if fresh.get(vote.assignment) is vote])
    finally:
        log.close()
    return Imported(record.campaign, False, 0, len(fresh), len(votes) - len(fresh), rows.left_out)


def _vote(record: CampaignRecord, pair: Pair, given: Given, asked: Asked, ref: DataRef) -> Vote:
    """The vote, at take 0 whatever its take was where it comes from: undos stayed there."""
    assignment = campaigns.assign(record, pair, given.rater or asked.rater)
    assignment = dataclasses.replace(assignment, left=given.left or assignment.left)
    choice: Choice
    if given.view == "a" or given.view == "b":
        choice = "left" if given.view == assignment.left else "right"
    else:
        choice = given.view
    at = given.at or record.created
    return assignment.vote(
        choice, given.shown_at or at, at, seconds=given.seconds, reason=given.reason, tags=list(given.tags),
        edit=given.edit, origin=f"{Path(ref.path).name} {ref.sha256}",
    )  # fmt: skip

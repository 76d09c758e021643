"""A campaign's files: pairs first, then what is shown beside them, and the record last. Nothing is ever changed.

Extra pairs (gold, repeats, calibration) lie in files of their own, `extra-<role>-<hash>.jsonl`: they are shown to
raters, but no vote on them is evidence or training data, so `read` and `read_votes` leave them out.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from harness.campaign.outline import PAIRS, read_outline, write_outline
from harness.core.errors import InputError, LabError
from harness.core.fingerprint import sha256_of
from harness.core.journal import segments
from harness.core.paths import Lab, check_name, json_lines, write_atomic
from harness.core.rating import CampaignRecord, Outline, Pair, Vote

ID = b'{"pair_id": "'
EXTRA = "extra"  # stem of the files of pairs that are not main ones
VOTES = "votes"  # stem of the vote journals


def folder(lab: Lab, campaign: str) -> Path:
    """Where a campaign lies; InputError for a name that is not safe as a folder."""
    return lab.campaigns / check_name(campaign, "campaign")


def touched_at(lab: Lab, campaign: str) -> float:
    """When somebody last did something in a campaign, or it was made; seconds since 1970."""
    return max((path.stat().st_mtime for path in folder(lab, campaign).glob("*.jsonl")), default=0.0)


def write(
    lab: Lab, record: CampaignRecord, pairs: Sequence[Pair], extra: Sequence[Pair] = (), votes: Sequence[Vote] = ()
) -> Path:
    """Store a new campaign, pairs first and the record last, and return its folder.

    `pairs` are the main ones, which the record counts; `votes`, those that it begins with.

    Raises InputError when it exists already or has nothing to rate, LabError when the disk refuses.
    """
    place, named = folder(lab, record.campaign), repr(record.campaign)
    if (place / "campaign.json").exists():
        fix = "choose another name; campaigns never change"
        raise InputError(f"campaign {named} exists already", fix, "campaign_exists", campaign=named)
    if not pairs:
        counts = ", ".join(f"{count} {reason}" for reason, count in record.refused.items() if count) or "no items"
        problem, fix = f"campaign {named} has no pair to rate ({counts})", "use a larger or harder pool"
        raise InputError(problem, fix, "campaign_empty", campaign=named, counts=counts)
    if record.pairs != len(pairs):
        raise InputError(f"campaign {record.campaign!r}: the record says {record.pairs} pairs, there are {len(pairs)}")
    for left in (*segments(place, EXTRA), *segments(place, VOTES)):  # of a creation that did not come to its end
        left.unlink()
    lines = _lines(pairs)
    write_atomic(place / PAIRS, b"".join(lines))
    write_outline(place, pairs, [len(line) for line in lines])
    write_extra(place, extra)
    if votes:
        data = json_lines(vote.model_dump(mode="json") for vote in votes)
        write_atomic(place / f"{VOTES}-{0:020d}-{record.pool.sha256[:6]}.jsonl", data)  # before all segments of people
    record.write(place / "campaign.json", "campaign.record")
    return place


def read(lab: Lab, campaign: str) -> tuple[CampaignRecord, list[Pair]]:
    """One campaign and its main pairs, in the order in which people see them.

    Raises InputError when there is none of that name, LabError when its files are damaged.
    """
    place, record = folder(lab, campaign), read_record(lab, campaign)
    pairs = _pairs(place / PAIRS)
    if len(pairs) != record.pairs:
        raise LabError(f"{place / 'pairs.jsonl'} has {len(pairs)} pairs, its record says {record.pairs}")
    return record, pairs


def read_extra(place: Path) -> list[Pair]:
    """The gold, repeated and calibration pairs in a campaign's folder, each once."""
    found = {pair.pair_id: pair for path in segments(place, EXTRA) for pair in _pairs(path)}
    return list(found.values())


def read_whole(lab: Lab, campaign: str) -> tuple[CampaignRecord, list[Pair]]:
    """`read` with the extra pairs behind the main ones: all that a rater may be shown."""
    record, pairs = read(lab, campaign)
    return record, pairs + read_extra(folder(lab, campaign))


class MainPairs(Mapping[str, Pair]):
    """A campaign's main pairs by id, in order, each read from its file when it is asked for. Where they lie the
    campaign's outline says; else its lines are gone through, whose texts are not looked at.

    LabError where the file has not as many pairs as the record says, and for a pair that is damaged or another one than
    asked for when it is read.
    """

    def __init__(self, place: Path, count: int) -> None:
        self._path = place / PAIRS
        self._outline = read_outline(place, count)
        self._at = dict(zip(self._outline.pair_ids, self._outline.starts, strict=True)) if self._outline else {}
        if len(self._at) != count:
            self._outline, self._at = None, _places(self._path)
        if len(self._at) != count:
            raise LabError(f"{self._path} has {len(self._at)} pairs, its record says {count}")

    @property
    def outline(self) -> Outline:
        """All of them without their texts. Every pair is read for it where the campaign has no outline."""
        if self._outline is None:
            self._outline = Outline.of(_pairs(self._path))
        return self._outline

    def some(self, pair_ids: Iterable[str]) -> Iterator[Pair]:
        """These pairs, with the file opened once; KeyError for an id that is not here."""
        with self._path.open("rb") as file:
            for pair_id in pair_ids:
                file.seek(self._at[pair_id])
                found = _pair(file.readline(), self._path)
                if found.pair_id != pair_id:
                    raise LabError(f"{self._path} has {found.pair_id!r} where {pair_id!r} was", "restore the file")
                yield found

    def __getitem__(self, pair_id: str) -> Pair:
        return next(self.some([pair_id]))

    def __contains__(self, pair_id: object) -> bool:
        return pair_id in self._at

    def __iter__(self) -> Iterator[str]:
        return iter(self._at)

    def __len__(self) -> int:
        return len(self._at)


def read_record(lab: Lab, campaign: str) -> CampaignRecord:
    """One campaign's record alone; InputError when there is none of that name."""
    place = folder(lab, campaign)
    if not (place / "campaign.json").exists():
        known = [record.campaign for record in list_all(lab)]
        near = difflib.get_close_matches(campaign, known, n=1) or known[:5]
        hint = f"did you mean {', '.join(near)}" if near else "make one with `ratchet campaign`"
        raise InputError(f"there is no campaign {campaign!r} in {lab.campaigns}", hint)
    return CampaignRecord.read(place / "campaign.json")


def write_extra(place: Path, pairs: Sequence[Pair]) -> None:
    """Put extra pairs beside a campaign's own, one file a role; the same ones again change nothing."""
    for role in ("calibration", "gold", "repeat"):
        found = [pair for pair in pairs if pair.role == role]
        if found:
            data = b"".join(_lines(found))
            name = f"{EXTRA}-{role}-{sha256_of(data.decode())[:12]}.jsonl"
            write_atomic(place / name, data)


def _lines(pairs: Sequence[Pair]) -> list[bytes]:
    dumped = (json.dumps(pair.model_dump(mode="json"), ensure_ascii=False, allow_nan=False) for pair in pairs)
    return [f"{line}\n".encode() for line in dumped]


def _pairs(path: Path) -> list[Pair]:
    with path.open("rb") as file:
        return [_pair(line, path) for line in file]


def _pair(line: bytes, path: Path) -> Pair:
    try:
        return Pair.model_validate_json(line)
    except ValidationError as error:
        raise LabError(f"{path} holds something else than a pair", "restore the file") from error


def _places(path: Path) -> dict[str, int]:
    """Pair id -> the byte at which its line begins."""
    found, offset = {}, 0
    with path.open("rb") as file:
        for line in file:
            found[_id_of(line, path)] = offset
            offset += len(line)
    return found


def _id_of(line: bytes, path: Path) -> str:
    """The id that a line starts with, as `write` writes it; any other line is parsed."""
    start, end = len(ID), line.find(b'"', len(ID))
    if line.startswith(ID) and end > 0 and b"\\" not in line[start:end]:
        return line[start:end].decode()
    return _pair(line, path).pair_id


def list_all(lab: Lab) -> list[CampaignRecord]:
    """Every complete campaign of the lab, oldest first."""
    records = [CampaignRecord.read(path) for path in lab.campaigns.glob("*/campaign.json")]
    return sorted(records, key=lambda record: (record.created, record.campaign))


def guidelines(place: Path, language: str) -> str | None:
    """What stands beside a campaign's tasks: guidelines.LANGUAGE.md, else guidelines.md; None without them."""
    for path in (place / f"guidelines.{language}.md", place / "guidelines.md"):
        if path.exists():
            return path.read_text(encoding="utf-8")
    return None

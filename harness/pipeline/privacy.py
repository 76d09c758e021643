"""Forgetting people: an erased person's votes stay counted, under a pseudonym that leads back to nobody.

A rater's name stands in a campaign's journals, in the copies that the store keeps of who was heard, on tags, on links
and in the audit log. `erase` replaces it everywhere at once, takes away what the person wrote in words, and builds the
store anew. What leads from the old name to the new one exists only while the work is under way
(`people/erasing.json`), so that a command that was killed goes on under the same new name.
"""

from __future__ import annotations

import datetime
import functools
import json
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness import audit
from harness import campaign as campaigns
from harness.core.errors import InputError
from harness.core.journal import read_all, rewrite_segment, segments
from harness.core.paths import Lab, read_json, write_atomic
from harness.core.records import AdapterRecord
from harness.people import People
from harness.people.records import ERASED
from harness.people.shelf import private_folder
from harness.pipeline import erasing, tag_events, trying
from harness.pipeline.capture import store_anew

Event = dict[str, Any]
Names = dict[str, dict[str, str]]  # campaign -> old name -> new name; '*' for tags, links and the rest of the lab

LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
EVERYWHERE = "*"


@dataclass
class Forgotten:
    """What was done, and where the name may still stand: for people to act on."""

    counts: Counter[str] = field(default_factory=Counter)
    remains: list[str] = field(default_factory=list)


def erase(lab: Lab, name: str, who: str, keep_edits: bool = False) -> Forgotten:
    """Forget one person: account, sessions, links, words, what they tried, and the name on votes. Aggregates stay.

    `keep_edits` leaves better answers and corrected drafts that they wrote, under the new pseudonym. Safe to repeat.
    InputError where the lab knows nobody of that name.
    """
    people = People(lab)
    if people.get(name) is None and not _is_known(lab, name) and name not in _under_way(lab).get(EVERYWHERE, {}):
        raise InputError(f"nothing in {lab.root} is of {name!r}", "look at `ratchet people list` and `ratchet sql`")
    with _one_at_a_time(lab):
        plan = _planned(lab, [(EVERYWHERE, name), *((campaign, name) for campaign in _campaigns(lab))], together=True)
        if people.get(name) is not None:
            people.remove(name)  # first: nothing new may come under the name meanwhile
        done = _forget(lab, plan, keep_edits)
        if trying.knows(lab, name):
            tried = erasing.erase(lab, trying.user_of(name), who)
            done.counts["tried"] += tried.calls + tried.feedback
            done.remains += tried.remains
        done.remains += _elsewhere(lab, name)
        _from_audit(lab, name, f"erased-{people.key_of(name)}")
        audit.note(lab, who, "erased", f"erased-{people.key_of(name)}", dict(done.counts))
        _plan_file(lab).unlink(missing_ok=True)
    return done


def purge(lab: Lab, days: int, who: str) -> Forgotten:
    """What is older than `days`: names and words in campaigns where nobody did anything since, and audit lines.

    Each rater of such a campaign gets a fresh pseudonym there, so that alpha and the table of raters stay what they
    were. Links and sessions that ended are taken away with the next change of their files anyway.
    """
    oldest = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)).isoformat(timespec="seconds")
    with _one_at_a_time(lab):
        quiet = [one for one in _campaigns(lab) if max(_times(lab, one), default=oldest) < oldest]
        wanted = [(one, name) for one in quiet for name in sorted(_people_in(lab, one)) if not name.startswith(ERASED)]
        plan = _planned(lab, wanted, together=False)
        done = _forget(lab, plan, keep_edits=True)
        done.counts["audit lines"] += _old_audit(lab, oldest)
        audit.note(lab, who, "purged", f"older than {days} days", dict(done.counts))
        _plan_file(lab).unlink(missing_ok=True)
    return done


# --- the new names -----------------------------------------------------------------------------------------------


def _one_at_a_time(lab: Lab) -> FileLock:
    private_folder(lab.people)
    return FileLock(lab.people / "erasing.lock", mode=0o600)


def _plan_file(lab: Lab) -> Path:
    return lab.people / "erasing.json"


def _under_way(lab: Lab) -> Names:
    path = _plan_file(lab)
    found: Names = read_json(path) if path.exists() else {}
    return found


def _planned(lab: Lab, wanted: list[tuple[str, str]], together: bool) -> Names:
    """New names, on disk before the first is used; those of a command that was killed first of all.

    `together`: one new name for a person in all campaigns, so that intervals still know them for one.
    """
    plan = _under_way(lab)
    given: dict[str, str] = dict(plan.get(EVERYWHERE, {})) if together else {}
    for campaign, name in wanted:
        names = plan.setdefault(campaign, {})
        if name not in names:
            names[name] = given.setdefault(name, _fresh()) if together else _fresh()
    write_atomic(_plan_file(lab), json.dumps(plan).encode(), mode=0o600)
    return plan


def _fresh() -> str:
    """Short, so that it fits in the place of any name; a million of them are enough for one lab."""
    return ERASED + "".join(secrets.choice(LETTERS) for _ in range(4))


# --- what stands where -------------------------------------------------------------------------------------------


def _campaigns(lab: Lab) -> list[str]:
    return sorted(path.parent.name for path in lab.campaigns.glob("*/campaign.json"))


def _events(lab: Lab, campaign: str) -> Iterator[Event]:
    place = campaigns.folder(lab, campaign)
    for stem in ("votes", "acts"):
        yield from read_all(place, stem)


def _times(lab: Lab, campaign: str) -> Iterator[str]:
    return (str(event["at"]) for event in _events(lab, campaign))


def _people_in(lab: Lab, campaign: str) -> set[str]:
    return {str(event[key]) for event in _events(lab, campaign) for key in ("rater", "who") if event.get(key)}


def _is_known(lab: Lab, name: str) -> bool:
    tags = read_all(tag_events.folder(lab), tag_events.STEM)
    return (
        any(name in _people_in(lab, campaign) for campaign in _campaigns(lab))
        or any(event.get("who") == name for event in tags)
        or any(name in path.read_text(encoding="utf-8") for path in _link_files(lab))
        or trying.knows(lab, name)
    )


def _link_files(lab: Lab) -> list[Path]:
    return [*sorted(lab.campaigns.glob("*/raters.json")), *sorted(lab.root.glob("dashboard/viewers.json"))]


# --- replacing ----------------------------------------------------------------------------------------------------


def _forget(lab: Lab, plan: Names, keep_edits: bool) -> Forgotten:
    done = Forgotten()
    for campaign, names in plan.items():
        if campaign == EVERYWHERE or not campaigns.folder(lab, campaign).is_dir():
            continue
        for stem in ("votes", "acts"):
            for path in segments(campaigns.folder(lab, campaign), stem):
                change = functools.partial(without, names=names, keep_edits=keep_edits)
                done.counts[stem] += rewrite_segment(path, change, "people.erase")
    everywhere = plan.get(EVERYWHERE, {})
    for path in segments(tag_events.folder(lab), tag_events.STEM):
        done.counts["tags"] += rewrite_segment(
            path, lambda event: _renamed(event, everywhere, ("who",)), "people.erase"
        )
    done.counts["links"] += sum(_without_links(path, everywhere) for path in _link_files(lab))
    for path in sorted((lab.store / "lineage").glob("*.json")):
        _in_lineage(path, plan)
    store_anew(lab)
    return done


def without(event: Event, names: Mapping[str, str], keep_edits: bool) -> Event:
    """A vote or act without the names of `names`, and without the words of whoever had one of them."""
    by = str(event.get("rater") if "assignment" in event and "kind" not in event else event.get("who"))
    found = _renamed(event, names, ("rater", "who"))
    for key in ("assignment", "event_id"):
        parts = str(event.get(key, "")).split("/")
        if key in event and not names.keys().isdisjoint(parts):
            found[key] = "/".join(names.get(part, part) for part in parts)
    if by not in names:
        return found
    found |= {key: empty for key, empty in (("reason", ""), ("tags", [])) if event.get(key)}
    if event.get("kind") == "report":
        found["text"] = ""
    if not keep_edits and event.get("kind") == "written" and event.get("step") == "write":
        # An empty text would be data to learn from. As a lease that ended at once, the draft waits to be written again.
        kept = {key: found[key] for key in ("event_id", "campaign", "who", "at", "pair_id")}
        return kept | {"kind": "lease", "until": found["at"]}
    if not keep_edits:
        found |= {"edit": None} if event.get("edit") else {}
        found |= {"text": ""} if event.get("text") else {}
    return _short(found)


def _short(event: Event) -> Event:
    """Without what a record takes for empty anyway: the new name may need the room."""
    empty: Event = {"reason": "", "tags": [], "edit": None, "text": "", "rater": None, "pair_id": None}
    return {key: value for key, value in event.items() if key not in empty or value != empty[key]}


def _renamed(event: Event, names: Mapping[str, str], keys: tuple[str, ...]) -> Event:
    return event | {key: names[event[key]] for key in keys if event.get(key) in names}


def _without_links(path: Path, names: Mapping[str, str]) -> int:
    with FileLock(path.with_suffix(".lock"), mode=0o600):
        links = read_json(path)
        kept = [link for link in links if link["rater"] not in names]
        if len(kept) < len(links):
            write_atomic(path, (json.dumps(kept, indent=2) + "\n").encode(), mode=0o600)
    return len(links) - len(kept)


def _in_lineage(path: Path, plan: Names) -> None:
    """The store's own copy of who was heard in a data file: it joins votes by name, so it follows."""
    rows = read_json(path)
    found = [_heard_under(row, plan.get(row["campaign"], {})) for row in rows]
    if found != rows:
        write_atomic(path, (json.dumps(found, indent=2) + "\n").encode())


def _heard_under(row: Event, names: Mapping[str, str]) -> Event:
    found = _renamed(row, names, ("rater",))
    if found != row and row.get("assignment"):
        found["assignment"] = "/".join(names.get(part, part) for part in str(row["assignment"]).split("/"))
    return found


def _elsewhere(lab: Lab, name: str) -> list[str]:
    """Data files that adapters were trained on: their content is part of a run's identity, so a person decides."""
    found = {}
    for record in (AdapterRecord.read(path) for path in sorted(lab.runs.glob("*/adapter.json"))):
        for path in (Path(data.path) for data in record.job.data):
            if path.is_file() and f'"{name}"' in path.read_text(encoding="utf-8", errors="replace"):
                found[str(path)] = f"{path} names {name} among its raters, and run {record.run_id} learned from it"
    return list(found.values())


def _from_audit(lab: Lab, name: str, told: str) -> None:
    """Lines stay, under a word that only this lab's salt leads from the name to; not under the name of the votes."""
    for path in segments(lab.people, audit.STEM):
        entries = audit.read(path)
        found = [
            entry.model_copy(update={
                "who": told if entry.who == name else entry.who,
                "what": " ".join(told if word == name else word for word in entry.what.split(" ")),
            })
            for entry in entries
        ]  # fmt: skip
        audit.replace(path, entries, found)


def _old_audit(lab: Lab, oldest: str) -> int:
    removed = 0
    for path in segments(lab.people, audit.STEM):
        entries = audit.read(path)
        kept = [entry for entry in entries if entry.at >= oldest]
        audit.replace(path, entries, kept)
        removed += len(entries) - len(kept)
    return removed

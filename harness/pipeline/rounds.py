"""The next round: votes into a DPO spec. What it would be, and writing it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness import campaign as campaigns
from harness import pii, preferences, ratings
from harness.core.errors import InputError, RatchetError
from harness.core.paths import Lab
from harness.core.rating import Pair, Vote
from harness.core.records import AdapterRecord, PlanRecord, Version
from serve import registry

Labels = Literal["adjudicated", "majority"]


@dataclass(frozen=True)
class Asked:
    """What `ratchet next` is asked for. `primary`: the metric that the round must win; '' takes the last round's.

    `labels`: 'adjudicated' takes a lead's ruling where there is one, 'majority' votes alone.
    """

    name: str
    primary: str = ""
    alias: str = "prod"
    folder: Path = Path("experiments")
    beta: float = 0.1
    epochs: float = 1.0
    labels: Labels = "adjudicated"


@dataclass(frozen=True)
class Round:
    """What would be written. `refused` says why nothing would be, and then `text` and `place` may be missing.

    `campaigns` gave the votes; those `held` are for judging, for good, and gave none. `previous` is the spec that is
    continued, as far as there is one. `personal`: what looks like personal data in the rows, by kind.
    """

    asked: Asked
    campaigns: list[str]
    held: list[str]
    found: preferences.Preferences
    continues: str = ""
    primary: str = ""
    previous: Mapping[str, Any] = field(default_factory=dict)
    place: Path | None = None
    text: str = ""
    personal: dict[str, int] = field(default_factory=dict)
    refused: str = ""

    @property
    def files(self) -> list[Path]:
        """What would be written, in that order."""
        if self.place is None:
            return []
        return list(preferences.round_files(self.place, self.found.rows, self.text, self.found.sft))


def next_round(lab: Lab, asked: Asked, allow_pii: bool = False) -> Round:
    """Turn every vote of a name's campaigns into preference rows and the YAML of the DPO round after `name@alias`.

    Rounds never change: the folder is `<folder>/<name>-round-N`, N counting from 1. InputError where there is nothing
    to train on, where raters do not agree beyond chance, and where e-mail addresses, phone or card numbers or keys
    stand in the rows, unless `allow_pii`.
    """
    found = _made(lab, asked, _told(lab, asked))
    pii.refuse(found.personal, "the round's files", allow_pii)
    assert found.place is not None
    preferences.write_round(found.place, found.found.rows, found.text, found.found.sft)
    return found


def preview(lab: Lab, asked: Asked) -> Round:
    """What `next_round` would write, and writes nothing; `refused` has what it would raise for want of anything to
    continue or to train on. InputError where the name has no votes that may train."""
    told = _told(lab, asked)
    try:
        return _made(lab, asked, told)
    except RatchetError as error:
        return Round(asked, *told, refused=error.one_line())


# --- inside -----------------------------------------------------------------------------------------------------

Told = tuple[list[str], list[str], preferences.Preferences]  # campaigns, those held back, what their votes say


def _told(lab: Lab, asked: Asked) -> Told:
    mine = [record for record in campaigns.list_all(lab) if record.name == asked.name and record.kind == "compare"]
    if not mine:
        raise InputError(f"no campaign of {asked.name!r} in {lab.root}", "make one with `ratchet campaign create`")
    held = [record.campaign for record in mine if record.purpose == "judge"]
    whole = {record.campaign: _read(lab, record.campaign) for record in mine if record.purpose != "judge"}
    if not whole:
        raise InputError(
            f"votes on {', '.join(held)} are for judging, for good: they never train",
            "make a campaign with --purpose train",
        )
    noise = ratings.fit_noise(ratings.tabulate_all(whole))
    rulings = {name: campaigns.rulings(campaigns.read_acts(lab, name)) for name in whole}
    main = {name: _main(pairs, votes) for name, (pairs, votes) in whole.items()}
    found = preferences.from_votes(main, noise, rulings if asked.labels == "adjudicated" else None)
    return list(whole), held, found


def _read(lab: Lab, campaign: str) -> tuple[list[Pair], list[Vote]]:
    """Every pair, gold and repeated ones too, and every vote that counts."""
    votes = campaigns.VoteLog(campaigns.folder(lab, campaign)).votes()
    return campaigns.read_whole(lab, campaign)[1], list(votes.values())


def _main(pairs: list[Pair], votes: list[Vote]) -> tuple[list[Pair], list[Vote]]:
    """What may train: main pairs and the votes on them."""
    main = [pair for pair in pairs if pair.role == "main"]
    ids = {pair.pair_id for pair in main}
    known = {pair.pair_id for pair in pairs}
    return main, [vote for vote in votes if vote.pair_id in ids or vote.pair_id not in known]


def _made(lab: Lab, asked: Asked, told: Told) -> Round:
    found = told[2]
    version = registry.resolve(lab, f"{asked.name}@{asked.alias}")
    made = AdapterRecord.read(lab.adapter_record(version.run_id)).job
    was_dpo = made.method["type"] == "dpo"
    # an adopted adapter's own rate is not known
    rate = float(made.arguments.get("learning_rate", preferences.SFT_LEARNING_RATE))
    previous = _spec_of(lab, version, asked.name)
    # what the grid chose for this run, not what the spec had before the grid
    chosen = {key: made.arguments[key] for key in preferences.TAKEN_OVER if key in made.arguments}
    previous["train"] = {**(previous.get("train") or {}), **chosen, "quantization": made.quantization}
    primary = asked.primary or _primary(previous)

    def text(place: Path) -> str:
        return preferences.next_spec(
            previous,
            init_adapter=f"{asked.name}@v{version.version}",
            dataset=str(place / "pairs.jsonl"),
            primary=primary,
            preferences=found,
            adapter=made.adapter,
            sft_learning_rate=rate * (preferences.SFT_TO_DPO if was_dpo else 1),
            beta=asked.beta,
            epochs=asked.epochs,
        )

    place = _place(asked, text, found)
    return Round(
        asked,
        *told,
        continues=f"{asked.name}@v{version.version}",
        primary=primary,
        previous=previous,
        place=place,
        text=text(place),
        personal=pii.scan(
            {key: row[key] for key in ("prompt", "chosen", "rejected", "completion") if key in row}
            for row in [*found.rows, *found.sft]
        ),
    )


def _place(asked: Asked, text: Callable[[Path], str], found: preferences.Preferences) -> Path:
    """The first free round; the same votes and settings give the same round again."""
    for number in itertools.count(1):
        place = asked.folder / f"{asked.name}-round-{number}"
        files = preferences.round_files(place, found.rows, text(place), found.sft)
        if all(not path.is_file() or path.read_bytes() == data for path, data in files.items()):
            return place
    raise AssertionError("unreachable: count never ends")


def _primary(previous: Mapping[str, Any]) -> str:
    metric = ((previous.get("gate") or {}).get("primary") or {}).get("metric")
    if not metric:
        raise InputError("the last round had no primary metric", "name the one to win, e.g. --primary aac_style/warm")
    return str(metric)


def _spec_of(lab: Lab, version: Version, name: str) -> dict[str, Any]:
    if version.plan_id is None:
        raise InputError(
            f"{name}: the promoted version has no plan to start the next round from", "write the spec by hand"
        )
    return dict(PlanRecord.read(lab.plans / version.plan_id / "plan.json").spec)

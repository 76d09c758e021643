"""The next round: votes into a DPO spec."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from harness import campaign as campaigns
from harness import pii, preferences, ratings
from harness.core.errors import InputError
from harness.core.paths import Lab
from harness.core.rating import Pair, Vote
from harness.core.records import AdapterRecord, PlanRecord
from serve import registry


def next_round(
    lab: Lab, name: str, alias: str, primary: str, folder: Path, beta: float, epochs: float, allow_pii: bool = False
) -> tuple[Path, preferences.Preferences]:
    """Turn every vote of `name`'s campaigns into preference rows and the YAML of the DPO round after `name@alias`.

    Returns the spec's path. Rounds never change: the folder is `<folder>/<name>-round-N`, N counting from 1.
    InputError where e-mail addresses, phone or card numbers or keys stand in the rows, unless `allow_pii`.
    """
    mine = [record for record in campaigns.list_all(lab) if record.name == name and record.kind == "compare"]
    if not mine:
        raise InputError(f"no campaign of {name!r} in {lab.root}", "make one with `ratchet campaign create`")
    rated = {
        record.campaign: (campaigns.read(lab, record.campaign)[1], campaigns.read_votes(lab, record.campaign))
        for record in mine
        if record.purpose != "judge"
    }
    if not rated:
        held = ", ".join(record.campaign for record in mine)
        raise InputError(
            f"votes on {held} are for judging, for good: they never train",
            "make a campaign with --purpose train",
        )
    version = registry.resolve(lab, f"{name}@{alias}")
    found = preferences.from_votes(rated, _noise(lab, rated))
    made = AdapterRecord.read(lab.adapter_record(version.run_id)).job
    was_dpo = made.method["type"] == "dpo"
    # an adopted adapter's own rate is not known
    rate = float(made.arguments.get("learning_rate", preferences.SFT_LEARNING_RATE))
    previous = _spec_of(lab, version.plan_id, name)
    # what the grid chose for this run, not what the spec had before the grid
    chosen = {key: made.arguments[key] for key in preferences.TAKEN_OVER if key in made.arguments}
    previous["train"] = {**(previous.get("train") or {}), **chosen, "quantization": made.quantization}

    def text(place: Path) -> str:
        return preferences.next_spec(
            previous,
            init_adapter=f"{name}@v{version.version}",
            dataset=str(place / "pairs.jsonl"),
            primary=primary,
            preferences=found,
            adapter=made.adapter,
            sft_learning_rate=rate * (preferences.SFT_TO_DPO if was_dpo else 1),
            beta=beta,
            epochs=epochs,
        )

    pii.refuse(pii.scan([{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in found.rows]),
               "the round's pairs.jsonl", allow_pii)  # fmt: skip
    place = _place(folder, name, text, found.rows)
    _, spec_path = preferences.write_round(place, found.rows, text(place))
    return spec_path, found


def _noise(lab: Lab, names: Iterable[str]) -> ratings.Noise:
    """The error of votes in these campaigns together, from their gold pairs and repeats too."""

    def whole(name: str) -> tuple[list[Pair], list[Vote]]:
        log = campaigns.VoteLog(campaigns.folder(lab, name))
        return campaigns.read_whole(lab, name)[1], list(log.votes().values())

    return ratings.fit_noise(ratings.tabulate_all({name: whole(name) for name in names}))


def _place(folder: Path, name: str, text: Callable[[Path], str], rows: list[dict[str, Any]]) -> Path:
    """The first free round; the same votes and settings give the same round again."""
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    for number in itertools.count(1):
        place = folder / f"{name}-round-{number}"
        pairs, spec = place / "pairs.jsonl", place / f"{place.name}.yaml"
        same_pairs = not pairs.is_file() or pairs.read_text(encoding="utf-8") == data
        if same_pairs and (not spec.is_file() or spec.read_text(encoding="utf-8") == text(place)):
            return place
    raise AssertionError("unreachable: count never ends")


def _spec_of(lab: Lab, plan_id: str | None, name: str) -> dict[str, Any]:
    if plan_id is None:
        raise InputError(
            f"{name}: the promoted version has no plan to start the next round from", "write the spec by hand"
        )
    return PlanRecord.read(lab.plans / plan_id / "plan.json").spec

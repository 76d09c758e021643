"""Which votes shaped an adapter, and did any of their prompts touch its gate: the store's view `lineage`, put in words.

The view compares words, ids and clusters. Here near copies are looked for as well, as `ratchet check` does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from harness import store
from harness.contamination import EXCLUDING, Item, Row, find
from harness.core.errors import InputError
from harness.core.paths import Lab
from harness.core.words import counted
from harness.pipeline.context import find_adapter
from harness.pipeline.disputes import Dispute, disputes

SQL = "SELECT * FROM lineage WHERE run_id = ?"
TOUCHING = (*EXCLUDING, "prompt")


@dataclass(frozen=True)
class Touch:
    """One gate item that a rated prompt is, or is related to. `how`: prompt (the same words), exact, ngram, near (as
    harness.contamination has them), item or cluster (the same id or cluster, not the same text)."""

    metric: str
    item_id: str
    how: str
    campaign: str
    pair_id: str


@dataclass(frozen=True)
class Lineage:
    """Everything between the votes and the aliases of one run. Rows are dicts of the store's columns."""

    run_id: str
    votes: list[dict[str, Any]]
    data: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    gates: list[dict[str, Any]]
    evals: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]
    versions: list[dict[str, Any]]
    aliases: list[dict[str, Any]]
    touches: list[Touch]
    gate_items: int
    disputes: list[Dispute]

    @property
    def overlap(self) -> list[Touch]:
        """Those that ask the same, or nearly so."""
        return [one for one in self.touches if one.how in TOUCHING]

    def answer(self) -> str:
        """The question, answered in a few sentences."""
        return " ".join([_votes_said(self.votes), *self._gate_said()])

    def _gate_said(self) -> list[str]:
        if not self.gates:
            return ["No plan with a gate has it, so there is no gate to touch."]
        if not self.gate_items:
            return ["Nothing was evaluated yet that its gate decides on."]
        if not self.votes:
            return []
        metrics = sorted({one["metric"] for one in self.gates})
        if not self.overlap:
            told = f"None of their prompts touches its gate ({self.gate_items} items of {', '.join(metrics)})."
        else:
            items = {(one.metric, one.item_id) for one in self.overlap}
            pairs = {(one.campaign, one.pair_id) for one in self.overlap}
            kinds = Counter(one.how for one in self.overlap)
            rated = f"{counted(len(pairs), 'rated prompt')} {'is' if len(pairs) == 1 else 'are'}"
            told = (
                f"Yes, they touch its gate: {rated}, or nearly, {len(items)} of the "
                f"{counted(self.gate_items, 'item')} it decides on "
                f"({', '.join(f'by {how}: {n}' for how, n in kinds.items())}). "
                "The report leaves items out that stand in training data; see its notes."
            )
        related = {one.item_id for one in self.touches} - {one.item_id for one in self.overlap}
        share = "item shares" if len(related) == 1 else "items share"
        more = f"{len(related)} further {share} an id or a cluster with a rated prompt, not its text."
        return [told, *([more] if related else [])]


def lineage(lab: Lab, name: str) -> Lineage:
    """Of a run id, `NAME@vN` or `NAME@ALIAS`. Reads the published store. InputError for what it does not know."""
    run_id = name if not name.partition("@")[1] else find_adapter(lab, name).run_id
    runs = _rows(
        lab,
        "SELECT w.generation, r.run_id, r.label, r.method, r.created FROM ancestry w JOIN runs r "
        "ON r.run_id = w.ancestor WHERE w.run_id = ? ORDER BY w.generation",
        run_id,
    )
    if not runs:
        raise InputError(f"the store knows no run {run_id!r}", "`ratchet ls` lists runs; `ratchet reindex` reads anew")
    votes = _rows(lab, f'{SQL} ORDER BY generation, campaign, pair_id, "at"', run_id)
    items = _rows(lab, "SELECT DISTINCT metric, item_id, cluster, prompt FROM gate_items WHERE run_id = ?", run_id)
    return Lineage(
        run_id=run_id,
        votes=votes,
        data=_rows(
            lab,
            'SELECT w.generation, d.run_id, d.path, d.sha256, d.format, d."rows" FROM ancestry w JOIN run_data d '
            "ON d.run_id = w.ancestor WHERE w.run_id = ? ORDER BY ALL",
            run_id,
        ),
        runs=runs,
        gates=_rows(
            lab, "SELECT DISTINCT plan_id, role, metric FROM gate_metrics WHERE run_id = ? ORDER BY ALL", run_id
        ),
        evals=_rows(
            lab,
            "SELECT eval_id, evalset, evalset_version, created FROM evals WHERE run_id = ? ORDER BY created",
            run_id,
        ),
        verdicts=_rows(lab, "SELECT plan_id, verdict, created FROM verdicts WHERE run_id = ? ORDER BY created", run_id),
        versions=_rows(
            lab, "SELECT name, version, verdict, forced_reason FROM versions WHERE run_id = ? ORDER BY ALL", run_id
        ),
        aliases=_rows(
            lab,
            'SELECT m.name, m.alias, m."after" AS version, m.who, m.why, m."at" FROM alias_moves m JOIN versions v '
            'ON v.name = m.name AND v.version = m."after" WHERE v.run_id = ? ORDER BY m.name, m.seq',
            run_id,
        ),
        touches=_touches(votes, items),
        gate_items=len({(one["metric"], one["item_id"]) for one in items}),
        disputes=disputes(lab, run_ids=[run_id]),
    )


def runs_with_votes(lab: Lab) -> list[tuple[str, int]]:
    """(run, how many votes shaped it) of every run, most votes first."""
    _, rows = store.query(
        lab,
        "SELECT r.run_id, count(v.assignment) FROM runs r LEFT JOIN vote_lineage v ON v.run_id = r.run_id "
        "GROUP BY r.run_id, r.created ORDER BY 2 DESC, r.created DESC, 1",
    )
    return [(run_id, count) for run_id, count in rows]


def _votes_said(votes: list[dict[str, Any]]) -> str:
    if not votes:
        return "No vote shaped this adapter: none of its data, nor that of adapters it continues, has rated pairs."
    pairs = len({(one["campaign"], one["pair_id"]) for one in votes})
    raters = len({one["rater"] for one in votes})
    names = ", ".join(sorted({one["campaign"] for one in votes}))
    undone = sum(one["undone"] for one in votes)
    who = f"{counted(len(votes), 'vote')} by {counted(raters, 'rater')}"
    told = f"{who} on {counted(pairs, 'pair')} shaped it (campaigns: {names})"
    return f"{told}; {undone} of them were taken back since." if undone else f"{told}."


def _touches(votes: list[dict[str, Any]], items: list[dict[str, Any]]) -> list[Touch]:
    """What the view says, and near copies, each (item, pair) once: by the strongest."""
    found: dict[tuple[str, str, str, str], Touch] = {}
    for one in votes:
        for touch in sorted(one["touches"], key=lambda touch: ("prompt", "item", "cluster").index(touch["how"])):
            key = (touch["metric"], touch["item_id"], one["campaign"], one["pair_id"])
            found.setdefault(key, Touch(touch["metric"], touch["item_id"], touch["how"], *key[2:]))
    pairs = list({(one["campaign"], one["pair_id"]): one for one in votes if one["asked"]}.values())
    wanted = [
        Item(one["metric"], one["item_id"], "release", one["prompt"] or "", cluster=one["cluster"] or "")
        for one in items
    ]
    if pairs and wanted:
        rows = (Row("votes", place, one["asked"]) for place, one in enumerate(pairs))
        for match in find(wanted, rows):
            pair = pairs[match.line]
            key = (match.evalset, match.item_id, pair["campaign"], pair["pair_id"])
            if match.kind in EXCLUDING and (key not in found or found[key].how in ("item", "cluster")):
                found[key] = Touch(match.evalset, match.item_id, match.kind, *key[2:])
    return sorted(found.values(), key=lambda one: (one.how not in TOUCHING, one.metric, one.item_id, one.pair_id))


def _rows(lab: Lab, sql: str, run_id: str) -> list[dict[str, Any]]:
    columns, rows = store.query(lab, sql, [run_id])
    return [dict(zip(columns, row, strict=True)) for row in rows]

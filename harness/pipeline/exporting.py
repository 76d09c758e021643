"""A campaign as a file: its votes as a table or for another tool, or what TRL trains on, with a card of the data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness import audit, pii, preferences, ratings
from harness import campaign as campaigns
from harness.core.errors import InputError
from harness.core.fingerprint import sha256_of
from harness.core.paths import Lab, json_lines, write_atomic
from harness.core.rating import CampaignRecord, Pair, Vote
from harness.core.records import now
from harness.pipeline.board import campaign_board
from harness.pipeline.forms import argilla, label_studio
from harness.pipeline.forms.csv_text import COLUMNS, as_csv
from harness.pipeline.rated import blind_names

Form = Literal["csv", "jsonl", "trl-preference", "trl-kto", "trl-sft", "label-studio", "argilla"]
Row = dict[str, Any]
SETTINGS: dict[Form, str] = {"label-studio": ".config.xml", "argilla": ".settings.json"}  # of tools that are not ours
TEXTS = ("prompt", "a", "b", "chosen", "rejected", "completion", "reason", "tags", "edit_text")


@dataclass(frozen=True)
class Exported:
    """`left_out`: pairs that make no row, by reason. `card`: the data card, of files to train on. `settings`: how
    another tool shows the rows: Label Studio's labelling interface, the settings of Argilla's dataset."""

    path: Path
    rows: int
    left_out: dict[str, int]
    card: Path | None = None
    settings: Path | None = None


def export(lab: Lab, campaign: str, form: Form, out: Path, who: str, allow_pii: bool = False) -> Exported:
    """Write one campaign as `form`. Subjects keep their blind names until it is closed.

    InputError where `out`, or what comes beside it, exists, nothing makes a row, the campaign is for judging and the
    form for training, or personal data stands in a row, unless `allow_pii`.
    """
    record, pairs = campaigns.read_whole(lab, campaign)
    card = out.with_name(f"{out.stem}.card.md") if form.startswith("trl-") else None
    settings = out.with_name(f"{out.stem}{SETTINGS[form]}") if form in SETTINGS else None
    if settings and out.suffix != ".json":
        raise InputError(f"{out}: {form} reads JSON in one piece", "name the file .json")
    for path in (out, card, settings):
        if path is not None and path.exists():
            raise InputError(f"{path} exists", "choose another file: what was trained on must not change")
    if card and record.purpose == "judge":
        raise InputError(f"campaign {campaign!r} is for judging, for good: nothing of it is trained on")
    made = _Made(lab, record, pairs)
    rows, left_out = made.drafts(form) if record.kind == "write" else made.votes(form)
    if not rows:
        why = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in left_out.items() if count)
        raise InputError(f"campaign {campaign!r}: nothing in it makes a row of {form} ({why or 'nobody did anything'})",
                         "rate, or write and review, some first")  # fmt: skip
    found = pii.scan([{key: row[key] for key in TEXTS if key in row} for row in rows])
    pii.refuse(found, str(out), allow_pii)
    if form in SETTINGS:
        rows = made.others(form, rows)
    audit.note(lab, who, "exported", str(out), {"rows": len(rows)})
    if settings:
        write_atomic(settings, _settings(form).encode())
    write_atomic(out, _written(form, rows))
    if card:
        write_atomic(card, made.card(out.name, form, rows, left_out, found).encode())
    return Exported(out, len(rows), left_out, card, settings)


def _written(form: Form, rows: list[Row]) -> bytes:
    if form == "csv":
        return as_csv(rows).encode()
    if form in SETTINGS:  # a list that a person, too, can read line by line
        return b"[\n" + b",\n".join(json_lines([row]).rstrip() for row in rows) + b"\n]\n"
    return json_lines(rows)


def _settings(form: Form) -> str:
    return label_studio.label_config() if form == "label-studio" else json.dumps(argilla.settings(), indent=1) + "\n"


class _Made:
    """What one campaign makes."""

    def __init__(self, lab: Lab, record: CampaignRecord, pairs: list[Pair]) -> None:
        self._lab, self._record, self._pairs = lab, record, pairs
        self._main = [pair for pair in pairs if pair.role == "main"]
        log = campaigns.VoteLog(campaigns.folder(lab, record.campaign))
        self._votes = list(log.votes().values())
        log.close()

    def drafts(self, form: Form) -> tuple[list[Row], dict[str, int]]:
        acts = campaigns.read_acts(self._lab, self._record.campaign)
        if form == "trl-sft":
            rows = campaigns.sft_rows(self._record, self._main, acts)
        elif form == "trl-preference":
            rows = campaigns.preference_rows(self._record, self._main, acts)
        else:
            raise InputError(f"campaign {self._record.campaign!r} has drafts, not votes", "use trl-sft, trl-preference")
        rows = [row | {"label_rule": "written by one, accepted by another"} for row in rows]
        return rows, {"no text that a second person accepted": len(self._main) - len(rows)}

    def votes(self, form: Form) -> tuple[list[Row], dict[str, int]]:
        if not form.startswith("trl-"):
            return list(self._table()), {}
        mine = {pair.pair_id for pair in self._main}
        rated = {self._record.campaign: (self._main, [vote for vote in self._votes if vote.pair_id in mine])}
        name = self._record.campaign
        rulings = {name: campaigns.rulings(campaigns.read_acts(self._lab, name))}
        if form == "trl-preference":
            found = preferences.from_votes(rated, None, rulings)
            return found.rows, {name: count for name, count in found.counts.items() if name != "used" and count}
        counts: Counter[str] = Counter()
        rows: list[Row] = []
        for content in preferences.contents_of(rated, rulings):
            own = _kto(content) if form == "trl-kto" else _sft(content)
            rows += own
            counts[content.outcome] += not own
        return rows, dict(+counts)

    def others(self, form: Form, rows: list[Row]) -> list[Row]:
        """Rows of the table as another tool's. Which answer stands first is drawn for each pair, as for a rater."""
        firsts = {pair.pair_id: campaigns.assign(self._record, pair, form).left for pair in self._pairs}
        return label_studio.tasks(rows, firsts) if form == "label-studio" else argilla.records(rows, firsts)

    def _table(self) -> Iterator[Row]:
        """A row a vote, and one without a vote for every pair that nobody judged."""
        names = self._names()
        by_pair: dict[str, list[Vote]] = {}
        for vote in self._votes:
            by_pair.setdefault(vote.pair_id, []).append(vote)
        for pair in self._pairs:
            shown = {
                "campaign": self._record.campaign, "pair_id": pair.pair_id, "item_id": pair.item_id,
                "cluster": pair.cluster, "prompt": pair.prompt, "a": pair.a.text, "b": pair.b.text,
                "a_subject": names.get(pair.a.subject, pair.a.subject),
                "b_subject": names.get(pair.b.subject, pair.b.subject), "role": pair.role,
                "expected": pair.expected, "repeat_of": pair.repeat_of, "explanation": pair.explanation,
                "arm": pair.arm, "inclusion": pair.inclusion,
            }  # fmt: skip
            empty: Row = dict.fromkeys(COLUMNS)
            for row in [_vote_row(vote) for vote in by_pair.get(pair.pair_id, [])] or [{}]:
                yield empty | shown | row

    def _names(self) -> dict[str, str]:
        """What to call the subjects: as the board does."""
        return {} if campaigns.closed(self._lab, self._record.campaign) else blind_names(self._record)

    def card(self, name: str, form: Form, rows: list[Row], left_out: dict[str, int], found: dict[str, int]) -> str:
        """Where a file's rows come from, in Markdown."""
        record = self._record
        lines = [
            f"# {name}", "", f"{len(rows)} rows of {form}, from campaign `{record.campaign}` for `{record.name}`.", "",
            f"- made: {now()}, from votes and texts on disk by then",
            f"- prompts: `{Path(record.pool.path).name}` ({record.pool.rows}, sha256 {record.pool.sha256[:12]}…)",
            f"- campaign made: {record.created}; kind {record.kind}; purpose {record.purpose or 'not asked'}",
            f"- label: {rows[0].get('label_rule', 'not said')}",
            f"- pairs: {record.pairs}; without a row: "
            + (", ".join(f"{count} {why.replace('_', ' ')}" for why, count in left_out.items() if count) or "none"),
            "- licence: not known here; look at the prompts and at the models that answered",
            f"- looked for personal data by form: {pii.said(found)}",
        ]  # fmt: skip
        if record.kind == "compare":
            lines += self._worth()
        lines += [
            "", "Lineage columns: `campaign`, `pair_id`, `cluster`; `raters` are pseudonyms, and `assignments`, in the",
            "same order, their votes. `ratchet lineage RUN` finds an adapter's votes by them.", "",
            f"sha256 of the rows: {sha256_of(rows)}", "",
        ]  # fmt: skip
        return "\n".join(lines)

    def _worth(self) -> list[str]:
        ballots = ratings.tabulate(self._pairs, self._votes)
        noise, board = ratings.fit_noise(ballots), campaign_board(self._lab, self._record.campaign).board
        alpha = board.alpha
        said = alpha.note if alpha.alpha is None else f"{alpha.alpha:.2f}"
        if alpha.low is not None and alpha.high is not None:
            said += f" ({alpha.low:.2f} to {alpha.high:.2f})"
        error = noise.refused if noise.error is None else f"{noise.error:.1%} of votes are not what their rater meant"
        return [
            f"- votes: {board.votes} by {len({vote.rater for vote in self._votes})} raters",
            f"- agreement (Krippendorff's alpha): {said}",
            f"- noise: {error}",
        ]


def _vote_row(vote: Vote) -> Row:
    kept = {"rater", "left", "at", "shown_at", "seconds", "reason", "tags", "take", "origin"}
    row: Row = vote.model_dump(include=kept)
    edit = {"edit_side": vote.edit.side, "edit_text": vote.edit.text} if vote.edit else {}
    return row | edit | {"preferred": vote.view, "assignment": vote.assignment}


def _row(content: preferences.Content, side: str) -> Row:
    pair = content.pair
    text = (pair.a if side == "a" else pair.b).text
    return {
        "prompt": pair.prompt,
        "completion": [{"role": "assistant", "content": text}],
        "campaign": content.campaign,
        "pair_id": pair.pair_id,
        "cluster": pair.cluster,
        **preferences.lineage_of(content),
    }


def _kto(content: preferences.Content) -> list[Row]:
    """Both answers with whether they were wanted: the winner's side, or neither where most found both bad."""
    if content.outcome not in ("used", "both_bad"):
        return []
    return [_row(content, side) | {"label": content.winner == side} for side in ("a", "b")]


def _sft(content: preferences.Content) -> list[Row]:
    return [_row(content, content.winner)] if content.winner else []

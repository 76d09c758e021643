"""From the journals and records of a lab into the open store: everything new, exactly once.

A record is one source: its rows, the rows of the journals it names and the hash of what was read are committed
together, so a kill leaves a source either wholly in the store or not at all. A record that changed (a registry, a
report) has its rows replaced. A campaign's journals grow, so they are read on from where the last commit ended.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
from pydantic import ValidationError

from harness.core.errors import LabError, RatchetError
from harness.core.faults import reached
from harness.core.fingerprint import file_sha256
from harness.core.journal import read_segment
from harness.core.paths import Lab, disk_errors, read_json
from harness.core.rating import CampaignRecord, Pair, Vote, read_act
from harness.core.records import AdapterRecord, EvalRecord, ParityRecord, PlanRecord, RegistryRecord
from harness.store import rows as to_rows
from harness.store import traffic
from harness.store.bulk import columns_of_tables, insert_items, insert_rows, insert_steps, whole_lines
from harness.store.lineage import rated_pairs
from harness.store.rows import Rows
from harness.store.schema import first_line

# What DuckDB raises for a journal that holds something else than was written there.
DAMAGE = (duckdb.InvalidInputException, duckdb.DataError)


class Ingest:
    """One pass over a lab into an open store."""

    def __init__(self, lab: Lab, connection: duckdb.DuckDBPyConnection) -> None:
        self.lab = lab
        self.connection = connection
        self.problems: list[RatchetError] = []
        self._columns = columns_of_tables(connection)
        known = connection.execute("SELECT source, bytes, sha256 FROM ingested").fetchall()
        self.known: dict[str, tuple[int, str | None]] = {source: (size, sha256) for source, size, sha256 in known}

    def run(self) -> int:
        """Take in what is new; returns how many sources. A damaged one is left out and its error kept in `problems`."""
        taken = 0
        for kind in KINDS:
            for path in sorted(self.lab.root.glob(kind.pattern)):
                taken += self.attempt(self._take_record, kind, path)
        for growing in GROWING:
            for path in sorted(self.lab.campaigns.glob(f"*/{growing.stem}-*.jsonl")):
                if (path.parent / "campaign.json").exists():
                    taken += self.attempt(self._take_events, growing, path)
        return taken + self.attempt(traffic.take_all, self)

    def insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        insert_rows(self.connection, table, self._columns[table], rows)

    def whole(self, journal: Path) -> contextlib.AbstractContextManager[Path]:
        """The whole lines of a journal, as a file to read inside the `with`."""
        return whole_lines(journal, self.lab.store / "scratch")

    def source(self, path: Path) -> str:
        return path.relative_to(self.lab.root).as_posix()

    def attempt(self, take: Callable[..., int], *arguments: Any) -> int:
        """One damaged source must not hide the results of all the others."""
        try:
            return take(*arguments)
        except RatchetError as error:
            self.problems.append(error)
            return 0

    def _take_record(self, kind: Kind, path: Path) -> bool:
        # Hashed before it is read: when it changes in between, the next ingest finds another hash and reads it again.
        size, sha256 = path.stat().st_size, file_sha256(path)
        seen = self.known.get(self.source(path))
        if seen and seen[1] == sha256:
            return False
        name = path.stem if kind.named_by_file else path.parent.name
        with self.transaction(path):
            if seen:
                for table in kind.tables:
                    self.connection.execute(f"DELETE FROM {table} WHERE {kind.key} = ?", [name])  # noqa: S608  from KINDS
            for table, found in kind.load(self, path).items():
                wrong = [row[kind.key] for row in found if kind.key in row and row[kind.key] != name]
                if wrong:
                    raise LabError(f"{path} describes {wrong[0]!r}, not {name!r}", "move it back to where it was made")
                self.insert(table, [row | {kind.key: name} for row in found])
            self.remember(path, size, sha256)
        return True

    def _take_events(self, growing: Growing, path: Path) -> bool:
        offset, _ = self.known.get(self.source(path), (0, None))
        if path.stat().st_size < offset:
            raise LabError(f"{path} is shorter than when it was read", "restore it; `ratchet reindex` accepts the loss")
        events = list(read_segment(path, offset))
        if not events:
            return False
        with self.transaction(path):
            source = self.source(path)
            rows = [growing.row(event, path) | {"position": end, "source": source} for event, end in events]
            self.insert(growing.table, rows)
            self.remember(path, events[-1][1])
        return True

    def remember(self, path: Path, size: int, sha256: str | None = None) -> None:
        """Note in the open transaction how far `path` was read."""
        source = self.source(path)
        self.connection.execute("DELETE FROM ingested WHERE source = ?", [source])
        self.connection.execute("INSERT INTO ingested VALUES (?, ?, ?)", [source, size, sha256])

    @contextlib.contextmanager
    def transaction(self, path: Path) -> Iterator[None]:
        """Commit what the body did, or nothing. LabError when `path` or a journal beside it is damaged."""
        self.connection.begin()
        try:
            yield
        except RatchetError:
            self.connection.rollback()
            raise
        except DAMAGE as error:
            self.connection.rollback()
            raise LabError(f"{path}: {first_line(error)}", "restore the file or move its folder away") from error
        self.connection.commit()
        with disk_errors(self.lab.store):
            reached("store.ingest")


@dataclass(frozen=True)
class Kind:
    """A kind of record: where it lies, the column that names it in each of its tables, how its rows are made.

    Its name is that of its folder, or of the file itself. `load` may put rows of journals into the store by itself.
    """

    pattern: str
    key: str
    tables: tuple[str, ...]
    load: Callable[[Ingest, Path], Rows]
    named_by_file: bool = False


def _checked(read: Callable[[Any], Any], what: str, event: dict[str, Any], path: Path) -> Any:
    """One line of a journal as the record it must be."""
    try:
        return read(event)
    except ValidationError as error:
        raise LabError(f"{path} holds a line that is no {what}", "restore the file") from error


def _plan(_: Ingest, path: Path) -> Rows:
    return to_rows.plan_rows(PlanRecord.read(path))


def _run(ingest: Ingest, path: Path) -> Rows:
    record = AdapterRecord.read(path)
    journal = path.with_name("metrics.jsonl")
    if journal.exists():
        with ingest.whole(journal) as whole:
            insert_steps(ingest.connection, record.run_id, whole)
    for data in record.job.data:
        known = ingest.connection.execute("SELECT 1 FROM data_lineage WHERE sha256 = ?", [data.sha256]).fetchone()
        if not known:
            ingest.insert("data_lineage", rated_pairs(ingest.lab, data))
    return to_rows.run_rows(record)


def _eval(ingest: Ingest, path: Path) -> Rows:
    record = EvalRecord.read(path)
    found: dict[str, int] = {}
    with contextlib.ExitStack() as journals:
        names = sorted(record.journals)
        if any(Path(name).name != name for name in names):
            raise LabError(f"{path}: journals must be file names", "the record is damaged: restore it")
        whole = [journals.enter_context(ingest.whole(path.with_name(name))) for name in names]
        if whole:
            found = insert_items(ingest.connection, record.eval_id, to_rows.metric_name(record.evalset, ""), whole)
    promised = {bucket: count for bucket, count in record.counts.items() if count}
    if found != promised:
        raise LabError(
            f"{path} counts {promised or 'no items'}, its journals hold {found or 'none'}",
            f"move {path.parent} away and run the command again",
        )
    return to_rows.eval_rows(record)


def _parity(_: Ingest, path: Path) -> Rows:
    return to_rows.parity_rows(ParityRecord.read(path))


def _campaign(ingest: Ingest, path: Path) -> Rows:
    record = CampaignRecord.read(path)
    journal = path.with_name("pairs.jsonl")
    with ingest.whole(journal) as whole:
        pairs = [_checked(Pair.model_validate, "pair", event, journal) for event, _ in read_segment(whole)]
    if len(pairs) != record.pairs:
        raise LabError(f"{path} counts {record.pairs} pairs, {journal.name} holds {len(pairs)}", "restore the file")
    return to_rows.campaign_rows(record) | {"pairs": [to_rows.pair_row(record.campaign, pair) for pair in pairs]}


def _registry(_: Ingest, path: Path) -> Rows:
    return to_rows.registry_rows(RegistryRecord.read(path))


def _report(_: Ingest, path: Path) -> Rows:
    return to_rows.verdict_rows(path, read_json(path))


def _vote(event: Any, path: Path) -> dict[str, Any]:
    row: dict[str, Any] = _checked(Vote.model_validate, "vote", event, path).model_dump()
    return row


def _act(event: Any, path: Path) -> dict[str, Any]:
    return to_rows.act_row(_checked(read_act, "act", event, path))


def _extra(event: Any, path: Path) -> dict[str, Any]:
    return to_rows.pair_row(path.parent.name, _checked(Pair.model_validate, "pair", event, path))


class Growing(NamedTuple):
    """A journal of campaigns that grows: its stem, its table, and an event as a row."""

    stem: str
    table: str
    row: Callable[[Any, Path], dict[str, Any]]


GROWING = (
    Growing("extra", "pairs", _extra),
    Growing("votes", "vote_events", _vote),
    Growing("acts", "act_events", _act),
)
KINDS = (
    Kind("plans/*/plan.json", "plan_id", ("plans", "plan_runs"), _plan),
    Kind("runs/*/adapter.json", "run_id", ("runs", "run_data", "train_steps"), _run),
    Kind("evals/*/eval.json", "eval_id", ("evals", "metrics", "items", "scores"), _eval),
    Kind("evals/parity/*.json", "parity_id", ("parity",), _parity, named_by_file=True),
    Kind("campaigns/*/campaign.json", "campaign", ("campaigns", "pairs"), _campaign),
    Kind("registry/*.json", "name", ("versions", "alias_moves"), _registry, named_by_file=True),
    Kind("reports/*.json", "plan_id", ("verdicts",), _report, named_by_file=True),
)

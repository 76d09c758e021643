"""Which rated pairs stand in a training file: the link from votes to the adapter they shaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.core.fingerprint import file_sha256
from harness.core.paths import Lab, check_name, read_json, write_json
from harness.core.records import DataRef
from harness.data import raw_rows


def rated_pairs(lab: Lab, data: DataRef) -> list[dict[str, Any]]:
    """Rows of `data_lineage` for a file with columns `campaign` and `pair_id`: one per pair and rater heard, with the
    very vote where the file says it (`assignments`, beside `raters`). Empty for files without.

    The file lies outside the lab and may be gone when the store is rebuilt, so what was read is kept under
    `store/lineage/`, by the file's content. A file that is gone or changed before it was first read says nothing.
    """
    kept = lab.store / "lineage" / f"{check_name(data.sha256, 'data hash')}.json"
    if not kept.exists():
        path = Path(data.path)
        if not path.is_file() or file_sha256(path) != data.sha256:
            return []
        write_json(kept, _read(path, data.sha256))
    rows: list[dict[str, Any]] = read_json(kept)
    return rows


def _read(path: Path, sha256: str) -> list[dict[str, Any]]:
    heard = [row for _, written in raw_rows(path, finite=False) for row in _heard(written, sha256)]
    return list({tuple(row.items()): row for row in heard}.values())  # an edit is a row beside its pair's


def _heard(row: dict[str, Any], sha256: str) -> list[dict[str, Any]]:
    """Who was heard in one row of data. A majority may have been heard in several pairs that asked the same: then
    their assignments, `campaign/pair/rater`, say which."""
    if row.get("campaign") is None or row.get("pair_id") is None:
        return []
    raters, votes = (row.get(name) for name in ("raters", "assignments"))
    found = {"sha256": sha256, "campaign": str(row["campaign"]), "pair_id": str(row["pair_id"])}
    if isinstance(votes, list) and votes and all(isinstance(one, str) and one.count("/") >= 2 for one in votes):
        parts = [one.split("/") for one in votes]
        return [
            {"sha256": sha256, "campaign": campaign, "pair_id": pair_id, "rater": rater, "assignment": "/".join(part)}
            for part in parts
            for campaign, pair_id, rater in [part[:3]]
        ]
    return [found | {"rater": str(rater)} for rater in raters or [] if isinstance(raters, list)]

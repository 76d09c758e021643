"""Which rated pairs stand in a training file: the link from votes to the adapter they shaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.core.fingerprint import file_sha256
from harness.core.paths import Lab, check_name, read_json, write_json
from harness.core.records import DataRef
from harness.data import is_preference, raw_rows


def rated_pairs(lab: Lab, data: DataRef) -> list[dict[str, Any]]:
    """Rows of `data_lineage` for a preference file: one per pair and rater heard. Empty for other data.

    The file lies outside the lab and may be gone when the store is rebuilt, so what was read is kept under
    `store/lineage/`, by the file's content. A file that is gone or changed before it was first read says nothing.
    """
    if not is_preference(data):
        return []
    kept = lab.store / "lineage" / f"{check_name(data.sha256, 'data hash')}.json"
    if not kept.exists():
        path = Path(data.path)
        if not path.is_file() or file_sha256(path) != data.sha256:
            return []
        write_json(kept, _read(path, data.sha256))
    rows: list[dict[str, Any]] = read_json(kept)
    return rows


def _read(path: Path, sha256: str) -> list[dict[str, Any]]:
    return [
        {"sha256": sha256, "campaign": str(row["campaign"]), "pair_id": str(row["pair_id"]), "rater": str(rater)}
        for _, row in raw_rows(path)
        if "campaign" in row and "pair_id" in row
        for rater in row.get("raters", [])
    ]

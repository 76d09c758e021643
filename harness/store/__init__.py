"""The store: everything a lab holds, as tables. Journals and records are the truth; this is built from them."""

from harness.store.build import Ingested, ingest, reindex
from harness.store.queries import counts, query, subject_scores

__all__ = ["Ingested", "counts", "ingest", "query", "reindex", "subject_scores"]

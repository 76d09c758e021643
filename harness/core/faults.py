"""Named write points, where tests kill the process to show that nothing is lost or doubled.

`RATCHET_KILL_AT=<point>` makes the process that reaches the point end at once by SIGKILL, as a power cut would.
`RATCHET_FULL_DISK_AT=<point>` makes the write there fail with ENOSPC. Neither does anything when unset.
"""

from __future__ import annotations

import errno
import os
import signal

WRITE_POINTS = (
    "plan.record",  # lab/plans/<id>/plan.json
    "plan.evals",  # lab/plans/<id>/evals.json: what is to be evaluated
    "adapter.files",  # the adapter's folder is complete, its record is not yet written
    "adapter.record",  # adapter.json
    "parity.record",  # evals: parity.json of an adapter
    "eval.item",  # one item's result in its journal
    "eval.record",  # eval.json
    "engine.lease",  # lab/engines/<id>/lease.json
    "store.ingest",  # rows and offsets committed to build.duckdb, not yet published
    "store.publish",  # the published ratchet.duckdb
    "report.record",  # reports/<plan>.json
    "registry.record",  # registry/<name>.json
    "registry.look",  # registry/looks/<evalset>.json: written before what was seen is shown
    "registry.webhook",  # registry/webhooks.yaml, and what could not be delivered
    "registry.burn",  # registry/burned: opened release items, before they are shown
    "keys.record",  # keys/keys.json
    "people.record",  # people/*.json: accounts, invitations, sessions, failed sign-ins
    "people.erase",  # a campaign's journal without a person's name
    "people.audit",  # who saw, exported or changed what
    "campaign.record",  # campaign.json, after its pairs
    "vote.event",  # one vote in its journal
    "act.event",  # an undo, a lease, a written text … in its journal
    "rewrite.event",  # one rewritten row in its journal
    "tag.event",  # one tag in its journal
    "capture.event",  # captured calls in a segment of lab/requests
    "shadow.event",  # a call and its shadow's answer in a segment of lab/requests
    "feedback.event",  # an app's feedback in a segment of lab/requests
    "usage.event",  # what keys used since the last time, in a segment of lab/requests
    "capture.rewrite",  # a segment of lab/requests without the user who is erased
    "capture.audit",  # who erased or exported captured calls, and when
)


def reached(point: str) -> None:
    """Mark a write point; call it just before the write becomes visible."""
    assert point in WRITE_POINTS, f"unnamed write point {point!r}"
    if os.environ.get("RATCHET_KILL_AT") == point:
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("RATCHET_FULL_DISK_AT") == point:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

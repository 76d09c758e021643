"""The results page's tab of a plan that runs: how far its runs and evaluations are, again every few seconds.

The page's script (static/results.js) asks for `live/PLAN` while the tab is in sight and puts what it gets in place, so
nothing is held open and nothing piles up. What is over says so, and is not asked for again.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from urllib.parse import urlencode

from dashboards.results_view import note, table
from dashboards.web import plain, progress_bar
from harness.core.paths import Lab
from harness.pipeline.live import EvalNow, PlanNow, RunNow, plan_now
from harness.pipeline.status import plan_records
from harness.report.cells import NONE
from harness.report.context_plots import smoothed, thinned
from harness.report.extras import Curve
from harness.stats import figures

EVERY_S = 3
WIDTH, HEIGHT = 600, 160  # of the curve's drawing; the page scales it
ORDER = ("started", "missing", "finished")  # what moves comes first


def offered(lab: Lab) -> list[tuple[str, str]]:
    """Every plan as (shown, plan id), newest first."""
    return [(f"{one.name} · {one.plan_id}", one.plan_id) for one in reversed(plan_records(lab))]


def frame(plan_id: str, body: str) -> str:
    """What the page's script fills again and again."""
    return f"<div id='live' data-plan='{plain(plan_id)}' data-every='{EVERY_S}'>{body}</div>"


def live(lab: Lab, plan_id: str) -> str:
    """One plan as it is now, as HTML. Raises what `plan_now` raises."""
    found = plan_now(lab, plan_id)
    at = datetime.datetime.now(datetime.UTC).strftime("%H:%M:%S")
    again = "Everything is finished." if found.over else f"As of {at} UTC; looks again every {EVERY_S} s."
    over = " data-over" if found.over else ""
    return (
        f"{_head(found)}<p class='soft' id='as-of'{over}>{again}{_links(found)}</p>"
        f"{_runs(found.runs)}{_curve(found.curve)}{_evals(found.evals)}"
    )


def _head(found: PlanNow) -> str:
    parts: list[RunNow | EvalNow] = [*found.runs, *(found.evals or [])]
    done = sum(one.state == "finished" for one in parts)
    trained = sum(one.state == "finished" for one in found.runs)
    counts = [f"{trained} of {len(found.runs)} runs trained"]
    if found.evals is not None:
        evaluated = sum(one.state == "finished" for one in found.evals)
        counts.append(f"{evaluated} of {len(found.evals)} evaluations done")
    if found.reported:
        counts.append(f"reported: {found.verdict or 'no verdict'}")
    return progress_bar(plain(found.name), plain(" · ".join(counts)), "Runs and evaluations finished", done, len(parts))


def _links(found: PlanNow) -> str:
    if not found.reported:
        return ""
    board = plain(urlencode({"tab": "leaderboard", "plan": found.plan_id}))
    return (
        f" <a href='?{board}'>Leaderboard</a> · <a href='report/{plain(found.plan_id)}' target='_blank'>The report</a>"
    )


# --- runs -------------------------------------------------------------------------------------------------------


def _runs(runs: Sequence[RunNow]) -> str:
    if not runs:
        return note("This plan trains nothing.")
    ordered = sorted(runs, key=lambda one: ORDER.index(one.state))
    rows = [(one.label, one.state, _steps(one), _loss(one), _left(one), one.run_id) for one in ordered]
    return table(("run", "state", "step", "loss", "left", "id"), rows, "live-runs")


def _steps(one: RunNow) -> str:
    return f"{one.step} of {one.total}" if one.step is not None and one.total is not None else NONE


def _loss(one: RunNow) -> str:
    return figures(one.loss)[0] if one.loss is not None else NONE


def _left(one: RunNow) -> str:
    if one.quiet_s is not None:
        return f"no step for {_duration(one.quiet_s)}: has it ended?"
    return f"about {_duration(one.seconds_left)}" if one.seconds_left is not None else NONE


def _duration(seconds: float) -> str:
    """Rounded to what such a guess can tell."""
    if seconds < 90:
        return f"{round(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _curve(curve: Curve | None) -> str:
    """The loss of the run that logged last, step by step, smoothed as in reports."""
    if curve is None or len(curve.steps) < 2:
        return ""
    steps, values = thinned(curve.steps, smoothed(curve.values))
    low, high = min(values), max(values)
    across, up = (steps[-1] - steps[0]) or 1, (high - low) or 1.0
    points = " ".join(
        f"{WIDTH * (step - steps[0]) / across:.1f},{HEIGHT * (high - value) / up:.1f}"
        for step, value in zip(steps, values, strict=True)
    )
    told = f"loss {figures(values[0])[0]} at step {steps[0]}, {figures(values[-1])[0]} at step {steps[-1]}"
    return (
        f"<figure id='live-curve' data-run='{plain(curve.run_id)}'>"
        f"<figcaption>Learning curve of {plain(curve.label)}: {plain(told)}</figcaption>"
        f"<svg viewBox='-4 -4 {WIDTH + 8} {HEIGHT + 8}' role='img' aria-label='{plain(told)}' "
        f"preserveAspectRatio='none'><polyline points='{points}'></polyline></svg></figure>"
    )


# --- evaluations ------------------------------------------------------------------------------------------------


def _evals(evals: Sequence[EvalNow] | None) -> str:
    if evals is None:
        return note("Evaluations are planned when the runs are trained.")
    ordered = sorted(evals, key=lambda one: ORDER.index(one.state))
    rows = [(one.planned.subject, one.planned.evalset, one.state, _items(one)) for one in ordered]
    return table(("subject", "evalset", "state", "items"), rows, "live-evals")


def _items(one: EvalNow) -> str:
    if one.planned.items is None or one.done is None:
        return NONE
    return f"{one.done} of {one.planned.items}"

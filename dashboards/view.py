"""What somebody looks at on the results page: filters as values, in a link, and made to fit what the lab has."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any
from urllib.parse import parse_qsl

from dashboards import results_data as data
from harness.core.paths import Lab

ALL_PLANS = "all plans"
EVERY_EVALSET = "all evalsets"
KINDS = ("fixed", "broke", "failed", "solved", "unscored", "all")
PER_PAGE = 10
MOST_SUBJECTS = 4  # answers that can be read beside one another
DEFAULT_RUNS = 2


@dataclass(frozen=True)
class View:
    """All filters. Empty ones take what the lab suggests."""

    tab: str = "leaderboard"
    plan: str = ""
    evalset: str = EVERY_EVALSET
    metric: str = ""
    split: str = "dev"
    runs: list[str] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    kind: str = "all"
    place: int = 1  # which page of items; Gradio takes a parameter called `page` for its own
    name: str = ""
    watch: str = ""  # the plan whose progress is shown

    def query(self) -> dict[str, str]:
        """As parameters of a link; a list is joined by commas."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {key: ",".join(value) if isinstance(value, list) else str(value) for key, value in values.items()}


@dataclass(frozen=True)
class Choices:
    """What each filter offers; `runs` and `plans` as (shown, value)."""

    plans: list[tuple[str, str]]
    evalsets: list[str]
    metrics: list[str]
    runs: list[tuple[str, str]]
    subjects: dict[str, str]
    names: list[str]


def read_query(search: str) -> View:
    """The view of a link; what it does not know is left out, and nothing in it is trusted before `fit`."""
    given = dict(parse_qsl(search.removeprefix("?"), max_num_fields=50))
    known: dict[str, Any] = {}
    for one in fields(View):
        text = given.get(one.name)
        if text is None:
            continue
        if one.name in ("runs", "subjects"):
            known[one.name] = [part for part in text.split(",") if part]
        elif one.name == "place":
            known[one.name] = int(text) if text.isdecimal() and len(text) < 7 else 1
        else:
            known[one.name] = text
    return View(**known)


def fit(lab: Lab, view: View) -> tuple[View, Choices]:
    """The view with every value that the lab does not have replaced by one that it has."""
    reports = data.reports(lab)
    plans = [(f"{one.name} · {one.plan_id} · {one.verdict or 'no verdict'}", one.plan_id) for one in reports]
    plan = view.plan if view.plan in [ALL_PLANS, *(value for _, value in plans)] else ""
    plan = plan or (reports[0].plan_id if reports else ALL_PLANS)
    every = data.metrics(lab, None if plan == ALL_PLANS else plan)
    evalsets = [EVERY_EVALSET, *dict.fromkeys(metric.partition("/")[0] for metric in every)]
    evalset = view.evalset if view.evalset in evalsets else EVERY_EVALSET
    metrics = [one for one in every if evalset in (EVERY_EVALSET, one.partition("/")[0])]
    metric = view.metric if view.metric in metrics else next(iter(metrics), "")
    subjects = _subjects(lab, plan, [one.plan_id for one in reports], metric)
    runs = [(f"{one['label']} · {one['run_id']}", one["run_id"]) for one in data.runs(lab)]
    known = [value for _, value in runs]
    names = [record.name for record in data.registries(lab)]
    fitted = replace(
        view,
        plan=plan,
        evalset=evalset,
        metric=metric,
        split=view.split if view.split in data.SPLITS else "dev",
        runs=[run for run in view.runs if run in known] or known[:DEFAULT_RUNS],
        subjects=_chosen(view.subjects, list(subjects)),
        kind=view.kind if view.kind in KINDS else "all",
        place=max(view.place, 1),
        name=view.name if view.name in names else next(iter(names), ""),
    )
    return fitted, Choices([(ALL_PLANS, ALL_PLANS), *plans], evalsets, metrics, runs, subjects, names)


def _subjects(lab: Lab, plan: str, plans: list[str], metric: str) -> dict[str, str]:
    """Of the plan, or of the newest one that has this metric."""
    for plan_id in plans if plan == ALL_PLANS else [plan]:
        found = data.subjects(lab, plan_id, metric)
        if found:
            return found
    return {}


def _chosen(wanted: list[str], there: list[str]) -> list[str]:
    """Those asked for, filled up to two: a comparison needs as many."""
    known = list(dict.fromkeys(one for one in wanted if one in there))
    return (known if len(known) > 1 else list(dict.fromkeys([*known, *there]))[:2])[:MOST_SUBJECTS]

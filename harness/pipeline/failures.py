"""What a candidate fixed and broke, and the tags that people give its failures.

    failures(lab, plan_or_spec, Question(…)) -> Failures       items side by side, tags included
    tag_counts(lab, plan_or_spec, Question(…)) -> list[TagCount]
    add_tag(lab, target, item_id, tags, who, …) -> list[str]     and with removed=True: take them away
    suggest_tags(lab, failures, judge, who) -> int             a judge's proposals, for people to confirm

`release` is sealed: it opens only with a reason, and what was opened is burnt (harness.burned).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from harness import burned
from harness.core.errors import InputError
from harness.core.journal import Journal
from harness.core.paths import Lab, check_name
from harness.core.records import EvalRecord, ItemResult, Subject, SubjectScores, now
from harness.error_analysis import (
    OUTCOMES,
    Difference,
    Failures,
    TagCount,
    TagEvent,
    count_outcomes,
    differences,
    with_tags,
)
from harness.error_analysis import tag_counts as count_tags
from harness.evalset import OPEN_SPLITS, SPLITS, Evalset
from harness.evaluate.business import results
from harness.gate import CHOOSING_SPLIT, choose_best
from harness.pipeline.context import Context, adapter_subject, run_adapter
from harness.pipeline.evaluation import wanted
from harness.pipeline.items import of_name
from harness.pipeline.run import at_home, context_of
from harness.pipeline.tag_events import STEM, events_of, folder, tags_of

SEALED = "release"
Judge = Callable[[Difference], Iterable[tuple[str, str]]]  # (tag, why) for one failed item


@dataclass(frozen=True)
class Question:
    """What to look at. Empty: the candidate that is best on dev, and the gate's primary metric.

    `candidate` is a run id or a label; `against` is base, incumbent, best (the best baseline on dev), a run id or a
    label. `burn` is the reason for opening release items, `who` opens them. Of what was found, `outcomes`, `tag` and
    `items` choose what is shown, `limit` how many items; counts are of all.
    """

    candidate: str = ""
    against: str = "base"
    metric: str = ""
    splits: Sequence[str] = OPEN_SPLITS
    burn: str = ""
    who: str = ""
    outcomes: Sequence[str] = OUTCOMES
    tag: str = ""
    limit: int | None = None
    items: Sequence[str] = ()


@dataclass(frozen=True)
class Evaluated:
    """One subject's stored results on one evalset."""

    subject: Subject
    record: EvalRecord
    items: dict[str, ItemResult] = field(repr=False)


# --- what it fixed and broke ------------------------------------------------------------------------------------


def failures(lab: Lab, plan_or_spec: str, question: Question) -> Failures:
    """Candidate beside comparator, item by item, on the splits asked for; those that differ most come first.

    Release items are written down as burnt before this returns, exactly those that it returns. Raises InputError for
    names that do not exist, for what is not evaluated yet, and for `release` without a reason.
    """
    _check_splits(question)
    with at_home(lab, plan_or_spec):
        return _failures(context_of(lab, plan_or_spec), question)


def _failures(context: Context, question: Question) -> Failures:
    lab = context.lab
    evalset, metric = _metric(context, question.metric)
    mine = _candidate(context, question.candidate, evalset, metric)
    theirs = _against(context, question.against, evalset, metric, mine)
    info = mine.record.metrics[metric]
    labels = (mine.subject.label, theirs.subject.label)
    a, b = (_on(one.items, metric, question.splits) for one in (mine, theirs))
    found = differences(a, b, labels, metric, info)
    selected = _chosen(with_tags(found, tags_of(lab, mine.record.evalset_sha256)), question)
    shown = selected[: question.limit]
    _burn(context, mine.record, shown, question)
    return Failures(
        plan_id=context.plan.plan_id,
        evalset=evalset,
        evalset_version=mine.record.evalset_version,
        evalset_sha256=mine.record.evalset_sha256,
        metric=f"{evalset}/{metric}",
        info=info,
        splits=list(question.splits),
        candidate=labels[0],
        against=labels[1],
        counts=count_outcomes(found),
        unpaired=len(set(a) ^ set(b)),
        selected=len(selected),
        items=_completed(context, mine.record, shown),
    )


def _check_splits(question: Question) -> None:
    """Burnt items leave the verdict: were they picked by their outcome, the rest would lie."""
    unknown = [split for split in question.splits if split not in SPLITS]
    if unknown or not question.splits:
        raise InputError(f"split {', '.join(unknown) or '(none)'} is not known", f"use {', '.join(SPLITS)}")
    if SEALED in question.splits and not question.burn.strip():
        raise InputError(
            "release is sealed: whoever reads its items tunes for them",
            'look at dev, or give --burn "why": each item opened is recorded and decides nothing from then on',
        )
    if SEALED in question.splits and (question.tag or question.limit or set(question.outcomes) != set(OUTCOMES)):
        raise InputError(
            "items of release cannot be picked by what came of them: what is left would no longer be fair",
            "name them with --item, or open the whole split",
        )


def _chosen(found: Sequence[Difference], question: Question) -> list[Difference]:
    unknown = sorted(set(question.outcomes) - set(OUTCOMES))
    if unknown:
        raise InputError(f"outcome {unknown[0]!r} is not known", f"use {', '.join(OUTCOMES)}")
    strangers = sorted(set(question.items) - {one.item_id for one in found})
    if strangers:
        raise InputError(f"there is no item {strangers[0]!r} in these splits", "see `ratchet errors` for the item ids")
    shown = [one for one in found if one.outcome in question.outcomes]
    shown = [one for one in shown if not question.items or one.item_id in question.items]
    if question.tag:
        shown = [one for one in shown if question.tag in (*one.tags, *one.suggested)]
    return shown


def _burn(context: Context, record: EvalRecord, shown: Sequence[Difference], question: Question) -> None:
    opened = [one.item_id for one in shown if one.split == SEALED]
    if opened:
        task = f"/{opened[0].partition('/')[0]}" if record.kind == "lm_eval" else ""  # one metric, so one task
        name = record.evalset + task
        asked = {one.item.item_id: one.content.asked for one in of_name(context, name)}
        items = {item_id: asked.get(item_id, "") for item_id in opened}
        evalset = (name, record.evalset_version, record.evalset_sha256)
        burned.burn(context.lab, evalset, items, question.who, question.burn)


def _metric(context: Context, name: str) -> tuple[str, str]:
    """Evalset and the metric's name in it, by default what the gate decides on."""
    if not name and context.spec.gate:
        name = context.spec.gate.primary.metric
    if not name:
        name = next(
            (f"{evalset.name}/{metric}" for evalset in context.evalsets for metric in evalset.definition.metrics), ""
        )
    evalset, slash, metric = name.partition("/")
    if not slash:
        raise InputError(f"metric {name!r} is not of the form EVALSET/METRIC", "e.g. aac/chrf or lm_eval/TASK/acc")
    return evalset, metric


def candidates(context: Context) -> list[Subject]:
    """Finished runs of the plan, then the subjects that the spec names."""
    lab = context.lab
    runs = [
        adapter_subject(run_adapter(lab, job)) for job in context.plan.runs if lab.adapter_record(job.run_id).is_file()
    ]
    return list({one.identity: one for one in [*runs, *context.named_subjects()]}.values())


def evaluated(context: Context, subject: Subject, evalset: str, metric: str) -> Evaluated | None:
    """What is stored of a subject on an evalset; None where its evaluation is missing. InputError for the metric."""
    lab = context.lab
    for one in wanted(context, [subject]):
        if one.evalset == evalset and lab.eval_record(one.eval_id).is_file():
            record = EvalRecord.read(lab.eval_record(one.eval_id))
            if metric not in record.metrics:
                known = ", ".join(f"{evalset}/{name}" for name in record.metrics)
                raise InputError(f"metric {evalset}/{metric} is not measured by this spec", f"use one of {known}")
            return Evaluated(subject, record, results(lab.evals / one.eval_id))
    return None


def _all(context: Context, subjects: Sequence[Subject], evalset: str, metric: str) -> list[Evaluated]:
    found = [evaluated(context, subject, evalset, metric) for subject in subjects]
    return [one for one in found if one is not None]


def _candidate(context: Context, name: str, evalset: str, metric: str) -> Evaluated:
    every = candidates(context)
    if name:
        every = [_named(every, name, "candidate")]
    found = _all(context, every, evalset, metric)
    if not found:
        raise InputError(
            f"no candidate is evaluated on {evalset} yet", f"run `ratchet run {context.plan.spec_path}` first"
        )
    return _best(found, metric)


def _against(context: Context, name: str, evalset: str, metric: str, mine: Evaluated) -> Evaluated:
    incumbent = [adapter_subject(context.incumbent)] if context.incumbent else []
    if name == "base":
        subjects = [context.base_subject]
    elif name == "incumbent":
        if not incumbent:
            raise InputError(
                f"there is no incumbent: nothing was promoted to {context.alias} yet", "use --against base"
            )
        subjects = incumbent
    elif name == "best":
        subjects = context.baseline_subjects()
    else:
        subjects = [_named([*candidates(context), *context.baseline_subjects(), *incumbent], name, "comparator")]
    found = _all(context, [one for one in subjects if one.identity != mine.subject.identity], evalset, metric)
    if not found:
        raise InputError(
            f"{name} is not evaluated on {evalset}, or is the candidate itself",
            "compare with base, incumbent, best, a run id or a label of the report",
        )
    return _best(found, metric)


def _named(subjects: Sequence[Subject], name: str, what: str) -> Subject:
    for subject in subjects:
        if name in (subject.run_id, subject.label):
            return subject
    known = ", ".join(dict.fromkeys(subject.run_id or subject.label for subject in subjects))
    raise InputError(f"{what} {name!r} is not in this plan", f"use one of {known or '(none is finished)'}")


def _best(found: Sequence[Evaluated], metric: str) -> Evaluated:
    """The best on dev, as the report chooses."""
    if len(found) == 1:
        return found[0]
    best = choose_best([_scores(one, metric) for one in found])
    return next(one for one in found if one.subject.identity == best.subject.identity)


def _scores(one: Evaluated, metric: str) -> SubjectScores:
    items = _on(one.items, metric, (CHOOSING_SPLIT,))
    usable = {name: item.scores[metric] for name, item in items.items() if metric in item.scores}
    return SubjectScores(
        subject=one.subject,
        eval_id=one.record.eval_id,
        metric=f"{one.record.evalset}/{metric}",
        info=one.record.metrics[metric],
        split=CHOOSING_SPLIT,
        evalset_sha256=one.record.evalset_sha256,
        values={name: score.value for name, score in usable.items() if score.value is not None},
        parts={name: score.parts for name, score in usable.items() if score.parts is not None},
        clusters={name: item.cluster for name, item in items.items()},
        counts={},
    )


def _on(items: dict[str, ItemResult], metric: str, splits: Sequence[str]) -> dict[str, ItemResult]:
    """Items of some splits that count for a metric: those that have it, and those without any score at all."""
    return {
        name: item
        for name, item in items.items()
        if item.split in splits and (metric in item.scores or not item.scores)
    }


def _completed(context: Context, record: EvalRecord, items: Sequence[Difference]) -> list[Difference]:
    """The same items with what the evalset says of them: right answers, and the prompt where none was stored."""
    evalset = next((one for one in context.evalsets if one.sha256 == record.evalset_sha256), None)
    known = {item.id: item for item in evalset.items} if evalset else {}
    found = []
    for one in items:
        item = known.get(one.item_id)
        asked = "\n".join(turn["content"] for turn in item.turns) if item else ""
        update = {"gold": item.gold if item else [], "prompt": one.prompt or asked}
        found.append(one.model_copy(update=update))
    return found


# --- tags -------------------------------------------------------------------------------------------------------


def tag_counts(lab: Lab, plan_or_spec: str, question: Question) -> list[TagCount]:
    """Tags of the candidate's failures with their shares and ceilings, over whole splits; never over `release`."""
    if SEALED in question.splits:
        raise InputError("release is sealed: its failures are not counted by tag", "use --split dev")
    whole = Question(question.candidate, question.against, question.metric, question.splits)
    found = failures(lab, plan_or_spec, whole)
    return count_tags(found.items, found.info)


def add_tag(
    lab: Lab, target: str, item_id: str, tags: Sequence[str], who: str, evalset: str = "", removed: bool = False
) -> list[str]:
    """Put tags on an item, or take them away; returns those that changed anything (again is no event).

    `target` is an evaluation's id, a plan's or a spec; of a plan's evalsets `evalset` names one (default: the gate's).
    Raises InputError for an unknown item, a tag that is no name, and a release item that nobody opened.
    """
    record = _record(lab, target, evalset)
    item = results(lab.evals / record.eval_id).get(item_id)
    if item is None:
        raise InputError(f"evalset {record.evalset} has no item {item_id!r}", "see `ratchet errors` for the item ids")
    if item.split == SEALED and item_id not in burned.opened(lab, record.evalset_sha256):
        raise InputError(f"item {item_id!r} is of release, which is sealed", "tag items of tune and dev")
    known = tags_of(lab, record.evalset_sha256).get(item_id, {})
    changed = [check_name(tag, "tag") for tag in dict.fromkeys(tags)]
    changed = [tag for tag in changed if (tag in known if removed else not known.get(tag, False))]
    source = (record.evalset, record.evalset_sha256)
    _append(lab, [_event(source, item_id, tag, who, removed=removed) for tag in changed])
    return changed


def suggest_tags(lab: Lab, found: Failures, judge: Judge, who: str) -> int:
    """Ask `judge` for (tag, why) on every failed item and keep what is new as suggestions; returns how many.

    `who` names the judge. Nothing counts until a person confirms it with `add_tag`; what a person has decided about an
    item's tag, either way, is left alone.
    """
    known = {(event.item_id, event.tag) for event in events_of(lab, found.evalset_sha256)}
    events = []
    for item in found.items:
        if item.split == SEALED or item.outcome not in ("broke", "failed"):
            continue
        for tag, why in judge(item):
            if (item.item_id, check_name(tag, "tag")) not in known:
                source = (found.evalset, found.evalset_sha256)
                events.append(_event(source, item.item_id, tag, who, suggested=True, why=why))
    _append(lab, events)
    return len(events)


def _event(
    source: tuple[str, str], item_id: str, tag: str, who: str, removed: bool = False, suggested: bool = False,
    why: str = "",
) -> TagEvent:  # fmt: skip
    return TagEvent(
        tag=tag, evalset=source[0], evalset_sha256=source[1], item_id=item_id, who=who, at=now(), removed=removed,
        suggested=suggested, why=why,
    )  # fmt: skip


def _append(lab: Lab, events: Sequence[TagEvent]) -> None:
    with Journal(folder(lab), STEM, point="tag.event") as journal:
        for event in events:
            journal.append(event.model_dump(mode="json"))


def _record(lab: Lab, target: str, evalset: str) -> EvalRecord:
    """The evaluation whose items are tagged: by its own id, or any of the plan's on the evalset."""
    if target.startswith("e-"):
        return EvalRecord.read(lab.eval_record(check_name(target, "evaluation")))
    with at_home(lab, target):
        return _record_of_plan(context_of(lab, target), evalset)


def _record_of_plan(context: Context, evalset: str) -> EvalRecord:
    lab, name = context.lab, evalset or _metric(context, "")[0]
    for one in wanted(context, [*candidates(context), *context.baseline_subjects()]):
        if one.evalset == name and lab.eval_record(one.eval_id).is_file():
            return EvalRecord.read(lab.eval_record(one.eval_id))
    known = ", ".join(evalset.name for evalset in context.evalsets)
    raise InputError(f"nothing of this plan is evaluated on {name!r}", f"its evalsets: {known}")


def evalset_of(context: Context, name: str = "") -> Evalset:
    """A business evalset of the plan, by default the one that the gate decides on. InputError for any other name."""
    name = name or _metric(context, "")[0]
    for evalset in context.evalsets:
        if evalset.name == name:
            return evalset
    known = ", ".join(evalset.name for evalset in context.evalsets)
    raise InputError(f"{name!r} is no business evalset of this plan", f"use one of {known or '(it has none)'}")

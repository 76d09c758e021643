"""Metrics of an evalset that a judge scores: `{scorer: judge, options: {rubric, scale, judge, reference}}`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import Field, model_validator

from harness.core.errors import EngineError, InputError
from harness.core.fingerprint import sha256_of
from harness.core.records import Score
from harness.evalset import Evalset, Item
from harness.evalset.metric import FULL_MARKS, JUDGE, Metric
from harness.evaluate.answer import Answer
from harness.evaluate.judge import prompts
from harness.evaluate.judge.verdicts import read_grade
from harness.evaluate.scorers.base import Options, Scorer, options_of
from harness.judges import Judge
from serve.client import Ask, ask_many

Headers = Callable[[Judge], Mapping[str, str]]
RUBRIC_FILES = (".md", ".txt")


class JudgeOptions(Options):
    """`rubric`: one of the shipped ones, a file beside evalset.yaml, or the text itself."""

    judge: str
    rubric: str = Field(min_length=1)
    scale: tuple[float, float] = (1.0, 5.0)
    reference: bool = Field(False, description="show the judge the first gold answer")

    @model_validator(mode="after")
    def _rises(self) -> JudgeOptions:
        if not self.scale[0] < self.scale[1]:
            raise ValueError(f"scale {list(self.scale)} does not rise: write [worst, best]")
        return self


def judged(evalset: Evalset, judges: Mapping[str, Judge], headers: Headers) -> dict[str, Scorer]:
    """The scorer of each of the evalset's judge metrics; one request per answer, made when it is called.

    A value is the grade on the metric's scale: 1 to 5 becomes 0 to 1 for 'share', 0 to 100 for 'points'. What cannot be
    read could not be scored. A scorer raises EngineError when the judge does not answer: that is no property of the
    answer, and the run should stop. Raises InputError for a metric that names no known judge or rubric.
    """
    return {
        name: _scorer(evalset, metric, judges[options.judge], options, headers)
        for name, metric, options in _metrics(evalset, judges)
    }


def identities(evalset: Evalset, judges: Mapping[str, Judge]) -> dict[str, str]:
    """Metric -> hash of judge and wording: belongs into the evaluation's id, since another judge is another score."""
    found = {}
    for name, _, options in _metrics(evalset, judges):
        wording = prompts.wording(prompts.POINTWISE, _rubric(evalset, options))
        found[name] = sha256_of([judges[options.judge].identity, wording, list(options.scale), options.reference])
    return found


def _metrics(evalset: Evalset, judges: Mapping[str, Judge]) -> list[tuple[str, Metric, JudgeOptions]]:
    where, found = evalset.folder / "evalset.yaml", []
    for name, metric in evalset.definition.metrics.items():
        if not metric.scorer.startswith(JUDGE):
            continue
        if metric.scorer != JUDGE:
            raise InputError(f"{where}: metrics.{name}: scorer {metric.scorer!r} is unknown", "write scorer: judge")
        if metric.unit not in FULL_MARKS:
            raise InputError(f"{where}: metrics.{name}.unit {metric.unit!r} has no full marks", "use share or points")
        try:
            options = options_of(JudgeOptions, metric)
        except InputError as error:
            raise InputError(f"{where}: metrics.{name}: {error.problem}", error.fix) from None
        if options.judge not in judges:
            known = ", ".join(judges) or "none"
            raise InputError(f"{where}: metrics.{name}: no judge {options.judge!r}", f"judges.yaml has {known}")
        found.append((name, metric, options))
    return found


def _rubric(evalset: Evalset, options: JudgeOptions) -> str:
    if options.rubric in prompts.RUBRICS:
        return prompts.RUBRICS[options.rubric]
    if not options.rubric.endswith(RUBRIC_FILES):
        return options.rubric
    path = evalset.folder / options.rubric
    if path.parent != evalset.folder or not path.is_file():
        raise InputError(f"{path} does not exist", "put the rubric beside evalset.yaml, or write it as text")
    return path.read_text(encoding="utf-8").strip()


def _scorer(evalset: Evalset, metric: Metric, judge: Judge, options: JudgeOptions, headers: Headers) -> Scorer:
    rubric, full = _rubric(evalset, options), FULL_MARKS[metric.unit]
    low, high = options.scale
    needs_contexts = options.rubric in prompts.NEED_CONTEXTS
    key = headers(judge)

    def score(item: Item, answer: Answer) -> Score:
        if needs_contexts and not item.contexts:
            return Score(value=None, explanation="the item has no contexts")
        turns = prompts.pointwise(_parts(item, answer, options), rubric, options.scale)
        ask = Ask(model=judge.model, messages=list(turns), sampling=judge.sampling)
        reply = ask_many(judge.base_url, [ask], headers=key)[0]
        if reply.error is not None:
            raise EngineError(
                f"judge {judge.name} at {judge.base_url}: {reply.error}", "see that it runs, then run this again"
            )
        said = read_grade(reply, options.scale)
        if said.verdict is None:
            return Score(value=None, explanation=f"judge {judge.name}: {said.problem}")
        value = (said.verdict - low) / (high - low) * full
        return Score(value=value, explanation=f"{judge.name}: {said.evidence}", extracted=f"{said.verdict:g}")

    return score


def _parts(item: Item, answer: Answer, options: JudgeOptions) -> dict[str, str]:
    """What the judge sees, under its headings. Contexts are judged without the answer where they alone count."""
    parts = {"REQUEST": prompts.conversation(item.turns)}
    if item.contexts:
        parts["CONTEXTS"] = "\n\n".join(item.contexts)
    if options.reference and item.gold:
        parts["REFERENCE ANSWER"] = item.gold[0]
    if options.rubric != "context_relevance":
        parts["ANSWER"] = answer.text
    return parts

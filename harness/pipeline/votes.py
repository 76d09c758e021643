"""Votes and judges in the gate: the metrics `human/<campaign>/win` and `judge/<campaign>/<judge>`.

The second is the same win rate, had people voted on every pair: a judge's verdicts on all of them, corrected by
people's on a random sample (harness.ppi). A judge alone decides nothing, neither here nor as a metric of an evalset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness import campaign as campaigns
from harness import human, ppi
from harness.core.errors import RatchetError
from harness.core.fingerprint import sha256_of
from harness.core.paths import Lab
from harness.core.rating import CampaignRecord, Pair
from harness.core.records import MetricInfo, RunJob, Subject, SubjectScores
from harness.data import raw_rows
from harness.evalset import Evalset
from harness.evalset.metric import JUDGE
from harness.evaluate.judge import combined
from harness.evaluate.judge.summary import WORTH
from harness.gate.pairing import MAX_UNPAIRED_SHARE
from harness.judges import JUDGES, Judge, conflicts, load_judge
from harness.pipeline.judging import SAMPLE, ancestry, judgements_of, sample_exists

ALONE = (
    "a judge made this metric, and no person's label corrects it; compare the subjects in a campaign, have people rate "
    "what `ratchet judge sample` draws, and use judge/CAMPAIGN/JUDGE"
)


def is_vote_metric(metric: str) -> bool:
    """Whether a campaign holds a metric's evidence, and no evalset."""
    kind, *rest = metric.split("/")
    return len(rest) == 2 and (kind == "judge" or (kind == "human" and rest[1] == "win"))


def sizes_of(lab: Lab, metric: str) -> list[int]:
    """Pairs per cluster of the campaign that a metric of votes stands on. InputError without a campaign."""
    record, pairs = campaigns.read(lab, metric.split("/")[1])
    return list(Counter(pair.cluster for pair in human.deciding(record, pairs)).values())


def seen(lab: Lab, metric: str) -> list[str]:
    """Hash of what the votes on a metric say now: more votes are a further look. [] for any other metric."""
    return [sha256_of([one.values, one.parts]) for one in campaign_scores(lab, [metric])]


def marked(scores: Iterable[SubjectScores], evalsets: Iterable[Evalset]) -> list[SubjectScores]:
    """The same scores; those of metrics that a judge alone made say that they must not decide."""
    by_judge = {
        f"{evalset.name}/{name}"
        for evalset in evalsets
        for name, metric in evalset.definition.metrics.items()
        if metric.scorer.startswith(JUDGE)
    }
    return [one.model_copy(update={"problem": ALONE}) if one.metric in by_judge else one for one in scores]


def campaign_scores(
    lab: Lab, metrics: Iterable[str], everyone: Sequence[Subject] | None = None, judges: Path = JUDGES
) -> list[SubjectScores]:
    """Both sides' scores for each metric of votes; of `everyone` only (a plan's subjects), under the labels there.

    What must not decide says why in `problem`, so that the gate's row is INVALID with that reason. Raises InputError
    for a campaign that does not exist.
    """
    current = None if everyone is None else {subject.identity: subject for subject in everyone}
    found = []
    for metric in metrics:
        if not is_vote_metric(metric):
            continue
        kind, campaign, which = metric.split("/")
        sides = _human(lab, campaign) if kind == "human" else _judge(lab, campaign, which, judges)
        for side in sides:
            if current is None:
                found.append(side)
            elif side.subject.identity in current:
                found.append(side.model_copy(update={"subject": current[side.subject.identity]}))
    return found


def _human(lab: Lab, campaign: str) -> list[SubjectScores]:
    record, pairs = campaigns.read(lab, campaign)
    sides = human.scores(record, pairs, campaigns.read_votes(lab, campaign))
    problem = _trained_on(ancestry(lab, record.subjects), pairs)
    return [side.model_copy(update={"problem": problem}) for side in sides]


def _judge(lab: Lab, campaign: str, name: str, judges: Path) -> list[SubjectScores]:
    """The judge's values with people's beside them, as parts for harness.ppi."""
    record, pairs = campaigns.read(lab, campaign)
    pairs = human.deciding(record, pairs)
    try:
        judge = load_judge(name, judges)
    except RatchetError as error:
        return _sides(record, pairs, name, {}, {}, error.one_line().rstrip("."))
    jobs = ancestry(lab, record.subjects)
    refused = conflicts(judge, jobs, record.subjects)
    judged, problem = _judged(lab, campaign, judge, pairs)
    labels, not_random = _labels(lab, record, pairs)
    problem = (refused[0] if refused else "") or _trained_on(jobs, pairs) or problem or not_random
    labels = {pair_id: label for pair_id, label in labels.items() if pair_id in judged}
    if not problem:
        clusters = {pair.pair_id: pair.cluster for pair in pairs}
        try:  # labels that do not suffice are INVALID, not merely without an interval
            ppi.prediction_powered(labels, judged, clusters, 1.0)
        except RatchetError as error:
            problem = error.one_line().rstrip(".")
    return _sides(record, pairs, name, judged, labels, problem)


def _judged(lab: Lab, campaign: str, judge: Judge, pairs: Sequence[Pair]) -> tuple[dict[str, float], str]:
    """Pair id -> the judge's share for answer a; why they cannot stand for all pairs, if so."""
    verdicts = combined(judgements_of(lab, campaign, judge))
    judged = {pair.pair_id: WORTH[verdict.winner] for pair in pairs if (verdict := verdicts.get(pair.pair_id))}
    known = sum(pair.pair_id in verdicts for pair in pairs)
    if known < len(pairs):
        todo = f"ratchet judge {campaign} --judge {judge.name}"
        return judged, f"{judge.name} has judged {known} of {len(pairs)} pairs; run `{todo}`"
    if len(pairs) - len(judged) > MAX_UNPAIRED_SHARE * len(pairs):
        return judged, f"{len(pairs) - len(judged)} of {len(pairs)} verdicts of {judge.name} could not be read"
    return judged, ""


def _labels(lab: Lab, record: CampaignRecord, pairs: Sequence[Pair]) -> tuple[dict[str, float], str]:
    """People's share for answer a on a random sample: the drawn one if there is one, else the votes on the campaign."""
    if not sample_exists(lab, record.campaign):
        mine = {pair.pair_id for pair in pairs}
        votes = [vote for vote in campaigns.read_votes(lab, record.campaign) if vote.pair_id in mine]
        return human.random_labels(pairs, human.shares(pairs, votes))
    _, sample = campaigns.read(lab, record.campaign + SAMPLE)
    if [pair.pair_id for pair in sample] != [pair.pair_id for pair in human.drawn(record, pairs, len(sample))]:
        return {}, f"campaign {record.campaign + SAMPLE!r} is not what the campaign's seed draws"
    return human.random_labels(sample, human.shares(sample, campaigns.read_votes(lab, record.campaign + SAMPLE)))


def _sides(
    record: CampaignRecord,
    pairs: Sequence[Pair],
    judge: str,
    judged: dict[str, float],
    labels: dict[str, float],
    problem: str,
) -> list[SubjectScores]:
    def side(place: int) -> SubjectScores:
        def of(value: float) -> float:
            return value if place == 0 else 1 - value

        parts = {
            name: [of(value), of(labels[name])] if name in labels else [of(value)] for name, value in judged.items()
        }
        return SubjectScores(
            subject=record.subjects[place],
            eval_id=f"campaign {record.campaign} {'ab'[place]}",
            metric=f"judge/{record.campaign}/{judge}",
            info=MetricInfo(aggregate=ppi.AGGREGATE),
            split=human.split_of(record),
            evalset_sha256=human.content(record, pairs),
            values={name: of(value) for name, value in judged.items()},
            parts=parts,
            clusters={pair.pair_id: pair.cluster for pair in pairs},
            counts={"scored": len(judged), "unscorable": len(pairs) - len(judged)},
            problem=problem,
        )

    return [side(0), side(1)]


def _trained_on(jobs: Iterable[RunJob], pairs: Sequence[Pair]) -> str:
    """Why votes on these pairs must not decide: an adapter was trained on them. '' where none was."""
    ours = {pair.pair_id for pair in pairs}
    for job in jobs:
        for path in {Path(ref.path) for ref in job.data}:
            if path.is_file() and any(row.get("pair_id") in ours for _, row in raw_rows(path)):
                return f"run {job.run_id} was trained on votes of this campaign ({path.name})"
    return ""

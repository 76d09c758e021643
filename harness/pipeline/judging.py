"""Judges at work: a campaign's pairs judged, a random sample of them for people, two evaluations as a campaign."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness import campaign as campaigns
from harness import human
from harness.core.errors import EvaluationError, InputError
from harness.core.paths import Lab, check_name
from harness.core.rating import Answer, CampaignRecord, Pair
from harness.core.records import AdapterRecord, DataRef, EvalRecord, RunJob, Subject, now
from harness.evalset import Evalset
from harness.evalset.metric import JUDGE
from harness.evaluate import business
from harness.evaluate.judge import JudgeSummary, identities, judge_pairs, judged, read_judgements, summarise
from harness.evaluate.judge.pairwise import Judgement, identity
from harness.evaluate.judge.prompts import CRITERIA
from harness.evaluate.scorers import Scorer
from harness.judges import JUDGES, Judge, conflicts, load_judge, load_judges
from harness.pipeline.subjects import key_headers
from harness.progress import Progress

JUDGED = "judged_by"  # in an evaluation's decoding, so that another judge is another evaluation
SAMPLE = "-sample"  # what a campaign's sample for people is called, behind the campaign's name


def judge_campaign(lab: Lab, campaign: str, name: str, progress: Progress, judges: Path = JUDGES) -> JudgeSummary:
    """Have a judge compare every pair in both orders; what is judged already is not asked again.

    Raises InputError for a judge that must not judge these subjects, EngineError when it does not answer.
    """
    judge = load_judge(name, judges)
    record, pairs = campaigns.read(lab, campaign)
    reasons = conflicts(judge, ancestry(lab, record.subjects), record.subjects)
    if reasons:
        raise InputError(f"{judge.name} must not judge campaign {campaign!r}: {reasons[0]}", "use another judge")
    folder = campaigns.folder(lab, campaign)
    with progress.bar(f"{judge.name} on {campaign}", 2 * len(pairs)) as advance:
        judge_pairs(judge, pairs, folder, criteria(folder), key_headers(judge.endpoint), lambda done: advance(done, ""))
    found = summarise(pairs, judgements_of(lab, campaign, judge), labels(lab, record, pairs))
    if found is None:
        raise EvaluationError(f"{judge.name} judged no pair of {campaign!r} in both orders", "run the command again")
    return found


def scorers_of(lab: Lab, evalset: Evalset, subject: Subject, judges: Path = JUDGES) -> dict[str, Scorer]:
    """The scorers of the evalset's judge metrics; none, and judges.yaml is not read, where it has no such metric.

    Raises InputError for a judge that must not judge the subject.
    """
    if not has_judge(evalset):
        return {}
    known = load_judges(judges)
    jobs = ancestry(lab, [subject])
    for name in {str(metric.options.get("judge")) for metric in evalset.definition.metrics.values()} & known.keys():
        reasons = conflicts(known[name], jobs, [subject])
        if reasons:
            raise InputError(f"{name} must not judge {subject.label}: {reasons[0]}", "use another judge")
    return judged(evalset, known, lambda judge: key_headers(judge.endpoint))


def facts_of(evalset: Evalset, judges: Path = JUDGES) -> dict[str, Any]:
    """What of the judges belongs into the evaluation's id; {} without a judge metric."""
    return {JUDGED: identities(evalset, load_judges(judges))} if has_judge(evalset) else {}


def has_judge(evalset: Evalset) -> bool:
    return any(metric.scorer.startswith(JUDGE) for metric in evalset.definition.metrics.values())


def criteria(folder: Path) -> str:
    """What a judge goes by: the campaign's guidelines, the same that raters see, else our own words."""
    path = folder / "guidelines.md"
    text = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    return text or CRITERIA


def judgements_of(lab: Lab, campaign: str, judge: Judge) -> list[Judgement]:
    """What this judge, as it is defined now and asked as it would be now, said of a campaign."""
    folder = campaigns.folder(lab, campaign)
    known = identity(judge, criteria(folder))
    return [one for one in read_judgements(folder) if one.judge_sha256 == known]


def labels(lab: Lab, record: CampaignRecord, pairs: list[Pair]) -> dict[str, human.Label]:
    """People's majority per pair, from the campaign's own votes and its sample's."""
    votes = campaigns.read_votes(lab, record.campaign)
    if sample_exists(lab, record.campaign):
        votes += campaigns.read_votes(lab, record.campaign + SAMPLE)
    return human.labels(human.shares(pairs, votes))


def sample_exists(lab: Lab, campaign: str) -> bool:
    return (lab.campaigns / f"{campaign}{SAMPLE}" / "campaign.json").is_file()


def draw_sample(lab: Lab, campaign: str, count: int) -> tuple[CampaignRecord, list[Pair]]:
    """The pairs that people should label, as a campaign of its own, ready for `ratchet rate`.

    Drawn from the campaign's seed, so it cannot be drawn again. It never trains: its registry name is its own.
    """
    record, pairs = campaigns.read(lab, campaign)
    sample = human.drawn(record, human.deciding(record, pairs), count)
    name = check_name(f"{campaign}{SAMPLE}", "campaign")
    if sample_exists(lab, campaign):
        known, drawn = campaigns.read(lab, name)
        if len(drawn) != len(sample):
            raise InputError(f"campaign {name!r} exists with {len(drawn)} pairs", "a sample is drawn once; rate it")
        return known, drawn
    made = record.model_copy(
        update={"campaign": name, "name": name, "pairs": len(sample), "overlap": 1.0, "sampling": {}, "created": now()}
    )
    campaigns.write(lab, made, sample)
    guidelines = campaigns.folder(lab, campaign) / "guidelines.md"
    if guidelines.is_file():
        (campaigns.folder(lab, name) / guidelines.name).write_bytes(guidelines.read_bytes())
    return made, sample


def campaign_of_evals(lab: Lab, eval_ids: tuple[str, str], split: str, campaign: str) -> CampaignRecord:
    """Two stored evaluations of one evalset as a campaign: their answers to the items of `split`, side by side.

    The same two give the same campaign again. Its registry name is its own, so its votes never train. InputError where
    they are not two subjects on the same content.
    """
    first, second = (_eval(lab, eval_id) for eval_id in eval_ids)
    if first.evalset_sha256 != second.evalset_sha256 or "lm_eval" in (first.kind, second.kind):
        raise InputError(
            f"{eval_ids[0]} and {eval_ids[1]} are not of one content of one evalset", "evaluate both again"
        )
    answers = [_answers(lab, one, split) for one in (first, second)]
    items = business.results(lab.evals / first.eval_id)
    pool = [
        campaigns.PoolItem(item.item_id, item.cluster, [{"role": "user", "content": item.prompt}])
        for item in items.values()
        if item.split == split
    ]
    pairs, refused = campaigns.make_pairs(pool, answers[0], answers[1], (first.subject, second.subject), seed=0)
    record = CampaignRecord(
        campaign=campaign,
        name=campaign,
        subjects=[first.subject, second.subject],
        pool=DataRef(path=first.evalset, sha256=first.evalset_sha256, rows=len(pool), format="evalset", split=split),
        decoding=first.decoding,
        pairs=len(pairs),
        refused=refused,
        seed=0,
        created=now(),
    )
    if (campaigns.folder(lab, campaign) / "campaign.json").exists():
        known, known_pairs = campaigns.read(lab, campaign)
        if [pair.pair_id for pair in known_pairs] != [pair.pair_id for pair in pairs]:
            raise InputError(f"campaign {campaign!r} exists with other pairs", "give another --name")
        return known
    campaigns.write(lab, record, pairs)
    return record


def _eval(lab: Lab, eval_id: str) -> EvalRecord:
    path = lab.eval_record(check_name(eval_id, "evaluation"))
    if not path.is_file():
        raise InputError(f"evaluation {eval_id} is not stored in {lab.root}", 'see `ratchet sql "FROM evals"`')
    return EvalRecord.read(path)


def _answers(lab: Lab, record: EvalRecord, split: str) -> dict[str, Answer | None]:
    return {
        item.item_id: Answer(
            subject=record.subject.label,
            model=record.subject.model,
            text=item.answer,
            finish_reason=item.finish_reason,
        )
        for item in business.results(lab.evals / record.eval_id).values()
        if item.split == split and item.error is None
    }


def ancestry(lab: Lab, subjects: Iterable[Subject]) -> list[RunJob]:
    """The jobs that made these subjects' adapters, and those that they were continued from, as far as the lab knows."""
    made = [AdapterRecord.read(path) for path in sorted(lab.runs.glob("*/adapter.json"))]
    by_sha256 = {record.sha256: record.job for record in made}
    found: dict[str, RunJob] = {}
    waiting = [subject.adapter_sha256 for subject in subjects]
    while waiting:
        job = by_sha256.get(waiting.pop() or "")
        if job and job.run_id not in found:
            found[job.run_id] = job
            waiting.append(job.init_adapter_sha256)
    return list(found.values())

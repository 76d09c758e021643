"""A model as judge: pointwise with a rubric, pairwise in both orders.

- prompts    what a judge is told; answers are fenced as data
- verdicts   what a judge says, read strictly: what cannot be read could not be scored
- pointwise  metrics of an evalset with `scorer: judge`
- pairwise   pairs of answers, each asked in both orders, in a journal
- summary    win rate, and beside it how far the judge can be believed

A judge's numbers describe. They decide only as harness.ppi corrects them by what people say.
"""

from harness.evaluate.judge.pairwise import JUDGEMENTS, Judgement, PairVerdict, combined, judge_pairs, read_judgements
from harness.evaluate.judge.pointwise import identities, judged
from harness.evaluate.judge.summary import JudgeSummary, summarise

__all__ = [
    "JUDGEMENTS",
    "JudgeSummary",
    "Judgement",
    "PairVerdict",
    "combined",
    "identities",
    "judge_pairs",
    "judged",
    "read_judgements",
    "summarise",
]

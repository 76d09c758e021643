"""The gate: may this candidate take the place of what is there? Pure: scores in, a verdict with its reasons out.

| verdict      | when                                                                                                  |
|--------------|-------------------------------------------------------------------------------------------------------|
| INVALID      | some row's evidence cannot be trusted, or the primary has nothing to be compared with. Overrides all. |
| BLOCK        | some row's upper bound lies below its line                                                            |
| SHIP         | every row's lower bound lies above its line                                                           |
| INCONCLUSIVE | anything else                                                                                         |

A row is one metric against one comparator; its line is `min_gain` for the primary, `-max_loss` for a guardrail. Bounds
are of the paired difference on `release`, in the metric's unit, positive = better; each is one-sided at the row's
level, 97.5 % unless further looks or several candidates make it stricter. With fewer than 40 clusters a row ships only
if the sign-flip test agrees at that level; and unless its interval is Tango's, only if the bound holds when clusters
that lose far more than the others are allowed for.

A row is INVALID when an evaluation is missing or not of `release`; when the two sides differ in evalset, direction,
unit or clusters; when more than 2 % of the items cannot be paired; when both sides are the same subject; or when it
guards something that the base itself does no better than by chance, so that no loss could be noticed.
"""

from harness.gate.pairing import (
    CHOOSING_SPLIT,
    DECIDING_SPLIT,
    Comparison,
    Pairing,
    choose_best,
    compare,
    only,
    own_interval,
    pair,
    value_of,
    without,
)
from harness.gate.verdict import (
    EXIT_CODES,
    GateResult,
    Row,
    judge,
    judge_all,
    lines_of,
    metrics_of,
    overall,
    row_verdict,
)

__all__ = [
    "CHOOSING_SPLIT",
    "DECIDING_SPLIT",
    "EXIT_CODES",
    "Comparison",
    "GateResult",
    "Pairing",
    "Row",
    "choose_best",
    "compare",
    "judge",
    "judge_all",
    "lines_of",
    "metrics_of",
    "only",
    "overall",
    "own_interval",
    "pair",
    "row_verdict",
    "value_of",
    "without",
]

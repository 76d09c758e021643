"""What a further look at the same release items may cost; harness.looks says which those are.

Every look may ship something that is no better; all looks together may do so with a chance of at most 5 %. Look k pays
0.05/2^k: 2.5 % for the first (the gate's one-sided 97.5 % bound), then 1.25 %, 0.625 %, 0.3125 %, 0.15625 %. Whatever
the looks have to do with one another, the chance that any of k events happens is at most the sum of their chances
(Boole), and 0.05·(1/2 + 1/4 + …) never reaches 0.05: five looks cost 4.84 %. The k-th verdict holds as such if its
candidate was made and chosen without the release items; one that was tuned to what earlier looks showed of single items
is outside this (and outside any) budget, which is why items of `release` are sealed.
"""

from __future__ import annotations

BUDGET = 0.05  # one-sided, for all decisions that rest on the same release items
# A sixth look would have 0.078 %: the bound lies 3.2 standard errors out, and twice the first look's items would be
# needed to see the same gain. New items are cheaper.
MOST_LOOKS = 5


def alpha_at(look: int) -> float | None:
    """The one-sided level of a look's verdict, counted from 1; None when the budget is spent."""
    if look < 1:
        raise ValueError(f"looks are counted from 1, not {look}")
    return BUDGET * 0.5**look if look <= MOST_LOOKS else None


def spent_by(look: int) -> float:
    """The share of all error that looks 1 … `look` have used."""
    return sum(BUDGET * 0.5**k for k in range(1, min(look, MOST_LOOKS) + 1))

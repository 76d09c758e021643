"""What looks cost."""

from __future__ import annotations

import pytest

from harness.stats import alpha_at
from harness.stats.looks import BUDGET, MOST_LOOKS, spent_by


def test_each_look_costs_half_of_the_one_before_and_all_of_them_less_than_the_budget():
    levels = [alpha_at(look) for look in range(1, MOST_LOOKS + 1)]
    assert levels == [0.025, 0.0125, 0.00625, 0.003125, 0.0015625]
    assert sum(levels) == pytest.approx(spent_by(MOST_LOOKS)) == pytest.approx(0.0484375)
    assert sum(levels) < BUDGET
    assert (alpha_at(MOST_LOOKS + 1), spent_by(99)) == (None, spent_by(MOST_LOOKS))
    with pytest.raises(ValueError, match="counted from 1"):
        alpha_at(0)

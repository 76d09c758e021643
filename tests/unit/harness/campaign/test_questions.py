"""How many votes a question needs."""

from __future__ import annotations

import pytest

from harness.core.errors import InputError
from harness.pipeline.questions import Question, as_asked, sentence
from harness.stats import votes_needed


def test_decisive_votes_by_hand():
    """((1.95996·0.5 + 0.84162·√(0.6·0.4)) / 0.1)² = (0.97998 + 0.41231)²/0.01 = 193.85, so 194; 55 %: 783; 75 %: 29."""
    assert [votes_needed(rate) for rate in (0.6, 0.55, 0.75, 0.4)] == [194, 783, 29, 194]


def test_ties_and_overlap_take_more_votes():
    """No overlap, 20 % ties: 194 / 0.8 = 242.5, 243 votes on 243 pairs. All three raters on every pair: 3 votes a pair,
    Σn²/Σn = 3, so 1 + 2·0.5 = 2 times as many: 485 votes on 162 pairs."""
    single = as_asked(Question(), 243, 0.0)
    assert (single["votes"], single["pairs"], single["enough_pairs"]) == (243, 243, True)
    shared = as_asked(Question(), 150, 1.0)
    assert (shared["votes"], shared["pairs"], shared["enough_pairs"]) == (485, 162, False)
    assert "150 are too few" in sentence(shared, 150)


@pytest.mark.parametrize("question", [Question(win_rate=0.5), Question(ties=1.0), Question(raters=0)])
def test_a_question_that_means_nothing_is_refused(question):
    with pytest.raises(InputError, match="make no question"):
        as_asked(question, 10, 1.0)

"""Numbers that others published: kappa, McNemar, Tango, Bradley-Terry."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.core.errors import EvaluationError
from harness.stats import tango
from harness.stats.agreement import Bout, bradley_terry, cohens_kappa, kappa_of_table
from harness.stats.intervals import tango_score

# --- kappa ------------------------------------------------------------------------------------------------------


def test_kappa_of_two_film_critics():
    """Agresti and Winner (1997): Siskel and Ebert on 160 films (con, mixed, pro): kappa 0.389, standard error 0.060."""
    found = kappa_of_table([[24, 8, 13], [8, 13, 11], [10, 9, 64]])
    assert (found.kappa, found.items) == (pytest.approx(0.389, abs=5e-4), 160)
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(0.060, abs=5e-4)


def test_kappa_of_two_psychiatrists():
    """Fleiss's (1981) textbook table, 200 patients: kappa 0.492 with 70 % agreed."""
    found = kappa_of_table([[88, 10, 2], [14, 40, 6], [18, 10, 12]])
    assert (found.kappa, found.agreed) == (pytest.approx(0.492, abs=5e-4), 0.7)


def test_kappa_from_ratings_and_where_there_is_none():
    """20 both yes, 15 both no, 5 and 10 apart: agreed 0.7, by chance 0.5, so kappa 0.4."""
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohens_kappa(first, second).kappa == pytest.approx(0.4)
    same = cohens_kappa(["yes"] * 4, ["yes"] * 4)
    assert (same.kappa, same.agreed, same.items) == (None, 1.0, 4)
    assert cohens_kappa([], []).items == 0
    with pytest.raises(EvaluationError, match="1 and 2 items"):
        cohens_kappa(["a"], ["a", "b"])


# --- paired proportions -----------------------------------------------------------------------------------------


def test_mcnemar_of_a_prime_minister():
    """Agresti's (1990) approval ratings, 1,600 people asked twice: 150 and 86 changed, z = 4.17, chi-squared 17.36."""
    from statsmodels.stats.contingency_tables import mcnemar

    score = tango_score(150, 86, 1600, 0.0)
    assert (score, score**2) == (pytest.approx(4.17, abs=5e-3), pytest.approx(17.36, abs=5e-3))
    theirs = mcnemar([[794, 150], [86, 570]], exact=False, correction=False)
    assert score**2 == pytest.approx(theirs.statistic)


def test_tango_of_airways_before_and_after_a_transplant():
    """Fagerland, Lydersen and Laake (2014), Bentur's 21 children: 1 against 7 changed: -0.517 to -0.026."""
    assert tango(1, 7, 21) == (pytest.approx(-0.517, abs=5e-4), pytest.approx(-0.026, abs=5e-4))


@pytest.mark.parametrize(("n", "b", "c"), [(21, 1, 7), (44, 0, 1), (160, 40, 20), (50, 12, 0), (1600, 150, 86)])
def test_tango_is_a_root_of_the_quartic(n, b, c):
    """Yang, Sun and Hardin (2013): the ends of Tango's interval solve a polynomial of degree four."""
    g = 1.959963984540054**2
    d, s = b - c, b + c
    quartic = [
        n**2 * (n / g + 1) ** 2,
        -n * d * (n / g + 1) * (4 * n / g + 1),
        2 * n * d**2 * (3 * n / g + 2) / g - n**2 * (s / g + 1),
        n * d * (2 * s / g + 1) - d**3 * (4 * n / g + 1) / g,
        d**2 * (d**2 / g - s) / g,
    ]
    roots = np.roots(quartic)
    for end in tango(b, c, n):
        assert np.abs(roots - end).min() < 1e-6


# --- Bradley-Terry ----------------------------------------------------------------------------------------------

# American League East, 1987 (Agresti 1990, table 10.10): a row's wins and losses at home against each column.
TEAMS = ["Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore"]
AT_HOME = [
    ["", "4-3", "4-2", "4-3", "6-1", "4-2", "6-0"],
    ["3-3", "", "4-2", "4-3", "6-0", "6-1", "4-3"],
    ["2-5", "4-3", "", "2-4", "4-3", "4-2", "6-0"],
    ["3-3", "5-1", "2-5", "", "4-3", "4-2", "6-1"],
    ["5-1", "2-5", "3-3", "4-2", "", "5-2", "6-0"],
    ["2-5", "3-3", "3-4", "4-3", "4-2", "", "2-4"],
    ["2-5", "1-5", "1-6", "2-4", "1-6", "3-4", ""],
]
GAMES = [
    Bout(home, away, *(float(wins) for wins in record.split("-")))
    for home, row in zip(TEAMS, AT_HOME, strict=True)
    for away, record in zip(TEAMS, row, strict=True)
    if record
]


def test_agrestis_baseball_without_home_advantage():
    """Published: 1.58, 1.44, 1.29, 1.25, 1.11, 0.68 logits above Baltimore, standard errors about 0.3."""
    found = bradley_terry(GAMES, "Baltimore", side=False)
    assert [round(found.strengths[team], 2) for team in TEAMS] == [1.58, 1.44, 1.29, 1.25, 1.11, 0.68, 0.0]
    assert {round(error, 1) for error in found.errors.values()} == {0.3}
    assert found.side is None


def test_agrestis_baseball_with_home_advantage():
    """Published: home advantage 0.302 (error 0.131), shares 0.220, 0.190, 0.164, 0.157, 0.137, 0.088, 0.044."""
    found = bradley_terry(GAMES, "Baltimore")
    assert (found.side, found.side_error) == (pytest.approx(0.302, abs=5e-4), pytest.approx(0.131, abs=5e-4))
    powers = [math.exp(found.strengths[team]) for team in TEAMS]
    assert [round(power / sum(powers), 3) for power in powers] == [0.220, 0.190, 0.164, 0.157, 0.137, 0.088, 0.044]


def test_swapping_sides_turns_the_advantage_and_another_reference_shifts_all():
    turned = [Bout(one.second, one.first, one.second_wins, one.first_wins) for one in GAMES]
    there, back = bradley_terry(GAMES, "Baltimore"), bradley_terry(turned, "Detroit")
    assert back.side == pytest.approx(-there.side)
    gap = there.strengths["Boston"] - there.strengths["Toronto"]
    assert back.strengths["Boston"] - back.strengths["Toronto"] == pytest.approx(gap)


def test_who_never_loses_has_no_strength():
    with pytest.raises(EvaluationError, match="a only won or only lost"):
        bradley_terry([Bout("a", "b", 5, 0), Bout("b", "c", 2, 3), Bout("c", "b", 2, 3)])
    with pytest.raises(EvaluationError, match="two competitors"):
        bradley_terry([])

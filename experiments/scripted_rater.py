"""A rater made of a rule, for the demo: `python -m experiments.scripted_rater CAMPAIGN --lab lab`.

It prefers the answer with more marks of the warm style (evalsets/aac_style) and errs on purpose in one vote of ten. Its
votes are marked by the rater's name, so nobody takes them for people's.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
from collections.abc import Callable
from pathlib import Path

from harness.campaign import Assignment, Assignments, VoteLog, folder, read
from harness.core.paths import Lab
from harness.core.rating import Choice
from harness.core.records import now

RATER = "scripted-warm"
SCORER = Path("evalsets/aac_style/scorer.py")


def main() -> int:
    parser = argparse.ArgumentParser(description="Rate a campaign by a rule: warm answers are preferred.")
    parser.add_argument("campaign")
    parser.add_argument("--lab", type=Path, default=Path("lab"))
    parser.add_argument("--noise", type=float, default=0.1, help="share of decisive votes turned round")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    lab, generator = Lab(arguments.lab), random.Random(arguments.seed)
    record, pairs = read(lab, arguments.campaign)
    assignments, log = Assignments(record, pairs), VoteLog(folder(lab, arguments.campaign))
    marks = style_marks()
    counts: dict[str, int] = {}
    while assignment := assignments.next(RATER, log.of(RATER)):
        choice = choose(assignment, marks, generator, arguments.noise)
        counts[choice] = counts.get(choice, 0) + 1
        log.add(assignment.vote(choice, shown_at=now(), at=now()))
    log.close()
    print(f"{RATER} rated {sum(counts.values())} of {assignments.total} pairs: {counts}")
    return 0


def choose(
    assignment: Assignment, marks: Callable[[str], dict[str, bool]], generator: random.Random, noise: float
) -> Choice:
    """The answer with more marks, the other one with chance `noise`; 'tie' where both have as many."""
    left, right = (sum(marks(text).values()) for text in assignment.answers)
    if left == right:
        return "tie"
    prefers_left = (left > right) != (generator.random() < noise)
    return "left" if prefers_left else "right"


def style_marks() -> Callable[[str], dict[str, bool]]:
    """`style_marks` of the style evalset's own scorer."""
    spec = importlib.util.spec_from_file_location("aac_style_scorer", SCORER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[str], dict[str, bool]] = module.style_marks
    return found


if __name__ == "__main__":
    sys.exit(main())

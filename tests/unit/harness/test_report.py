"""A report from scores: who is compared with whom, what is chosen where, and what a person gets to see."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

from harness.core.errors import EvaluationError
from harness.core.records import BaseRef, MetricInfo, PlanRecord, Prompting, RunJob, Subject, SubjectScores
from harness.report import Report, as_json, as_markdown, build_report, draw, print_tables
from harness.spec import Gate

ITEMS = 60
BASE = Subject(kind="base", label="zero-shot", model="base", base_sha256="b")
SHOTS = BASE.model_copy(update={"label": "4-shot", "prompting": Prompting(kind="few_shot", shots=4)})
OLD = Subject(kind="adapter", label="aac@v3", model="r-old", base_sha256="b", adapter_sha256="old", run_id="r-old")
GATE = Gate.model_validate(
    {
        "primary": {"metric": "aac/chrf", "better_than": ["incumbent", "best_baseline"]},
        "guardrails": [{"metric": "lm_eval/tiny/acc", "against": ["base", "incumbent"], "max_loss": 0.2}],
    }
)


def plan(*labels: str) -> PlanRecord:
    base = BaseRef(source="tiny", path="tiny", sha256="b")
    fields = {"base": base, "method": {}, "adapter": {}, "quantization": "none", "data": [], "arguments": {}, "seed": 0}
    runs = [RunJob(run_id=f"r-{label}", label=label, **fields) for label in labels]
    return PlanRecord(plan_id="p-1", name="aac", spec_path="x.yaml", spec={}, runs=runs, gate=None, created="today")


def made(label: str) -> Subject:
    run_id = f"r-{label}"
    return Subject(kind="adapter", label=label, model=run_id, base_sha256="b", adapter_sha256=run_id, run_id=run_id)


def scores(subject: Subject, dev: float, release: float) -> list[SubjectScores]:
    """`dev` and `release` are chrF means; on the second metric everybody is right on every other item."""
    rng = np.random.default_rng(len(subject.label))
    found = []
    for metric, info in (("aac/chrf", MetricInfo(unit="points")), ("lm_eval/tiny/acc", MetricInfo())):
        for split, mean in (("dev", dev), ("release", release)):
            noise = rng.normal(size=ITEMS)
            values = mean + noise - noise.mean() if info.unit == "points" else np.arange(ITEMS) % 2
            found.append(
                SubjectScores(
                    subject=subject,
                    eval_id=f"e-{subject.label}-{metric}",
                    metric=metric,
                    info=info,
                    split=split,
                    evalset_sha256=metric,
                    values={f"i{place}": float(value) for place, value in enumerate(values)},
                    clusters={f"i{place}": f"i{place}" for place in range(ITEMS)},
                    counts={"scored": ITEMS - 1, "truncated": 1},
                )
            )
    return found


def example() -> list[SubjectScores]:
    """Two candidates; `a` leads on dev, `b` on release, and so do 4-shot and zero-shot among the baselines."""
    return [
        *scores(BASE, 40, 47),
        *scores(SHOTS, 44, 44),
        *scores(OLD, 45, 45),
        *scores(made("a"), 52, 50),
        *scores(made("b"), 51, 53),
    ]


def shown(report: Report, width: int = 100) -> str:
    stream = io.StringIO()
    print_tables(report, Console(file=stream, width=width, color_system=None))
    return stream.getvalue()


def test_it_chooses_on_dev_and_decides_on_release():
    report = build_report(plan("a", "b"), example(), GATE, incumbent=OLD)
    assert [(one.candidate, one.chosen, one.verdict) for one in report.candidates] == [
        ("a", True, "SHIP"),
        ("b", False, None),
    ]
    assert "not chosen on dev; gate.decide: all tests every candidate" in report.candidates[1].reason
    assert (report.verdict, report.reason) == ("SHIP", report.candidates[0].reason)
    primary = {row.comparator: row.comparison for row in report.candidates[0].rows if row.role == "primary"}
    assert primary["best_baseline"].against == "4-shot"  # best on dev; on release zero-shot is better
    assert primary["incumbent"].difference.estimate == pytest.approx(5.0)
    assert {row.comparison.split for row in report.candidates[0].rows} == {"release"}
    assert "best_baseline is 4-shot, chosen on dev" in report.notes


def test_every_candidate_is_compared_with_every_other_subject_on_every_metric():
    report = build_report(plan("a", "b"), example(), GATE, incumbent=OLD)
    for candidate in report.candidates:
        assert [(one.metric, one.against, one.paired) for one in candidate.comparisons] == [
            (metric, against, ITEMS)
            for metric in ("aac/chrf", "lm_eval/tiny/acc")
            for against in ("zero-shot", "4-shot", "aac@v3")
        ]


def test_boards_show_the_best_first_with_roles_and_buckets():
    report = build_report(plan("a", "b"), example(), GATE, incumbent=OLD)
    assert [(board.metric, board.split) for board in report.boards] == [
        (metric, split) for metric in ("aac/chrf", "lm_eval/tiny/acc") for split in ("release", "dev")
    ]
    first = report.boards[0]
    assert [(row.subject, row.role) for row in first.rows] == [
        ("b", "candidate"),
        ("a", "candidate"),
        ("zero-shot", "baseline"),
        ("aac@v3", "incumbent"),
        ("4-shot", "baseline"),
    ]
    assert first.rows[0].mean.estimate == pytest.approx(53)
    assert first.rows[0].counts == {"scored": 59, "truncated": 1}


def test_the_first_round_has_no_incumbent():
    rest = [one for one in example() if one.subject != OLD]
    report = build_report(plan("a", "b"), rest, GATE)
    assert report.verdict == "SHIP"
    assert [row.verdict for row in report.candidates[0].rows if row.comparator == "incumbent"] == [None, None]
    assert "there is no incumbent yet" in report.notes


def test_an_incumbent_without_evaluations_makes_it_invalid():
    rest = [one for one in example() if one.subject != OLD]
    report = build_report(plan("a", "b"), rest, GATE, incumbent=OLD)
    assert (report.verdict, "incumbent has no evaluation" in report.reason) == ("INVALID", True)


def test_without_dev_nobody_is_chosen_and_nothing_ships():
    found = [one for one in example() if one.split == "release"]
    report = build_report(plan("a", "b"), found, GATE, incumbent=OLD)
    assert report.verdict == "INVALID"
    assert [one.chosen for one in report.candidates] == [False, False]
    assert "2 of 2 candidates have no aac/chrf on dev" in report.notes


def test_an_only_candidate_and_an_only_baseline_need_no_choice():
    found = [one for one in example() if one.split == "release" and one.subject in (BASE, made("a"))]
    report = build_report(plan("a"), found, GATE)
    assert (report.verdict, report.candidates[0].chosen) == ("SHIP", True)


def test_without_a_gate_it_compares_and_decides_nothing():
    report = build_report(plan("a", "b"), example(), None, incumbent=OLD)
    assert (report.verdict, report.candidates[0].verdict, report.candidates[0].rows) == (None, None, [])
    assert len(report.candidates[0].comparisons) == 6
    assert "aac/chrf on release" in shown(report)


def test_subjects_can_be_candidates_without_a_run():
    report = build_report(plan(), example(), GATE, incumbent=OLD, candidates=[made("b")])
    assert [one.candidate for one in report.candidates] == ["b"]
    assert "a" in {one.against for one in report.candidates[0].comparisons}


def test_a_baseline_can_be_named_by_its_label():
    asked = GATE.model_copy(update={"primary": GATE.primary.model_copy(update={"better_than": ["4-shot"]})})
    row = build_report(plan("a"), example(), asked, incumbent=OLD).candidates[0].rows[0]
    assert (row.comparator, row.comparison.against, row.verdict) == ("4-shot", "4-shot", "SHIP")


def test_what_it_refuses():
    with pytest.raises(EvaluationError, match="no evaluated candidate"):
        build_report(plan("unknown"), example(), GATE)
    again = scores(made("a"), 1, 1)[0].model_copy(update={"eval_id": "e-other"})
    with pytest.raises(EvaluationError, match="two evaluations of aac/chrf"):
        build_report(plan("a"), [*example(), again], GATE)


def test_json_comes_back_whole():
    report = build_report(plan("a", "b"), example(), GATE, incumbent=OLD)
    assert Report.model_validate_json(as_json(report)) == report


def test_markdown_has_every_section_and_figure():
    report = build_report(plan("a", "b"), example(), GATE.model_copy(update={"decide": "all"}), incumbent=OLD)
    text = as_markdown(report)
    for part in ("# aac: SHIP", "## Gate: a", "## Gate: b", "## Every comparison on release", "aac/chrf on dev"):
        assert part in text
    assert "| primary aac/chrf | incumbent (aac@v3) | +5.00 \\[" in text
    assert "| a | aac/chrf | 4-shot | 50.0 : 44.0 | +6.00 \\[" in text


def test_tables_fit_a_hundred_columns_with_nothing_cut():
    names = [
        f"r={rank} {kind} lr={rate}" for rank in (2, 8, 16) for kind in ("16-bit", "nf4") for rate in ("1e-4", "2e-4")
    ]
    found = [*example(), *(one for name in names for one in scores(made(name), 50, 50))]
    strict = GATE.model_copy(update={"guardrails": [GATE.guardrails[0].model_copy(update={"max_loss": 0.0001})]})
    text = shown(build_report(plan("a", "b", *names), found, strict, incumbent=OLD))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100
    assert "…" not in text
    gate_rows = text.split("Gate: ")[1].split("aac/chrf on release")[0]
    assert all(whole in gate_rows for whole in ("lm_eval/tiny/acc", "best_baseline", "INCONCLUSIVE"))
    assert "\nINCONCLUSIVE: guardrail lm_eval/tiny/acc" in text


def test_names_from_elsewhere_are_text_and_nothing_more():
    """A label with terminal codes, console markup, table bars and HTML: it neither acts nor breaks a table."""
    evil = "[red]x[/red]\x1b[2J|<img src=x>\nrow"
    report = build_report(plan(evil), [*scores(BASE, 1, 1), *scores(made(evil), 50, 50)], GATE)
    text = shown(report)
    assert "\x1b" not in text
    assert "[red]x[/red]" in text
    markdown = as_markdown(report)
    assert "\x1b" not in markdown
    assert "<img" not in markdown
    row = next(line for line in markdown.splitlines() if line.startswith("| \\[red"))
    assert row.replace("\\|", "").count("|") == 4


def test_plots_are_written_whole_and_only_where_there_is_something(tmp_path):
    report = build_report(plan("a", "b"), example(), GATE, incumbent=OLD)
    paths = draw(report, tmp_path)
    assert [path.name for path in paths] == ["p-1-differences.png", "p-1-means.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000 for path in paths)
    odd = made("模型 $x_1$ " + "long " * 20)
    draw(build_report(plan(odd.label), [*scores(BASE, 1, 1), *scores(odd, 2, 2)], GATE), tmp_path)
    alone = [one for one in example() if one.subject == made("a")]
    assert [path.name for path in draw(build_report(plan("a"), alone, None), tmp_path)] == ["p-1-means.png"]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".png", ".png"]


def test_nothing_is_loaded_for_drawing_before_something_is_drawn():
    code = "import sys, harness.report; print([m for m in ('matplotlib', 'scipy', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_promoted_candidate_is_not_compared_with_itself():
    """Running a plan again after its best run was promoted must not turn that run's verdict INVALID."""
    rest = [one for one in example() if one.subject != OLD]
    report = build_report(plan("a", "b"), rest, GATE.model_copy(update={"decide": "all"}), incumbent=made("a"))
    a, b = report.candidates
    assert [row.verdict for row in a.rows if row.comparator == "incumbent"] == [None, None]
    assert a.verdict == "SHIP"
    assert [row.comparison is not None for row in b.rows if row.comparator == "incumbent"] == [True, True]
    assert report.incumbent_sha256 == made("a").adapter_sha256
    assert "a is the incumbent itself" in report.notes

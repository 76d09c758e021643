"""No figure, id or verdict is cut or broken on a narrow terminal, whatever a command prints."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from harness.report import Report, print_tables
from harness.tables import WHOLE, Layout, table

WIDE = 400
COMMANDS = {
    "check": ("check", "spec.yaml"),
    "plan": ("plan", "spec.yaml"),
    "status": ("status",),
    "ls": ("ls",),
    "errors": ("errors", "spec.yaml"),
    "tags": ("tags", "spec.yaml"),
    "verdict": (
        "verdict",
        "new.jsonl",
        "main.jsonl",
        "--metric",
        "a_rather_long_name/of_a_metric",
        "--max-loss",
        "b=1",
    ),
}


def whole(text: str) -> set[str]:
    return {word for word in text.split() if WHOLE.fullmatch(word)}


def soft(line: str) -> bool:
    """Lines to copy from (commands, files) are not broken: the terminal wraps them."""
    return "ratchet " in line or "/" in line.strip()[:1]


def fits(narrow: str, wide: str, width: int) -> None:
    """The same figures, and no line that the terminal would break."""
    assert len(whole(wide)) > 2
    missing = whole(wide) - whole(narrow)
    assert missing <= ({"40", "80"} if width == 80 else set()), missing  # the column of items may go
    assert not [line for line in narrow.splitlines() if len(line) > width and not soft(line)]


def printed(report: Report, width: int) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        print_tables(report, console)
    return captured.get()


def test_every_figure_is_whole_at_any_width(desk, monkeypatch):
    """A lab with two candidates, guardrails and tags, and two results of other tools; one set-up, as it takes long."""
    desk.spec(
        grid={"train.learning_rate": [1.0e-4, 2.5e-4]},
        gate__guardrails=[{"metric": "mini/exact", "max_loss": 0.5}],
    )
    context = desk.evaluated(right=lambda subject, number: number % (5 if subject.kind == "adapter" else 3) > 0)
    context.plan.write(desk.lab.plans / context.plan.plan_id / "plan.json")
    monkeypatch.setenv("COLUMNS", "80")
    narrow = desk.ratchet("report", "spec.yaml").out
    report = Report.model_validate_json((desk.lab.reports / f"{context.plan.plan_id}.json").read_text())
    wide = printed(report, WIDE)
    fits(narrow, wide, 80)
    for width in (80, 100, 200):
        fits(printed(report, width), wide, width)
    assert desk.ratchet("tag", "spec.yaml", "i5", "too-long-and-winding").code == 0
    for name, shift in (("new", 3), ("main", 1)):
        rows = [
            {"id": n, "a_rather_long_name/of_a_metric": n % shift, "b": n * shift / 7000, "c": 1e6 + n}
            for n in range(80)
        ]
        desk.write(f"{name}.jsonl", rows)
    for command in COMMANDS.values():
        monkeypatch.setenv("COLUMNS", str(WIDE))
        wide = desk.ratchet(*command).out
        for width in (80, 100, 200):
            monkeypatch.setenv("COLUMNS", str(width))
            fits(desk.ratchet(*command).out, wide, width)


@pytest.mark.parametrize("width", [60, 40, 20])
def test_on_the_narrowest_terminal_a_table_becomes_a_list(width):
    rows = [("guardrail lm_eval/arc/acc_norm", "-0.0228 [-0.0586, +0.0131]", "395", "INCONCLUSIVE")]
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        console.print(table("t", ("row", "difference", "items", "verdict"), rows, width, Layout(droppable=("items",))))
    assert {"-0.0228", "[-0.0586,", "+0.0131]", "INCONCLUSIVE"} <= set(captured.get().split())
    assert max(map(len, captured.get().splitlines())) <= width


def test_nothing_in_a_cell_is_read_as_markup():
    console = Console(width=80, highlight=False)
    with console.capture() as captured:
        console.print(table("[bold]t", ("[red]a", "b"), [("[/nothing]", "[link=x]y")], 80))
    for text in ("[bold]t", "[red]a", "[/nothing]", "[link=x]y"):
        assert text in captured.get()


def test_the_loss_mask_is_seen_without_colour(desk, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    desk.write("train.jsonl", [{"prompt": "two\nlines", "completion": "yes"}] * 8)
    lines = desk.ratchet("check", "spec.yaml").out.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("first training row"))
    assert [line.rstrip() for line in lines[start + 1 : start + 4]] == [
        "no loss | <user>two⏎",
        "no loss | lines</s><assistant>",
        "loss    | yes</s>",
    ]


def test_ls_lists_plans_and_show_opens_one(desk):
    plan_id = desk.evaluated().plan.plan_id
    assert desk.ratchet("show", plan_id).error.startswith(f"ratchet: there is no plan {plan_id} in ")
    desk.resolve().plan.write(desk.lab.plans / plan_id / "plan.json")
    assert "not reported yet" in desk.ratchet("ls").out
    assert desk.ratchet("report", plan_id).code == 0
    listed = next(line for line in desk.ratchet("ls").out.splitlines() if line.startswith(plan_id))
    assert ("desk" in listed, "1 of 1" in listed, listed.split()[-1]) == (True, True, "SHIP")
    assert json.loads(desk.ratchet("ls", "--format", "json").out)["plans"][0]["finished"] == 1
    shown = desk.ratchet("show", plan_id)
    for said in ("SHIP", "finished", "spec: spec.yaml", "gate: mini/exact must gain more than 0 on", "reason: primary"):
        assert said in shown.out
    assert json.loads(desk.ratchet("show", plan_id, "--format", "json").out)["what"] == "plan"


def test_show_opens_runs_and_evaluations_and_says_what_is_not_there(desk):
    context = desk.evaluated()
    run_id = context.plan.runs[0].run_id
    assert "state: finished" in desk.ratchet("show", run_id).out
    eval_id = next(desk.lab.evals.iterdir()).name
    assert json.loads(desk.ratchet("show", eval_id, "--format", "json").out)["what"] == "evaluation"
    for name, said in (
        ("r-000000000000", "there is no run r-000000000000 in"),
        ("e-000000000000", "there is no evaluation e-000000000000 in"),
        ("p-../../x", "is not a valid name"),
        ("desk@prod", "desk@prod does not exist"),
    ):
        assert said in desk.ratchet("show", name).error

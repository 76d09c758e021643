"""The command line: bad input ends in one line with the fix, nothing half-written; good input says what to do next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SPEC = "name: desk\nbase_model: base\ntrain:\n  dataset: train.jsonl\nevaluate:\n  evalsets: [mini]\n"
ITEM = {"id": "i1", "prompt": "item 1", "gold": ["answer 1"]}
PAIR = {"prompt": "p", "chosen": "a", "rejected": "b"}


def shell(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "harness.cli", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120
    )


def write_text(text: str):
    return lambda desk: desk.write("spec.yaml", text)


def spec(**changes):
    return lambda desk: desk.spec(**changes)


def rows(*lines: object):
    return lambda desk: desk.write(
        "train.jsonl", "".join(f"{x if isinstance(x, str) else json.dumps(x)}\n" for x in lines)
    )


def items(*lines: object, scorer: str = "", **definition):
    if scorer:
        definition["metrics"] = {"exact": {"scorer": "scorer.py"}}
    files = {"scorer.py": f"def score(item, answer):\n    return {{'value': {scorer}}}\n"} if scorer else {}
    return lambda desk: desk.evalset("mini", list(lines) or None, files, **definition)


def dpo(**method):
    def arrange(desk):
        rows(PAIR)(desk)
        desk.spec(train__method={"type": "dpo", **method})

    return arrange


def another_base(desk):
    parent = desk.trained(desk.resolve().plan.runs[0])
    (desk.root / "base" / "tokenizer.json").write_text('{"another": 1}')
    desk.spec(train__init_adapter=parent.run_id)


BAD = {
    "missing spec": (lambda desk: (desk.root / "spec.yaml").unlink(), "spec.yaml does not exist"),
    "unknown key": (write_text(SPEC + "evaluat: {}\n"), "spec.yaml:7: unknown key 'evaluat'. did you mean 'evaluate'"),
    "foreign key": (
        write_text(SPEC.replace("evaluate", "  lora_rank: 8\nevaluate")),
        "spec.yaml:5: unknown key 'train.lora_rank'. here it is adapter.r",
    ),
    "repeated key": (write_text(SPEC + "name: other\n"), "spec.yaml:7: key 'name' stands twice. keep one"),
    "no base": (spec(base_model="none"), "base_model none is not a folder. give a model folder, or a hub id"),
    "no dataset": (spec(train__dataset="none.jsonl"), "none.jsonl does not exist. check the path; it is relative to"),
    "no JSON": (rows({"prompt": "p", "completion": "c"}, "{nope}"), "train.jsonl:2: not JSON (Expecting property name"),
    "wrong columns": (rows({"q": "p"}), "train.jsonl:1: columns q are no known format. use prompt+chosen+rejected"),
    "wrong turn": (
        rows({"prompt": [{"role": "robot", "content": "x"}], "completion": "c"}),
        "train.jsonl:1: column 'prompt' has a turn that is not {role: system|user|assistant, content: text}",
    ),
    "rank": (spec(train__adapter__r=1024), "run sft: r: 1024 is more than this engine serves (512). lower it"),
    "DoRA": (spec(train__adapter__use_dora=True), "run sft: use_dora"),
    "TRL argument": (
        spec(train__trainer_extra={"max_lenght": 5}),
        "run sft: train.max_lenght is no argument of SFT in TRL. did you mean 'max_length'",
    ),
    "ignored": (dpo(label_smoothing=0.1), "run dpo: train.method.label_smoothing is ignored by loss_type sigmoid. use"),
    "DPO data, SFT": (rows(PAIR), "train.jsonl: format preference does not fit method sft. it needs a prompt and a"),
    "SFT data, DPO": (spec(train__method={"type": "dpo"}), "format prompt_completion does not fit method dpo"),
    "no evalset": (spec(evaluate__evalsets=["minni"]), "evalset 'minni' does not exist. known here: mini"),
    "gold fails": (items(ITEM, scorer="0.5"), "item 'i1': gold answer 'answer 1' scores 0.5 on exact, not 1. correct"),
    "wrong passes": (
        items({**ITEM, "wrong": ["Answer  1"]}),
        "items.jsonl: item 'i1': wrong answer 'Answer 1' gets full marks on exact. correct the list of wrong answers",
    ),
    "item twice": (items(ITEM, ITEM), "items.jsonl:2: id 'i1' stands twice. give every item an id of its own"),
    "scorer": (items(metrics={"exact": {"scorer": "exakt"}}), "scorer 'exakt' is unknown. use exact or "),
    "unmeasured": (
        spec(gate__primary__metric="mini/bleu"),
        "gate: metric 'mini/bleu' is not measured by this spec. use one of mini/exact",
    ),
    "no release": (items({**ITEM, "split": "dev"}), "evalset mini: has no release items"),
    "contaminated": (
        rows(*({"prompt": f"ITEM {n}!", "completion": "c"} for n in range(29, 50))),
        "evalset mini: 21 of 50 items stand in the training data (21 release; first 'i29': exact, train.jsonl:1). "
        "remove those rows from training: without them more than half of release would decide nothing",
    ),
    "other base": (another_base, "adapter sft was trained on another base than base. give the base_model it was"),
    "no parent": (spec(train__init_adapter="desk@prod"), "desk@prod does not exist. nothing was promoted to desk yet"),
    "unsafe name": (spec(train__init_adapter="../x@prod"), "registry name '../x' is not a valid name. use 1 to 64"),
    "subjects": (spec(subjects=["r-000000000000"]), "run r-000000000000 has no finished adapter in"),
    "incumbent": (spec(gate__incumbent="desk@v1"), "gate.incumbent 'desk@v1' is a version. name an alias"),
    "shots": (
        spec(baselines=[{"few_shot": 9}]),
        "train.jsonl has only 8 different prompts for 9 examples. ask for fewer",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_in_one_line_before_anything_is_trained(desk, case):
    arrange, said = BAD[case]
    arrange(desk)
    before = desk.files()
    ended = desk.ratchet("run", "spec.yaml")
    assert ended.code == 1
    assert ended.error.startswith("ratchet: ")
    assert said in ended.error
    assert desk.files() == before


@pytest.mark.parametrize("case", ["foreign key", "rank", "contaminated"])
def test_check_fails_where_run_would(desk, case):
    BAD[case][0](desk)
    assert desk.ratchet("check", "spec.yaml").code == 1
    assert desk.ratchet("check", "spec.yaml", "--format", "json").code == 1


def test_check_lists_every_finding_and_shows_the_first_row(desk):
    desk.spec(train__adapter__r=1024, gate__primary__metric="mini/bleu")
    ended = desk.ratchet("check", "spec.yaml")
    assert (ended.code, ended.err) == (1, "")
    assert "r: 1024 is more than this engine serves" in ended.out
    assert "metric 'mini/bleu' is not measured" in ended.out
    assert ended.out.rstrip().endswith("2 to correct")
    found = json.loads(desk.ratchet("check", "spec.yaml", "--format", "json").out)
    assert [one["level"] for one in found["findings"]].count("error") == 2
    desk.spec()
    masked = "no loss | <user>train 0</s><assistant>\nloss    | yes 0</s>\n"
    assert masked in desk.ratchet("check", "spec.yaml").out


def test_plan_lists_runs_and_which_are_done_and_writes_nothing(desk):
    desk.spec(grid={"train.seed": [0, 1]})
    plan = json.loads(desk.ratchet("plan", "spec.yaml", "--format", "json").out)
    assert [job["label"] for job in plan["runs"]] == ["seed=0", "seed=1"]
    desk.trained(desk.resolve().plan.runs[0])
    before = desk.files()
    table = desk.ratchet("plan", "spec.yaml").out
    assert (table.count("finished"), table.count("to train")) == (1, 1)
    assert "incumbent: none yet (desk@prod)" in table
    assert desk.files() == before


def test_a_full_disk_before_training_leaves_no_plan(desk, monkeypatch):
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "plan.record")
    ended = desk.ratchet("run", "spec.yaml", "--format", "json")
    assert "the disk is full: " in ended.error
    assert "plan.json was not written. free some space and run the command again" in ended.error
    assert desk.files() == set()


def test_a_full_disk_leaves_no_report(desk, monkeypatch):
    desk.evaluated()
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "report.record")
    assert "the disk is full" in desk.ratchet("report", "spec.yaml").error
    assert not [name for name in desk.files() if name.endswith((".tmp", ".json")) and name.startswith("reports/")]
    monkeypatch.delenv("RATCHET_FULL_DISK_AT")
    assert desk.ratchet("report", "spec.yaml").code == 0
    assert len(list(desk.lab.reports.glob("p-*.json"))) == 1


def test_report_exits_with_its_verdict_and_says_what_is_next(desk):
    context = desk.evaluated()
    ended = desk.ratchet("report", "spec.yaml")
    assert (ended.code, "SHIP" in ended.out) == (0, True)
    assert f"next: ratchet promote {context.plan.runs[0].run_id} --as desk@prod" in ended.out
    assert json.loads(desk.ratchet("report", "spec.yaml", "--format", "json").out)["verdict"] == "SHIP"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", "p-000000000000"), "there is no plan p-000000000000 in"),
        (("report", "../../etc/passwd"), "there is no plan ../../etc/passwd in"),
        (("report",), "yet. run `ratchet run experiments/quickstart.yaml`"),
        (("report", "spec.yaml"), "no run of spec.yaml is finished. run `ratchet run spec.yaml` first"),
        (("promote", "r-000000000000", "--as", "desk@prod"), "there is no finished run 'r-000000000000'"),
        (("rollback", "desk"), "desk@prod has no earlier version to go back to"),
        (("rollback", "../desk"), "registry name '../desk' is not a valid name"),
        (("next", "desk", "--primary", "mini/exact"), "no campaign of 'desk' in"),
        (
            ("campaign", "create", "../x", "base", "base", "--pool", "p", "--name", "desk"),
            "campaign '../x' is not a valid",
        ),
        (("serve", "desk"), "nothing was promoted to desk yet. ratchet promote RUN --as desk@prod"),
        (("serve",), "nothing was promoted yet. ratchet promote RUN --as NAME@prod, or give --base"),
    ],
)
def test_what_is_not_there_is_said_with_the_way_to_it(desk, arguments, said):
    ended = desk.ratchet(*arguments)
    assert said in ended.error
    assert ended.code == 1


def test_a_lab_that_is_a_file_is_said(desk):
    desk.write("notes.txt", "mine")
    ended = desk.ratchet("check", "spec.yaml", "--lab", "notes.txt")
    assert "cannot be written (Not a directory). check the lab folder" in ended.error
    assert (desk.root / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments", [("chekc",), ("check",), ("promote", "r-1"), ("check", "spec.yaml", "--format", "xml")]
)
def test_wrong_usage_exits_2(desk, arguments):
    ended = desk.ratchet(*arguments)
    assert ended.code == 2
    assert "Traceback" not in ended.err


def test_the_command_as_a_process(desk):
    """One line on stderr and exit code 1; `--help` lists the commands; a bug would be a traceback."""
    ended = shell("check", "none.yaml", cwd=desk.root)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "ratchet: none.yaml does not exist. give the path of a YAML file.\n"
    done = shell("--help", cwd=desk.root)
    assert done.returncode == 0
    for command in (
        "check",
        "plan",
        "run",
        "report",
        "promote",
        "rollback",
        "serve",
        "campaign",
        "rate",
        "next",
        "sql",
    ):
        assert command in done.stdout


def test_a_kill_while_the_plan_is_written_leaves_nothing_and_the_next_run_goes_on(desk):
    ended = shell("run", "spec.yaml", cwd=desk.root, RATCHET_KILL_AT="plan.record")
    assert ended.returncode == -signal.SIGKILL
    assert not [name for name in desk.files() if name.endswith("plan.json")]
    assert desk.resolve().plan.plan_id

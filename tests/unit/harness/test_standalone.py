"""`ratchet verdict A B`: the same gate as a plan's, on results that anyone made; and its comment on a pull request."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness.gate import EXIT_CODES
from harness.report import Report
from harness.report.comment import MAX_CHARACTERS, as_comment

DOC = Path(__file__).parents[3] / "docs" / "verdict.md"
README = DOC.parents[1] / "README.md"


def scores(wins: int, items: int = 200, **changes: object) -> list[dict[str, object]]:
    """`items` items of which the first `wins` score 1."""
    return [{"id": f"q{n}", "acc": int(n < wins), **changes} for n in range(items)]


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"), [(150, 100, "SHIP"), (100, 150, "BLOCK"), (101, 100, "INCONCLUSIVE")]
)
def test_the_exit_code_is_the_verdict(desk, ours, theirs, verdict):
    desk.write("a.jsonl", scores(ours))
    desk.write("b.jsonl", scores(theirs))
    ended = desk.ratchet("verdict", "a.jsonl", "b.jsonl")
    assert (ended.code, ended.err) == (EXIT_CODES[verdict], "")
    assert f"{verdict}: primary acc against b:" in ended.out
    assert "is taken on trust" in ended.out
    assert json.loads(desk.ratchet("verdict", "a.jsonl", "b.jsonl", "--format", "json").out)["verdict"] == verdict
    assert not desk.lab.root.exists()


def test_margins_are_the_gates_lines(desk):
    """50 gains among 200 items: +0.25; 20 losses of a guardrail: -0.1."""
    desk.write("a.jsonl", [row | {"safe": int(n >= 20)} for n, row in enumerate(scores(150))])
    desk.write("b.jsonl", [row | {"safe": 1} for row in scores(100)])
    asked = ("verdict", "a.jsonl", "b.jsonl", "--metric", "acc", "--format", "json")
    assert desk.ratchet(*asked, "--min-gain", "0.1").code == 0
    assert desk.ratchet(*asked, "--min-gain", "0.2").code == 11
    assert desk.ratchet(*asked, "--min-gain", "0.4").code == 10
    assert desk.ratchet(*asked, "--max-loss", "safe=0.2").code == 0
    ended = desk.ratchet(*asked, "--max-loss", "safe=0.01")
    assert ended.code == 10
    rows = json.loads(ended.out)["candidates"][0]["rows"]
    assert [(row["role"], row["metric"], row["line"], row["verdict"]) for row in rows] == [
        ("primary", "acc", 0.0, "SHIP"),
        ("guardrail", "safe", -0.01, "BLOCK"),
    ]


def test_lower_is_better_where_it_is_said(desk):
    desk.write("a.jsonl", [{"id": n, "s": 1.0 + n % 3 / 10, "acc": n % 2} for n in range(60)])
    desk.write("b.jsonl", [{"id": n, "s": 2.0 + n % 5 / 10, "acc": n % 2} for n in range(60)])
    asked = ("verdict", "a.jsonl", "b.jsonl", "--metric", "s")
    assert [desk.ratchet(*asked, "--direction", way).code for way in ("up", "down", "s=down")] == [10, 0, 0]
    assert desk.ratchet(*asked).code == 10


def test_clusters_widen_the_interval(desk):
    rows = [{"id": n, "topic": f"t{n // 20}", "acc": int(n < 150)} for n in range(200)]
    desk.write("a.jsonl", rows)
    desk.write("b.jsonl", [row | {"acc": int(int(str(row["id"])) < 120)} for row in rows])
    alone = json.loads(desk.ratchet("verdict", "a.jsonl", "b.jsonl", "--format", "json").out)
    grouped = desk.ratchet("verdict", "a.jsonl", "b.jsonl", "--cluster", "topic", "--format", "json")
    found = json.loads(grouped.out)
    assert (alone["verdict"], grouped.code) == ("SHIP", 11)
    assert found["candidates"][0]["rows"][0]["comparison"]["difference"]["clusters"] == 10
    assert not any("--cluster" in note for note in found["notes"])
    assert any("--cluster" in note for note in alone["notes"])


def test_pairs_that_are_missing_or_without_score_are_counted_and_too_many_are_invalid(desk):
    desk.write("a.jsonl", [*scores(150)[:197], {"id": "q197", "acc": None}])
    desk.write("b.jsonl", scores(100))
    ended = desk.ratchet("verdict", "a.jsonl", "b.jsonl", "--format", "json")
    comparison = json.loads(ended.out)["candidates"][0]["rows"][0]["comparison"]
    assert (ended.code, comparison["paired"], comparison["left_out"]) == (0, 197, {"candidate": 3})
    desk.write("a.jsonl", scores(150)[:190])
    ended = desk.ratchet("verdict", "a.jsonl", "b.jsonl")
    assert ended.code == 12
    assert "10 of 200 items could not be paired" in " ".join(ended.out.split())


def test_only_release_decides_and_dev_is_shown(desk):
    desk.write("a.jsonl", [*scores(150), {"id": "d1", "acc": 0, "split": "dev"}])
    desk.write("b.jsonl", [*scores(100), {"id": "d1", "acc": 1, "split": "dev"}])
    report = json.loads(desk.ratchet("verdict", "a.jsonl", "b.jsonl", "--format", "json").out)
    assert report["candidates"][0]["rows"][0]["comparison"]["paired"] == 200
    assert [board["split"] for board in report["boards"]] == ["release", "dev"]
    desk.write("a.jsonl", scores(150, split="dev"))
    desk.write("b.jsonl", scores(100, split="dev"))
    assert desk.ratchet("verdict", "a.jsonl", "b.jsonl").code == 12


def sample(number: int, acc: float, doc_hash: str = "d", prompt_hash: str = "p") -> dict[str, object]:
    return {
        "doc_id": number, "doc": {}, "target": "1", "filtered_resps": [], "filter": "none", "metrics": ["acc"],
        "doc_hash": f"{doc_hash}{number}", "prompt_hash": prompt_hash, "target_hash": "t", "acc": acc,
    }  # fmt: skip


def test_lm_eval_documents_of_other_content_are_invalid(desk):
    for side, wins in (("a", 90), ("b", 40)):
        desk.write(f"{side}/m/samples_arc_2026-11-20T09-00-00.1.jsonl", [sample(n, int(n < wins)) for n in range(120)])
    assert desk.ratchet("verdict", "a", "b").code == 0
    other = [sample(n, 0.0, doc_hash="e" if n == 5 else "d", prompt_hash="chat") for n in range(120)]
    desk.write("c/m/samples_arc_2026-11-20T09-00-00.1.jsonl", other)
    ended = desk.ratchet("verdict", "a", "c", "--metric", "acc", "--format", "json")
    report = json.loads(ended.out)
    assert ended.code == 12
    assert "different contents of the evalset" in report["reason"]
    assert "lm_eval/arc/acc: 1 of 120 items differ in content, first 'arc/5'" in report["notes"]


def test_prompts_that_differ_are_told_and_do_not_forbid_the_comparison(desk):
    for side, wins in (("a", 90), ("b", 40)):
        desk.write(f"{side}.jsonl", [sample(n, int(n < wins), prompt_hash=side) for n in range(120)])
    desk.write("b.jsonl", (desk.root / "b.jsonl").read_text())
    for side in "ab":
        (desk.root / side).mkdir()
        (desk.root / f"{side}.jsonl").rename(desk.root / side / "samples_arc_2026-11-20T09-00-00.1.jsonl")
    ended = desk.ratchet("verdict", "a", "b", "--format", "json")
    assert ended.code == 0
    assert any("the prompts of 120 of 120 items differ" in note for note in json.loads(ended.out)["notes"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a.jsonl", "a.jsonl"), "a.jsonl is both sides. name two results"),
        (("a.jsonl", "./a.jsonl"), "a.jsonl is both sides"),
        (("a.jsonl", "none.jsonl"), "none.jsonl does not exist"),
        (("two.jsonl", "two2.jsonl"), "which metric decides? Both sides have acc, f1. name it with --metric"),
        (
            ("a.jsonl", "other.jsonl"),
            "no metric is on both sides (a.jsonl: acc; other.jsonl: f1). compare results of the same tasks",
        ),
        (("a.jsonl", "two.jsonl", "--metric", "f1"), "a.jsonl has no metric 'f1'. use one of acc"),
        (("a.jsonl", "two.jsonl", "--max-loss", "acc"), "--max-loss 'acc' is not METRIC=X"),
        (("a.jsonl", "two.jsonl", "--max-loss", "acc=-1"), "--max-loss 'acc=-1' is not METRIC=X"),
        (("a.jsonl", "two.jsonl", "--max-loss", "acc=nan"), "--max-loss 'acc=nan' is not METRIC=X"),
        (("a.jsonl", "two.jsonl", "--direction", "acc=less"), "--direction 'acc=less' is neither up nor down"),
        (("a.jsonl", "moved.jsonl"), "acc: item 'q0' is release on one side and dev on the other"),
    ],
)
def test_wrong_questions_end_in_one_line(desk, arguments, said):
    desk.write("a.jsonl", scores(1, 2))
    desk.write("moved.jsonl", scores(1, 2, split="dev"))
    for name in ("two.jsonl", "two2.jsonl"):
        desk.write(name, scores(1, 2, f1=0.5))
    desk.write("other.jsonl", [{"id": "q0", "f1": 1}])
    ended = desk.ratchet("verdict", *arguments)
    assert (ended.code, said in ended.error) == (1, True), ended.err


def test_swapping_the_sides_turns_the_difference_around(desk):
    desk.write("a.jsonl", scores(130))
    desk.write("b.jsonl", list(reversed(scores(100))))
    sides = (("a.jsonl", "b.jsonl"), ("b.jsonl", "a.jsonl"))
    both = [desk.ratchet("verdict", *two, "--format", "json").out for two in sides]
    one, other = (json.loads(out)["candidates"][0]["comparisons"][0]["difference"] for out in both)
    assert one["estimate"] == pytest.approx(-other["estimate"])
    assert (one["low"], one["high"]) == (pytest.approx(-other["high"]), pytest.approx(-other["low"]))


def test_a_fresh_process_loads_neither_torch_nor_an_engine_nor_a_store(tmp_path):
    for side, wins in (("a", 90), ("b", 40)):
        (tmp_path / f"{side}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scores(wins, 120)))
    probe = (
        "import sys; sys.argv = ['ratchet', 'verdict', 'a.jsonl', 'b.jsonl']\n"
        "from harness.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "scipy" in loaded
    assert loaded & {"torch", "transformers", "vllm", "peft", "lm_eval", "duckdb", "gradio", "matplotlib"} == set()


# --- the pull request -------------------------------------------------------------------------------------------


def test_a_comment_says_the_verdict_first_and_cannot_be_steered_by_names(desk):
    name = "@everyone <img src=x> [click](http://x)"
    desk.write(f"{name.replace('/', '')}.jsonl", scores(150))
    desk.write("old.jsonl", scores(100))
    ended = desk.ratchet("verdict", f"{name.replace('/', '')}.jsonl", "old.jsonl", "--format", "md")
    first, second = [line for line in ended.out.splitlines() if line][:2]
    assert re.fullmatch(r"<!-- ratchet-verdict [\w.-]+ -->", first)
    assert second.startswith("### SHIP: ")
    assert ended.out.count("<!--") == 1
    assert not re.search(r"@everyone|<img|(?<!\\)\[click", ended.out)
    assert "| primary acc | old |" in ended.out
    assert "<details>" in ended.out
    assert ended.out.rstrip().endswith("</details>")


def test_a_plans_report_is_the_same_comment(desk):
    desk.evaluated()
    ended = desk.ratchet("report", "spec.yaml", "--format", "md")
    assert ended.out.startswith("<!-- ratchet-verdict desk -->\n\n### SHIP: desk\n")


def test_the_comment_of_one_comparison_keeps_its_marker_when_the_verdict_changes(desk):
    desk.write("old.jsonl", scores(100))
    found = []
    for wins in (150, 50):
        desk.write("new.jsonl", scores(wins))
        found.append(desk.ratchet("verdict", "new.jsonl", "old.jsonl", "--format", "md").out.splitlines()[0])
    assert found[0] == found[1]


def test_a_comment_fits_into_githubs_limit(desk):
    desk.write("a.jsonl", scores(150))
    desk.write("b.jsonl", scores(100))
    report = Report.model_validate_json(desk.ratchet("verdict", "a.jsonl", "b.jsonl", "--format", "json").out)
    long = report.model_copy(update={"boards": report.boards * 1000})
    assert "<details>" not in as_comment(long)
    assert "SHIP" in as_comment(long)
    assert len(as_comment(report.model_copy(update={"notes": ["note " * 50] * 1000}))) <= MAX_CHARACTERS


def test_output_writes_the_comment_and_prints_the_text(desk):
    desk.write("a.jsonl", scores(150))
    desk.write("b.jsonl", scores(100))
    ended = desk.ratchet("verdict", "a.jsonl", "b.jsonl", "--format", "md", "--output", "out/comment.md")
    assert ended.code == 0
    assert "Gate: a" in ended.out
    assert (desk.root / "out" / "comment.md").read_text().startswith("<!-- ratchet-verdict a-against-b -->\n")


GH = """#!/bin/sh
# A stand-in for GitHub's command line: says what it was asked, and knows the comment that $KNOWN names.
echo "gh $*" >> "$CALLS"
case "$*" in *--jq*) printf '%s' "$KNOWN" ;; esac
"""


@pytest.mark.parametrize(("wins", "code", "known"), [(150, 0, ""), (50, 10, "77"), (101, 11, "")])
def test_the_workflow_of_the_documentation_works(desk, wins, code, known):
    """Every `run` step of the YAML in docs/verdict.md, as GitHub runs it (bash -e), with a stand-in for gh."""
    desk.write("results/new.jsonl", scores(wins))
    desk.write("results/main.jsonl", scores(100))
    (desk.root / "bin").mkdir()
    for name, text in (("gh", GH), ("ratchet", f'#!/bin/sh\nexec {sys.executable} -m harness.cli "$@"\n')):
        path = desk.root / "bin" / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    block = re.search(r"```yaml\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    job = yaml.safe_load(block[1])["jobs"]["verdict"]
    assert job["permissions"] == {"contents": "read", "pull-requests": "write"}
    steps = [step for step in job["steps"] if "run" in step and "pip install" not in step["run"]]
    outputs, ended = desk.root / "outputs", None
    environment = os.environ | {
        "PATH": f"{desk.root / 'bin'}:{os.environ['PATH']}", "GITHUB_OUTPUT": str(outputs), "KNOWN": known,
        "GITHUB_REPOSITORY": "org/repo", "PR": "5", "CALLS": str(desk.root / "calls"), "CODE": str(code),
    }  # fmt: skip
    for step in steps:
        assert "${{" not in step["run"]  # what GitHub would paste into a script could come from anyone
        command = ["bash", "-e", "-c", step["run"]]
        ended = subprocess.run(command, cwd=desk.root, env=environment, capture_output=True, text=True, check=False)
        if step is not steps[-1]:
            assert ended.returncode == 0, ended.stderr
    assert f"code={code}" in outputs.read_text()
    assert ended is not None
    assert ended.returncode == code
    posted = (desk.root / "calls").read_text().splitlines()[-1]
    wanted = "gh api --method PATCH repos/org/repo/issues/comments/77" if known else "gh pr comment 5 --body-file"
    assert posted.startswith(wanted)


# --- what a newcomer stumbles over ------------------------------------------------------------------------------


def test_every_metric_of_both_sides_is_shown_the_deciding_one_first_and_what_is_not_compared_is_said(desk):
    desk.write("a.jsonl", [row | {"f1": 0.5, "safe": 1, "cost": 2} for row in scores(150)])
    desk.write("b.jsonl", [row | {"safe": 1, "cost": 3, "age": 7, "f1": 0.25} for row in scores(100)])
    ended = desk.ratchet("verdict", "a.jsonl", "b.jsonl", "--metric", "f1", "--direction", "cost=down")
    said = " ".join(ended.out.split())
    assert ended.code == 0
    rows = ended.out.partition("Every metric")[2].partition("Note:")[0].splitlines()
    shown = [line.split()[0] for line in rows if line.strip()]
    assert [name for name in shown if name in ("f1", "acc", "safe", "cost", "age")] == ["f1", "acc", "cost", "safe"]
    assert "not compared, as only b has it: age" in said
    assert "taken as higher is better: f1, acc, safe (--direction METRIC=down says otherwise)" in said
    for untrue in ("chosen on dev", "Look 1", "release", "base"):
        assert untrue not in said
    assert "Look 1" not in desk.ratchet("verdict", "a.jsonl", "b.jsonl", "--metric", "f1", "--format", "md").out


def test_splits_are_named_where_the_results_name_them(desk):
    desk.write("a.jsonl", [*scores(150), {"id": "d1", "acc": 0, "split": "dev"}])
    desk.write("b.jsonl", [*scores(100), {"id": "d1", "acc": 1, "split": "dev"}])
    assert "Every metric on release" in desk.ratchet("verdict", "a.jsonl", "b.jsonl").out


def test_which_metric_decides_is_never_guessed_and_the_error_is_a_command_that_runs(desk):
    desk.write("a b.jsonl", scores(150, safe=1))
    desk.write("main.jsonl", scores(100, safe=1))
    ended = desk.ratchet("verdict", "a b.jsonl", "main.jsonl", "--max-loss", "safe=0.05")
    assert "which metric decides? Both sides have acc, safe" in ended.error
    command = re.search(r"`ratchet (.*)`", ended.error)
    assert command
    assert desk.ratchet(*shlex.split(command[1])).code == 0
    only = desk.ratchet("verdict", "a b.jsonl", "main.jsonl", "--metric", "safe", "--max-loss", "safe=0.05")
    assert "allow a loss of 0.05 with --min-gain -0.05" in only.error
    assert desk.ratchet("verdict", "a b.jsonl", "main.jsonl", "--metric", "safe", "--min-gain", "-0.05").code == 0


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (range(200), range(100), "acc: 100 items only in a: '100', '101', '102', … (b has only a part of a's items"),
        (range(200), range(1, 201), "1 item only in a: '0'; 1 item only in b: '200' (one side seems to count from 0"),
        (map("Q{}".format, range(9)), map("q{}".format, range(9)), "the ids differ in case or spaces"),
        (map("q{:03}".format, range(9)), map("q{}".format, range(9)), "ids with and without leading zeros"),
        (map("x-{}".format, range(9)), map("y-{}".format, range(9)), "end in the same numbers but are named diff"),
        (["a", "b"], ["c", "d"], "not one id is on both sides: another version of the task, another split"),
        (["a", "b", "c\x1b[31m\u202e"], ["a", "b", "d"], r"'c\\x1b[31m\\u202e'"),
    ],
)
def test_ids_that_do_not_match_are_shown_with_the_likely_reason(desk, ours, theirs, said):
    desk.write("a.jsonl", [{"id": item, "acc": 1} for item in ours])
    desk.write("b.jsonl", [{"id": item, "acc": 0} for item in theirs])
    ended = desk.ratchet("verdict", "a.jsonl", "b.jsonl", "--format", "json")
    notes = "\n".join(json.loads(ended.out)["notes"])
    assert said in notes
    assert "\x1b" not in desk.ratchet("verdict", "a.jsonl", "b.jsonl").out


def test_the_readmes_own_example_works(desk):
    command = re.search(r"^    ratchet (verdict results/.*)$", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert command
    words = shlex.split(command[1].partition("#")[0])
    metrics = [words[words.index(option) + 1].partition("=")[0] for option in ("--metric", "--max-loss")]
    for side, wins in (("new", 90), ("old", 50)):
        for name in metrics:
            task, metric = name.split("/")
            lines = [sample(n, int(n < wins)) | {"metrics": ["acc", "acc_norm"], "acc_norm": 1} for n in range(120)]
            assert metric in lines[0]
            desk.write(f"results/{side}/m/samples_{task}_2026-11-20T09-00-00.1.jsonl", lines)
    assert desk.ratchet(*words).code == 0


def test_a_comment_holds_names_that_would_break_a_table_or_a_page(desk):
    name = "a|b `x` <b>c</b>"
    desk.write("a.jsonl", [{"id": n, name: int(n < 150)} for n in range(200)])
    desk.write("b.jsonl", [{"id": n, name: int(n < 100)} for n in range(200)])
    out = desk.ratchet("verdict", "a.jsonl", "b.jsonl", "--format", "md").out
    rows = [line for line in out.splitlines() if line.startswith("| primary")]
    assert rows[0].startswith(r"| primary a\|b \`x\` &lt;b&gt;c&lt;/b&gt; |")
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 7
    assert "<b>" not in out

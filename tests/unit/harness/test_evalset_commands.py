"""`ratchet evalset new|check|import`, through the command line."""

from __future__ import annotations

import json

import pytest
import yaml

from harness.evalset import load
from harness.evalset.write import split_by_hash


def items(desk, name: str) -> list[dict]:
    return [json.loads(line) for line in (desk.root / "evalsets" / name / "items.jsonl").read_text().splitlines()]


def made(desk, *arguments: object) -> dict:
    outcome = desk.ratchet("evalset", "import", *arguments, "--format", "json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_a_new_evalset_proves_itself_and_is_not_written_over(desk):
    assert "next: write items" in desk.ratchet("evalset", "new", "mine").out
    assert sorted(path.name for path in (desk.root / "evalsets/mine").iterdir()) == [
        "README.md", "evalset.yaml", "items.jsonl",
    ]  # fmt: skip
    assert desk.ratchet("evalset", "check", "mine").code == 0
    before = (desk.root / "evalsets/mine/items.jsonl").read_text()
    assert desk.ratchet("evalset", "new", "mine").error.endswith(
        "mine exists. choose another name, or remove the folder."
    )
    assert (desk.root / "evalsets/mine/items.jsonl").read_text() == before
    assert "is not a valid name" in desk.ratchet("evalset", "new", "../up").error
    assert "is not a valid name" in desk.ratchet("evalset", "new", "a.b").error


def test_check_counts_and_says_what_can_be_seen(desk):
    rows = [
        {"id": f"i{n}", "prompt": f"q{n}", "gold": ["a"], "split": "dev" if n < 20 else "release", "topic": n // 4,
         "tags": ["hard"] if n % 2 else []}
        for n in range(120)
    ]  # fmt: skip
    metrics = {"m": {"scorer": "exact"}, "s": {"scorer": "latency"}, "b": {"scorer": "bleu"}}
    desk.evalset("e", rows, cluster="topic", metrics=metrics)
    facts = json.loads(desk.ratchet("evalset", "check", "e", "--format", "json").out)
    assert facts["splits"] == {
        "dev": {"items": 20, "clusters": 5, "largest_cluster": 4},
        "release": {"items": 100, "clusters": 25, "largest_cluster": 4},
    }
    assert facts["tags"] == {"hard": 60}
    assert facts["metrics"]["s"]["visible"] is None
    assert facts["metrics"]["b"]["aggregate"] == "bleu"
    # sd √0.1, effect 1 + 3·0.1, 100 items: error 0.0361; t quantiles of 24 degrees for 97.5 % and 80 %: 2.06 + 0.86.
    assert facts["metrics"]["m"]["visible"] == pytest.approx(0.0361 * 2.92, rel=0.03)
    text = desk.ratchet("evalset", "check", "e").out
    assert "release: 100 items in 25 clusters, the largest of 4" in text
    assert "m: exact, share, up is better; release shows differences from 0.10" in text


def test_check_names_what_is_wrong_or_worth_knowing(desk):
    desk.evalset("bad", [{"id": "1", "prompt": "q", "gold": ["a"], "wrong": ["A "]}])
    assert "wrong answer 'A ' gets full marks" in desk.ratchet("evalset", "check", "bad").error
    rows = [{"id": "1", "prompt": "Q", "gold": ["a"], "topic": "t", "split": "dev"},
            {"id": "2", "prompt": " q ", "gold": ["a"], "topic": "t"}]  # fmt: skip
    desk.evalset("odd", rows, cluster="topic", metrics={"n": {"scorer": "length"}})
    notes = json.loads(desk.ratchet("evalset", "check", "odd", "--format", "json").out)["notes"]
    assert [note.split(",")[0] for note in notes] == [
        "1 prompts stand in more than one split",
        "1 clusters stand in more than one split",
        "1 items repeat another item's prompt",
        "lengths and latencies only: nothing here tells a right answer from a wrong one",
    ]
    desk.evalset("dev", [{**rows[0]}])
    notes = json.loads(desk.ratchet("evalset", "check", "dev", "--format", "json").out)["notes"]
    assert notes == ["no release items: a verdict needs some"]


def test_check_says_the_size_of_every_split_and_what_it_can_show(desk):
    text = desk.ratchet("evalset", "check", "mini").out
    assert "dev: 10 items, each a cluster of its own" in text
    assert "release: 40 items, each a cluster of its own" in text
    assert "size: of candidates that get " in text
    assert "these 40 release items; half that difference takes about 160" in text
    rows = [{"id": f"i{n}", "prompt": f"q{n}", "gold": ["a"]} for n in range(3)]
    desk.evalset("few", rows, metrics={"m": {"scorer": "exact"}, "s": {"scorer": "latency"}})
    text = desk.ratchet("evalset", "check", "few").out
    assert "size: 3 release items show only very large differences: aim at 300 or more" in text
    assert "latency, s, down is better; what release can show is known once two subjects are scored" in text
    desk.evalset("one", rows[:1])
    assert "release has too few items to show any difference" in desk.ratchet("evalset", "check", "one").out


def test_splits_follow_the_cluster_and_never_move():
    found = [split_by_hash(f"c{n}") for n in range(5000)]
    assert found == [split_by_hash(f"c{n}") for n in range(5000)]
    assert 0.18 < found.count("dev") / 5000 < 0.22
    assert {split_by_hash(str(n), 0.0) for n in range(50)} == {"release"}
    assert {split_by_hash(str(n), 1.0) for n in range(50)} == {"dev"}


def test_csv_rows_that_are_not_whole_are_left_out_by_line_and_counted(desk):
    desk.write("q.csv", 'prompt,gold,output\nq1,a,x\nq2,,x\n ,b,x\nq4,c,x,extra\n"q5\n",d,x\nq6\nq7,e,x\n')
    found = made(desk, "csv", "q.csv", "--name", "sheet")
    assert (found["items"], [item["gold"] for item in items(desk, "sheet")]) == (3, [["a"], ["d"], ["e"]])
    assert found["left_out"] == [
        "4 rows not whole (line 3: no 'gold'; line 4: no 'prompt'; line 5: more values than columns; line 8: no 'gold')"
    ]
    assert "4 rows not whole" in (desk.root / "evalsets/sheet/README.md").read_text()
    strict = desk.ratchet("evalset", "import", "csv", "q.csv", "--name", "other", "--strict")
    assert "q.csv:3: no 'gold' (and 3 more rows). fill it on every row" in strict.error
    assert not (desk.root / "evalsets/other").exists()


def test_csv(desk):
    lines = ["question,answer,wrong,customer,level"] + [f"What is {n}?,{n},x{n},c{n % 10},easy" for n in range(60)]
    desk.write("q.csv", "\n".join([*lines, "what is  3?,3,,c3,easy"]) + "\n")
    found = made(desk, "csv", "q.csv", "--name", "sheet", "--cluster", "customer", "--dev-share", "0.5")
    assert (found["items"], sum(found["splits"].values())) == (60, 60)
    assert found["left_out"] == ["1 items whose prompt another item has"]
    rows = items(desk, "sheet")
    assert rows[0] == {"id": "i-00002", "cluster": "c0", "prompt": "What is 0?", "gold": ["0"], "wrong": ["x0"],
                       "level": "easy", "split": rows[0]["split"]}  # fmt: skip
    assert len({(row["cluster"], row["split"]) for row in rows}) == 10, "a cluster has one split"
    assert desk.ratchet("evalset", "check", "sheet").code == 0


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("a,b\n1,2\n", [], "q.csv:2: no prompt. name a column prompt, input, question"),
        ("prompt,gold\nq,\n", ["--strict"], "q.csv:2: no 'gold'"),
        ("prompt,gold\nq,\n", [], "q.csv: no item could be taken over. 1 row not whole (line 2: no 'gold')"),
        ("prompt,gold,c\nq,a,\n", ["--cluster", "c", "--strict"], "q.csv:2: no 'c'. fill it on every row"),
        ("prompt,gold\nq,a\nr,\ns,\n", ["--strict"], "q.csv:3: no 'gold' (and 1 more rows)"),
        ("prompt,gold\n", [], "q.csv: no item could be taken over"),
        ("prompt,gold,split\nq,a,test\n", [], "evalsets/sheet/items.jsonl:1: split: Input should be 'tune', 'dev'"),
        ("prompt,gold,wrong\nq,a,A\n", [], "wrong answer 'A' gets full marks"),
        ("prompt,gold\nq,a\n", ["--scorer", "exakt"], "scorer 'exakt' is unknown"),
    ],
)
def test_a_file_that_cannot_be_imported_leaves_nothing(desk, text, options, said):
    desk.write("q.csv", text)
    assert said in desk.ratchet("evalset", "import", "csv", "q.csv", "--name", "sheet", *options).error
    assert sorted(path.name for path in (desk.root / "evalsets").iterdir()) == ["mini"]


def test_openai_evals(desk):
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "Ann", "content": "Capital of Styria?"},
    ]
    rows = [
        {"input": turns, "ideal": ["Graz", "graz."]},
        {"input": "2+2", "ideal": "4"},
        {"input": "no ideal"},
        {"x": 1},
    ]
    desk.write("s.jsonl", rows)
    found = made(desk, "openai-evals", "s.jsonl", "--name", "oai", "--scorer", "contains")
    assert found["items"] == 2
    assert found["left_out"][:2] == ["2 rows without a text or messages as input, and an ideal answer",
                                     "speakers' names in 1 rows"]  # fmt: skip
    first = items(desk, "oai")[0]
    assert (first["prompt"][1], first["gold"]) == ({"role": "user", "content": "Capital of Styria?"}, ["Graz", "graz."])


PROMPTFOO = """
description: shop
providers: [openai:gpt]
prompts:
  - "Answer {{tone}}: {{question}}"
  - '[{"role": "system", "content": "{{tone}}"}, {"role": "user", "content": "{{question}}"}]'
defaultTest:
  vars: {tone: politely}
  assert: [{type: not-icontains, value: sorry}]
tests:
  - vars: {question: "Where is Graz?", place: Styria}
    assert:
      - {type: icontains, value: "{{place}}", weight: 2}
      - {type: llm-rubric, value: is kind}
  - vars: {question: [a, b]}
  - file://more.csv
"""


def test_promptfoo(desk):
    desk.write("promptfooconfig.yaml", PROMPTFOO)
    found = made(desk, "promptfoo", "promptfooconfig.yaml", "--name", "foo")
    assert found["left_out"] == [
        "keys providers", "1 assertions of type llm-rubric", "1 tests in other files", "1 tests whose vars are lists",
    ]  # fmt: skip
    first, second = items(desk, "foo")
    assert first["prompt"] == "Answer politely: Where is Graz?"
    assert second["prompt"][0] == {"role": "system", "content": "politely"}
    assert first["assert"] == [{"type": "not-icontains", "value": "sorry", "weight": 1},
                               {"type": "icontains", "value": "Styria", "weight": 2}]  # fmt: skip
    assert first["cluster"] == second["cluster"] == "t0001"
    assert load("foo").definition.metrics["assertions"].scorer == "assertions"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompts: [a]\n", "tests is not a list"),
        ("tests: [{vars: {a: 1}}]\n", "prompts is missing"),
        ("prompts: ['{{b}}']\ntests: [{vars: {a: 1}, assert: [{type: is-json}]}]\n", "'b' is undefined"),
        ("prompts: ['file://../../secret.txt']\ntests: []\n", "cannot be read"),
        ("prompts: [a]\ntests: [{assert: [{type: similar, value: x}]}]\n", "1 assertions of type similar"),
    ],
)
def test_promptfoo_that_cannot_be_read(desk, text, said):
    desk.write("p.yaml", text)
    assert said in desk.ratchet("evalset", "import", "promptfoo", "p.yaml", "--name", "foo").error


def test_captured_traffic_takes_what_people_corrected(desk):
    rows = [
        {
            "id": "r1",
            "messages": [{"role": "user", "content": "q1"}],
            "answer": "bad",
            "corrected": "good",
            "user": "u1",
        },
        {"id": "r2", "messages": [{"role": "user", "content": "q2"}], "answer": "fine", "user": "u2"},
    ]
    desk.write("c.jsonl", rows)
    found = made(desk, "captured", "c.jsonl", "--name", "cap", "--cluster", "user", "--scorer", "exact")
    assert found["items"] == 1
    assert found["left_out"] == ["1 rows that nobody corrected (--trust-answers takes their answers as right)"]
    (row,) = items(desk, "cap")
    assert (row["gold"], row["wrong"], row["cluster"]) == (["good"], ["bad"], "u1")
    assert made(desk, "captured", "c.jsonl", "--name", "all", "--trust-answers")["items"] == 2
    desk.write("c.jsonl", [{"messages": [{"role": "robot", "content": "x"}]}])
    assert (
        "c.jsonl:1: messages has a turn"
        in desk.ratchet("evalset", "import", "captured", "c.jsonl", "--name", "b").error
    )


def test_lm_eval_tasks_come_with_their_local_data(desk):
    desk.write("tasks/d/quiz.jsonl", [{"q": "a"}])
    task = "task: quiz\ndataset_path: json\ndataset_kwargs:\n  data_files: {test: tasks/d/quiz.jsonl}\n"
    desk.write("tasks/quiz.yaml", task + "process_docs: !function utils.prepare\n")
    desk.write("tasks/hub.yaml", "task: hub\ndataset_path: someone/quiz\n")
    desk.write("tasks/utils.py", "def prepare(docs): return docs\n")
    found = made(desk, "lm-eval", "tasks", "--name", "lm")
    assert found["left_out"] == ["the data of hub.yaml: someone/quiz must lie in the local cache of `datasets`"]
    folder = desk.root / "evalsets/lm"
    assert "evalsets/lm/quiz.jsonl" in (folder / "quiz.yaml").read_text()
    assert "!function utils.prepare" in (folder / "quiz.yaml").read_text()
    assert (folder / "utils.py").is_file()
    definition = yaml.safe_load((folder / "evalset.yaml").read_text())
    assert (definition["kind"], definition["tasks"], definition["items"]) == ("lm_eval", ["hub", "quiz"], "quiz.jsonl")
    assert "task quiz" in desk.ratchet("evalset", "check", "lm").out
    desk.write("tasks/quiz.yaml", task.replace("d/quiz", "d/gone"))
    assert "data file 'tasks/d/gone.jsonl' does not exist" in desk.ratchet(
        "evalset", "import", "lm-eval", "tasks", "--name", "lm2"
    ).error  # fmt: skip
    assert "has no lm-eval task" in desk.ratchet("evalset", "import", "lm-eval", "evalsets/mini", "--name", "lm3").error

"""`ratchet campaign …` as a person uses it, with the fake as every endpoint: from prompts to exported rows."""

from __future__ import annotations

import json

import pytest

from harness import campaign as campaigns
from harness import store
from harness.campaign import purpose_of
from harness.core.rating import Vote, Written
from serve.fake import Script

PROMPTS = [{"id": f"q{n}", "prompt": f"Ask {n}", "cluster": f"c{n}"} for n in range(60)]
OURS = {purpose: [row for row in PROMPTS if purpose_of(row["cluster"]) == purpose] for purpose in ("train", "judge")}
WORDS = ("water", "bread", "a walk by the sea", "music", "the window", "my coat", "some rest", "the red book")


@pytest.fixture
def subjects(serving):
    """Three servers. Plain and warm never say the same; poor fails to differ from plain on every fourth prompt."""
    plain = {f"Ask {n}": f"{WORDS[n % 8]} number {n} please" for n in range(60)}
    warm = {f"Ask {n}": f"Would you be so kind as to bring {WORDS[n % 8]}? Thank you, {n}!" for n in range(60)}
    poor = {f"Ask {n}": plain[f"Ask {n}"] if n % 4 == 0 else f"no {n}" for n in range(60)}
    found = []
    for name, answers in (("plain", plain), ("warm", warm), ("poor", poor)):
        url = serving(Script(base=name, answers={"*": answers}))
        found.append(json.dumps({"endpoint": {"base_url": f"{url}/v1", "model": name}}))
    return found


@pytest.fixture
def pool(desk):
    return desk.write("pool.jsonl", PROMPTS)


def create(desk, *arguments, name="style"):
    done = desk.ratchet(
        "campaign", "create", name, *arguments, "--pool", "pool.jsonl", "--name", "desk", "--format", "json"
    )
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_two_endpoints_make_a_campaign_of_one_purpose(desk, pool, subjects):
    made = create(desk, subjects[0], subjects[1])
    assert (made["pairs"], made["refused"]["other_purpose"]) == (len(OURS["train"]), len(OURS["judge"]))
    assert made["purpose"] == "train"
    record, pairs = campaigns.read_whole(desk.lab, "style")
    assert {pair.cluster for pair in pairs} == {row["cluster"] for row in OURS["train"]}
    repeats = [pair for pair in pairs if pair.role == "repeat"]
    assert len(repeats) == record.sampling["repeats"] == int(0.05 * record.pairs) > 0
    assert {pair.repeat_of for pair in repeats} <= {pair.pair_id for pair in pairs if pair.role == "main"}
    other = create(desk, subjects[0], subjects[1], "--purpose", "judge", name="decide")
    assert other["pairs"] == len(OURS["judge"])


def test_a_dry_run_counts_and_asks_nobody(desk, pool):
    gone = [json.dumps({"endpoint": {"base_url": "http://127.0.0.1:9/v1", "model": name}}) for name in ("x", "y", "z")]
    done = desk.ratchet("campaign", "create", "style", *gone, "--pool", "pool.jsonl", "--name", "desk", "--dry-run",
                        "--overlap", "0.2", "--format", "json")  # fmt: skip
    found = json.loads(done.out)
    ours = len(OURS["train"])
    assert (found["answers"], found["pairs_at_most"]) == (3 * ours, 3 * ours)
    assert found["refused"] == {"other_purpose": 60 - ours}
    assert found["question"]["decisive_votes"] == 194
    assert not desk.lab.campaigns.exists()
    text = desk.ratchet("campaign", "create", "style", *gone, "--pool", "pool.jsonl", "--name", "desk", "--dry-run")
    assert "a true win rate of 60 % shows with 194 decisive votes" in text.out
    assert "too few" in text.out


def test_three_subjects_are_compared_in_all_or_chosen_pairs(desk, pool, subjects):
    ours = OURS["train"]
    alike = sum(int(row["id"][1:]) % 4 == 0 for row in ours)
    made = create(desk, *subjects, "--repeats", "0")
    assert made["pairs"] == 3 * len(ours) - alike
    assert made["refused"]["identical"] == alike
    chosen = create(desk, *subjects, "--pair", "1:2", "--pair", "2:3", name="chosen")
    assert chosen["pairs"] == 2 * len(ours)
    asked = {(pair.a.subject, pair.b.subject) for pair in campaigns.read(desk.lab, "chosen")[1]}
    assert asked == {("endpoint plain", "endpoint warm"), ("endpoint warm", "endpoint poor")}


def test_pairs_are_drawn_with_their_probability(desk, pool, subjects):
    made = create(desk, subjects[0], subjects[2], "--pairs", "16", "--overlap", "0.25")
    assert (made["overlap"], made["sampling"]["pool"] > 16) == (0.25, True)
    _, pairs = campaigns.read(desk.lab, "style")
    assert {pair.arm for pair in pairs} == {"uniform", "informative"}
    assert all(0 < pair.inclusion < 1 for pair in pairs)
    assert sum(pair.arm == "uniform" for pair in pairs) == made["sampling"]["uniform"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{prompt: 3", "base"), "not YAML"),
        (("{few_shot: 3}", "base"), "a campaign does not take few_shot"),
        (("base", "base"), "no adapter among the subjects says which base is meant"),
        (("{endpoint: {base_url: 'http://x/v1', model: m}}",), "compares two or more subjects"),
        (("base", "base", "--kind", "write"), "a campaign of drafts has one subject, not 2"),
        (("base", "base", "--pair", "1:3"), "there are 2 subjects"),
        (("base", "base", "--base", "base", "--calibration", "known.jsonl"), "known.jsonl:1: 'explanation' is missing"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line_and_leaves_nothing(desk, pool, arguments, said):
    desk.write("known.jsonl", [{"prompt": "Say it", "a": "It.", "b": "No.", "expected": "a"}])
    failed = desk.ratchet("campaign", "create", "style", *arguments, "--pool", "pool.jsonl", "--name", "desk")
    assert said in failed.error
    assert not desk.lab.campaigns.exists()


def test_release_items_are_never_shown_and_dev_is_for_judging_only(desk, subjects):
    command = ("campaign", "create", "style", *subjects[:2], "--pool", "evalset:mini", "--name", "desk", "--dry-run")
    assert "nothing is trained on dev" in desk.ratchet(*command).error
    judge = json.loads(desk.ratchet(*command, "--purpose", "judge", "--format", "json").out)
    assert judge["prompts"] == 10, "of 10 dev and 40 release items"


def test_a_base_stands_beside_itself_with_a_prompt(desk, pool, monkeypatch):
    """No engine is started for a dry run; the system prompt's file is read and its hash tells the two apart."""
    from harness.pipeline import answering

    desk.write("warm.txt", "Answer warmly.")
    found = answering.find(desk.lab, ["base", "{prompt: warm.txt}"], base="base")
    assert [one.preface for one in found.each] == [[], [{"role": "system", "content": "Answer warmly."}]]
    assert len({subject.identity for subject in found.subjects}) == 2
    door = answering.Door("http://127.0.0.1:9", {}, chat=False)
    asked = answering.ask(door, found.each[1], [{"role": "user", "content": "Hello"}], {})
    assert asked.prompt == "Answer warmly.\n\nHello"
    dry = desk.ratchet("campaign", "create", "style", "base", "{prompt: warm.txt}", "--base", "base", "--pool",
                       "pool.jsonl", "--name", "desk", "--dry-run")  # fmt: skip
    assert dry.code == 0, dry.err


# --- steering ---------------------------------------------------------------------------------------------------


def test_a_lead_looks_closes_pauses_and_adds_gold(desk, pool, subjects):
    desk.write(
        "known.jsonl", [{"prompt": "Say it", "a": "It.", "b": "No.", "expected": "a", "explanation": "As asked."}]
    )
    create(desk, *subjects[:2], "--calibration", "known.jsonl", "--repeats", "0")
    assert campaigns.open_handout(desk.lab, "style")[0].next("ann").pair.explanation == "As asked."
    assert "1 gold pairs added" in desk.ratchet("campaign", "add-gold", "style", "known.jsonl").out
    assert "0 gold pairs added" in desk.ratchet("campaign", "add-gold", "style", "known.jsonl").out
    for command, state in (("close", "closed"), ("reopen", "open")):
        assert desk.ratchet("campaign", command, "style").code == 0
        shown = json.loads(desk.ratchet("campaign", "show", "style", "--format", "json").out)
        assert (shown["state"], shown["extra"]) == (state, {"calibration": 1, "gold": 1})
    assert desk.ratchet("campaign", "pause", "style", "ann").code == 0
    assert campaigns.open_handout(desk.lab, "style")[0].next("ann") is None
    assert desk.ratchet("campaign", "resume", "style", "ann").code == 0
    assert campaigns.open_handout(desk.lab, "style")[0].next("ann") is not None
    assert "has no main pair 'px'" in desk.ratchet("campaign", "reopen", "style", "--pair", "px").error
    assert "no campaign 'stile'" in desk.ratchet("campaign", "close", "stile").error
    text = desk.ratchet("campaign", "show", "style")
    assert "1 calibration, 1 gold" in text.out


def vote_all(desk, campaign: str, choice: str = "left") -> int:
    handout, votes, _ = campaigns.open_handout(desk.lab, campaign)
    count = 0
    while found := handout.next("ann"):
        at = f"2026-11-20T09:{count // 60:02}:{count % 60:02}.000+00:00"
        votes.add(
            Vote.model_validate(
                {"assignment": found.name, "campaign": campaign, "pair_id": found.pair.pair_id, "rater": "ann",
                 "left": found.left, "choice": choice, "shown_at": at, "at": at, "take": found.take}
            )
        )  # fmt: skip
        count += 1
    return count


def test_votes_for_judging_never_train_and_votes_for_training_never_decide(desk, pool, subjects):
    from harness.pipeline.votes import campaign_scores

    create(desk, *subjects[:2], "--purpose", "judge", name="decide")
    assert vote_all(desk, "decide") == len(OURS["judge"])
    failed = desk.ratchet("next", "desk", "--primary", "mini/exact")
    assert "votes on decide are for judging, for good: they never train" in failed.error
    create(desk, *subjects[:2], name="learn")
    vote_all(desk, "learn")
    splits = {one.split for one in campaign_scores(desk.lab, ["human/learn/win"])}
    assert splits == {"train"}, "which the gate refuses"
    assert {one.split for one in campaign_scores(desk.lab, ["human/decide/win"])} == {"release"}


def test_only_the_uniform_half_decides_and_extra_pairs_never_count(desk, pool, subjects):
    from harness.pipeline.votes import campaign_scores

    desk.write("known.jsonl", [{"prompt": "Say it", "a": "It.", "b": "No.", "expected": "a"}])
    create(desk, subjects[0], subjects[2], "--purpose", "judge", "--pairs", "10", "--repeats", "0", name="decide")
    desk.ratchet("campaign", "add-gold", "decide", "known.jsonl")
    record, pairs = campaigns.read(desk.lab, "decide")
    assert vote_all(desk, "decide") == record.pairs + 1
    assert len(campaigns.read_votes(desk.lab, "decide")) == record.pairs
    first, _ = campaign_scores(desk.lab, ["human/decide/win"])
    assert set(first.values) == {pair.pair_id for pair in pairs if pair.arm == "uniform"}
    create(desk, *subjects, "--purpose", "judge", name="three")
    with pytest.raises(Exception, match="has 3 subjects, so it has no win rate"):
        campaign_scores(desk.lab, ["human/three/win"])


def test_gold_and_repeats_are_in_the_store_by_their_role(desk, pool, subjects):
    desk.write("known.jsonl", [{"prompt": "Say it", "a": "It.", "b": "No.", "expected": "a"}])
    made = create(desk, *subjects[:2], "--repeats", "0.1")
    query = "select role, count(*) n from pairs group by role order by role"
    store.ingest(desk.lab)
    before = {row["role"]: row["n"] for row in json.loads(desk.ratchet("sql", query, "--format", "json").out)}
    assert before == {"main": made["pairs"], "repeat": made["sampling"]["repeats"]}
    desk.ratchet("campaign", "add-gold", "style", "known.jsonl")
    vote_all(desk, "style")
    store.ingest(desk.lab)
    after = {row["role"]: row["n"] for row in json.loads(desk.ratchet("sql", query, "--format", "json").out)}
    assert after == before | {"gold": 1}
    right = "select count(*) n from votes v join pairs p using (campaign, pair_id) where p.role = 'gold'"
    assert json.loads(desk.ratchet("sql", right, "--format", "json").out) == [{"n": 1}]


def test_captured_calls_are_a_pool(desk, subjects):
    """Rows as `ratchet capture export --as pool` writes them: turns, the call's id, and its user as the cluster."""
    rows = [
        {"id": f"call-{n}", "prompt": [{"role": "user", "content": f"Ask {n}"}], "cluster": f"user-{n % 7}", "at": "t"}
        for n in range(40)
    ]
    desk.write("pool.jsonl", rows)
    made = create(desk, *subjects[:2], "--repeats", "0")
    ours = [row for row in rows if purpose_of(row["cluster"]) == "train"]
    assert (made["pairs"], made["refused"]["other_purpose"]) == (len(ours), 40 - len(ours))
    _, pairs = campaigns.read(desk.lab, "style")
    assert {pair.item_id for pair in pairs} == {row["id"] for row in ours}, "by which `capture erase` finds them"


# --- drafts -----------------------------------------------------------------------------------------------------


def write_all(desk, campaign: str) -> None:
    """ann corrects every draft but the first, which she leaves; bo accepts all but the last."""
    record, pairs = campaigns.read(desk.lab, campaign)
    log = campaigns.ActLog(campaigns.folder(desk.lab, campaign))
    desk_of = campaigns.Writing(record, pairs, log)
    for number, pair in enumerate(pairs):
        text = pair.a.text if number == 0 else f"{pair.a.text} Gladly."
        for step, who, more in (
            ("write", "ann", {"text": text}),
            ("review", "bo", {"accepted": number < len(pairs) - 1}),
        ):
            values = {"event_id": f"{step}/{number}", "campaign": campaign, "who": who, "pair_id": pair.pair_id}
            at = f"2026-11-20T09:{number:02}:0{int(step == 'review')}.000+00:00"
            assert desk_of.submit(Written.model_validate(values | {"at": at, "step": step} | more))


def test_drafts_become_sft_rows_and_edited_over_draft(desk, pool, subjects):
    made = create(desk, subjects[0], "--kind", "write")
    count = len(OURS["train"])
    assert (made["kind"], made["pairs"]) == ("write", count)
    assert "no text that a second person accepted" in desk.ratchet(
        "campaign", "export", "style", "--out", "sft.jsonl", "--as", "trl-sft"
    ).error  # fmt: skip
    write_all(desk, "style")
    assert desk.ratchet("campaign", "export", "style", "--out", "sft.jsonl", "--as", "trl-sft").code == 0
    assert desk.ratchet("campaign", "export", "style", "--out", "dpo.jsonl", "--as", "trl-preference").code == 0
    sft, dpo = (
        [json.loads(line) for line in (desk.root / name).read_text().splitlines()]
        for name in ("sft.jsonl", "dpo.jsonl")
    )
    assert (len(sft), len(dpo)) == (count - 1, count - 2)
    assert all(row["chosen"][0]["content"] == f"{row['rejected'][0]['content']} Gladly." for row in dpo)
    assert {(row["writer"], row["reviewer"], row["campaign"]) for row in sft} == {("ann", "bo", "style")}
    shown = json.loads(desk.ratchet("campaign", "show", "style", "--format", "json").out)
    assert (shown["accepted"], shown["to_write"], shown["to_review"]) == (count - 1, 1, 0)
    again = desk.ratchet("campaign", "export", "style", "--out", "sft.jsonl", "--as", "trl-sft")
    assert "exists" in again.error
    create(desk, subjects[0], "--kind", "write", "--purpose", "judge", name="judged")
    assert (
        "nothing of it is trained on"
        in desk.ratchet("campaign", "export", "judged", "--out", "x.jsonl", "--as", "trl-sft").error
    )

"""Campaigns: what is worth rating, files that are whole or absent, and votes that count once."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from harness import campaign as campaigns
from harness.core.errors import InputError, LabError
from harness.core.journal import segments
from harness.core.paths import Lab
from harness.core.rating import Answer, CampaignRecord, Pair, Vote
from harness.core.records import DataRef, Subject

SUBJECTS = (
    Subject(kind="adapter", label="aac@v1", model="run-aaaaaaaaaaaa", base_sha256="0" * 64),
    Subject(kind="base", label="base", model="tiny", base_sha256="0" * 64),
)


def answer(text: str, finish_reason: str = "stop") -> Answer:
    return Answer(subject="s", model="m", text=text, finish_reason=finish_reason)


def pairs_of(texts: dict[str, tuple[Answer | None, Answer | None]], seed: int = 0) -> tuple[list[Pair], dict[str, int]]:
    items = [campaigns.PoolItem(item, "c", [{"role": "user", "content": f"Say {item}"}]) for item in texts]
    a, b = ({item: both[side] for item, both in texts.items()} for side in (0, 1))
    return campaigns.make_pairs(items, a, b, SUBJECTS, seed)


def make_campaign(lab: Lab, count: int = 3, name: str = "style") -> list[Pair]:
    pairs, refused = pairs_of({f"i{n}": (answer(f"left {n}"), answer(f"right words {n}")) for n in range(count)})
    pool = DataRef(path="pool.jsonl", sha256="0" * 64, rows=count, format="prompt")
    record = CampaignRecord(
        campaign=name, name="aac", subjects=list(SUBJECTS), pool=pool, decoding={}, pairs=len(pairs), refused=refused,
        seed=7, created="2026-11-20T00:00:00+00:00",
    )  # fmt: skip
    campaigns.write(lab, record, pairs)
    return pairs


def vote(pair: Pair, rater: str = "ann", choice: str = "left", at: str = "2026-11-20T00:00:01.000+00:00") -> Vote:
    return Vote.model_validate(
        {
            "assignment": f"style/{pair.pair_id}/{rater}", "campaign": "style", "pair_id": pair.pair_id, "rater": rater,
            "left": "a", "choice": choice, "shown_at": at, "at": at,
        }
    )  # fmt: skip


# --- pairs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        (None, answer("I want water."), "missing"),
        (answer("  \n"), answer("I want water."), "missing"),
        (answer("I want water, and", "length"), answer("I want water."), "truncated"),
        (answer("I am Qwen, made by someone."), answer("I want water."), "names_itself"),
        (answer("As said by aac@v1: water."), answer("I want water."), "names_itself"),
        (answer("I want  Water. "), answer("i want water."), "identical"),
        (answer("I want water!"), answer("I want water."), "near_identical"),
        (answer("word " * 60 + "end"), answer("word " * 60 + "stop"), "near_identical"),
    ],
)
def test_pairs_not_worth_a_look_are_refused_by_reason(a: Answer | None, b: Answer | None, reason: str) -> None:
    pairs, refused = pairs_of({"i1": (a, b)})
    assert pairs == []
    assert refused == {name: int(name == reason) for name in campaigns.REFUSALS}


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("You want water?", "You want water."),  # asking is not telling
        ("I want water.", "I want the water."),
        ("👍", "👎"),
        ("-5", "5"),
        ("The base of the hill.", "The hill's foot."),  # 'base' is a label, and an ordinary word
        ("你好", "您好"),
    ],
)
def test_differences_that_people_hear_are_kept(a: str, b: str) -> None:
    pairs, refused = pairs_of({"i1": (answer(a), answer(b))})
    assert (pairs[0].a.text, pairs[0].b.text) == (a, b)
    assert sum(refused.values()) == 0


def test_the_order_comes_from_the_seed_and_the_content_alone() -> None:
    texts: dict[str, tuple[Answer | None, Answer | None]]
    texts = {f"i{n}": (answer(f"one {n}"), answer(f"two more {n}")) for n in range(20)}
    backwards = dict(reversed(texts.items()))
    assert pairs_of(texts, seed=1) == pairs_of(backwards, seed=1)
    assert [p.item_id for p in pairs_of(texts, seed=1)[0]] != [p.item_id for p in pairs_of(texts, seed=2)[0]]


def test_an_item_that_occurs_twice_is_an_error() -> None:
    item = campaigns.PoolItem("i1", "c", [{"role": "user", "content": "Say"}])
    with pytest.raises(InputError, match="'i1' occurs twice"):
        campaigns.make_pairs([item, item], {}, {}, SUBJECTS, 0)


# --- files ------------------------------------------------------------------------------------------------------


def test_a_campaign_is_read_back_as_written(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    pairs = make_campaign(lab)
    record, read = campaigns.read(lab, "style")
    assert read == pairs
    assert record.pairs == 3
    assert campaigns.list_all(lab) == [record]
    with pytest.raises(InputError, match="exists already"):
        make_campaign(lab)


def test_without_its_record_a_campaign_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(tmp_path)
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "campaign.record")
    with pytest.raises(LabError, match="disk is full"):
        make_campaign(lab)
    with pytest.raises(InputError, match="no campaign 'style'"):
        campaigns.read(lab, "style")
    monkeypatch.delenv("RATCHET_FULL_DISK_AT")
    make_campaign(lab)
    assert len(campaigns.read(lab, "style")[1]) == 3


def test_bad_names_and_empty_campaigns_say_what_to_do(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    make_campaign(lab)
    with pytest.raises(InputError, match="did you mean style"):
        campaigns.read(lab, "stile")
    with pytest.raises(InputError, match="not a valid name"):
        campaigns.read(lab, "../keys")
    record = campaigns.read(lab, "style")[0].model_copy(update={"campaign": "other", "refused": {"identical": 4}})
    with pytest.raises(InputError, match=r"no pair to rate \(4 identical\)"):
        campaigns.write(lab, record, [])


def test_pairs_that_do_not_match_the_record_are_damage(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    make_campaign(lab)
    path = campaigns.folder(lab, "style") / "pairs.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(LabError, match="has 2 pairs, its record says 3"):
        campaigns.read(lab, "style")


# --- votes ------------------------------------------------------------------------------------------------------


def test_the_first_vote_of_an_assignment_wins(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    pair, other, _ = make_campaign(lab)
    log = campaigns.VoteLog(campaigns.folder(lab, "style"))
    assert log.add(vote(pair, choice="left"))
    assert not log.add(vote(pair, choice="right"))
    assert log.add(vote(pair, rater="bo", choice="tie"))
    assert {name: vote.choice for name, vote in log.of("ann").items()} == {pair.pair_id: "left"}
    assert log.add(vote(other))
    assert len(campaigns.read_votes(lab, "style")) == 3


def test_two_processes_write_segments_of_their_own_and_see_each_other(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    pairs = make_campaign(lab)
    place = campaigns.folder(lab, "style")
    one, two = campaigns.VoteLog(place), campaigns.VoteLog(place)
    assert one.add(vote(pairs[0]))
    assert two.add(vote(pairs[1]))
    assert not one.add(vote(pairs[1], choice="right"))
    assert len(segments(place, campaigns.VOTES)) == 2
    assert set(one.of("ann")) == set(two.of("ann")) == {pairs[0].pair_id, pairs[1].pair_id}


def test_where_both_wrote_at_once_the_earlier_counts_for_every_reader(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    pair = make_campaign(lab)[0]
    place = campaigns.folder(lab, "style")
    late = vote(pair, choice="right", at="2026-11-20T00:00:02.000+00:00")
    early = vote(pair, choice="left", at="2026-11-20T00:00:01.999+00:00")
    for number, written in enumerate((late, early)):  # the older segment holds the later vote
        (place / f"votes-{number:020d}-abcdef.jsonl").write_text(json.dumps(written.model_dump()) + "\n")
    assert [vote.choice for vote in campaigns.read_votes(lab, "style")] == ["left"]


def test_a_torn_vote_was_never_given_and_does_not_harm_the_next(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    pairs = make_campaign(lab)
    place = campaigns.folder(lab, "style")
    line = json.dumps(vote(pairs[0]).model_dump())
    (place / "votes-00000000000000000000-abcdef.jsonl").write_text(line + "\n" + line[:40])
    log = campaigns.VoteLog(place)
    assert log.add(vote(pairs[1]))
    assert len(log.votes()) == 2


def test_a_full_disk_adds_nothing_and_the_vote_can_be_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path)
    pair = make_campaign(lab)[0]
    log = campaigns.VoteLog(campaigns.folder(lab, "style"))
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "vote.event")
    with pytest.raises(LabError, match="disk is full"):
        log.add(vote(pair))
    assert log.votes() == {}
    monkeypatch.delenv("RATCHET_FULL_DISK_AT")
    assert log.add(vote(pair))
    assert len(campaigns.read_votes(lab, "style")) == 1


def test_a_killed_process_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    pairs = make_campaign(lab)
    script = (
        "import os, sys; from pathlib import Path\n"
        "from harness import campaign as c; from harness.core.rating import Vote\n"
        "log = c.VoteLog(Path(sys.argv[1]))\n"
        "for n, line in enumerate(sys.argv[2:]):\n"
        "    if n == 2: os.environ['RATCHET_KILL_AT'] = 'vote.event'\n"
        "    log.add(Vote.model_validate_json(line)); print(n, flush=True)\n"
    )
    votes = [vote(pair).model_dump_json() for pair in pairs]
    command = [sys.executable, "-c", script, str(campaigns.folder(lab, "style")), *votes]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == -9
    assert ended.stdout.split() == ["0", "1"]
    assert [vote.pair_id for vote in campaigns.read_votes(lab, "style")] == [pair.pair_id for pair in pairs[:2]]


def _rate_all(place: Path, pairs: list[Pair], rater: str) -> None:
    log = campaigns.VoteLog(place)
    for pair in pairs:
        log.add(vote(pair, rater))


def test_many_writers_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    pairs = make_campaign(lab, 25)
    place = campaigns.folder(lab, "style")
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_rate_all, args=(place, pairs, rater)) for rater in ("ann", "bo", "cy", "ann")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    votes = campaigns.read_votes(lab, "style")
    assert len({vote.assignment for vote in votes}) == len(votes) == 3 * 25


# --- assignments ------------------------------------------------------------------------------------------------


def test_raters_walk_through_every_pair_in_order(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    make_campaign(lab)
    record, pairs = campaigns.read(lab, "style")
    assignments = campaigns.Assignments(record, pairs)
    seen: list[str] = []
    while (assignment := assignments.next("ann", seen)) is not None:
        assert assignment.name == f"style/{assignment.pair.pair_id}/ann"
        seen.append(assignment.pair.pair_id)
    assert seen == [pair.pair_id for pair in pairs]
    assert assignments.of("pair-unknown", "ann") is None


def test_sides_are_drawn_evenly_and_again_the_same(tmp_path: Path) -> None:
    """1,200 fair draws: the share on the left lies within 0.5 ± 4 standard deviations (0.0577)."""
    lab = Lab(tmp_path)
    make_campaign(lab, 200)
    record, pairs = campaigns.read(lab, "style")
    raters = ["ann", "bo", "cy", "di", "ed", "flo"]

    def sides() -> list[str]:
        assignments = [campaigns.Assignments(record, pairs).of(p.pair_id, rater) for rater in raters for p in pairs]
        return [assignment.left for assignment in assignments if assignment]

    first = sides()
    assert first == sides()
    assert abs(first.count("a") / len(first) - 0.5) < 0.0577
    assert first[:200] != first[200:400]  # raters see different sides
    shown = campaigns.Assignments(record, pairs).of(pairs[0].pair_id, "ann")
    assert shown is not None
    texts = {"a": pairs[0].a.text, "b": pairs[0].b.text}
    assert shown.answers[0] == texts[shown.left]

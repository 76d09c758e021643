"""Campaigns of conversations that people sent to one: their prompts as a pool, their two answers as pairs."""

from __future__ import annotations

import itertools
import json

import pytest

from harness import campaign as campaigns
from harness import captured
from harness.audit import entries
from harness.core.errors import InputError
from harness.core.traffic import CALLS, FEEDBACK, PORTAL, CapturedCall, Feedback, TrafficLog
from harness.pipeline import capture, privacy, tried
from harness.pipeline.trying import user_of

COUNTER = itertools.count(1)


class Notes:
    """What two people tried, put down as the portal does."""

    def __init__(self, lab):
        self.lab = lab
        self._calls = TrafficLog(lab.requests, CALLS, "capture.event")
        self._said = TrafficLog(lab.requests, FEEDBACK, "feedback.event")

    def call(self, prompt, answer, model="aac@v1", who="eve", key=PORTAL, finish="stop"):
        """The id of an answer to `prompt`: a text, or turns."""
        number = next(COUNTER)
        turns = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
        record = CapturedCall(
            at=f"2026-11-20T10:{number // 60:02d}:{number % 60:02d}+00:00", request_id=f"r-{number}",
            completion_id=f"chatcmpl-{number}", key_id=key, user=user_of(who), endpoint="chat", alias=None, model=model,
            prompt=turns, decoding={}, answers=[answer], finish_reasons=[finish], prompt_tokens=1, completion_tokens=1,
            ttft_s=0.1, latency_s=0.1,
        )  # fmt: skip
        self._calls.append([record.model_dump(mode="json")])
        return record.completion_id

    def send(self, completion, who="eve"):
        entry = Feedback(
            at="2026-11-20T11:00:00+00:00", feedback_id=f"fb-{completion}", key_id=PORTAL, user=user_of(who),
            about="campaign", completion_id=completion,
        )  # fmt: skip
        self._said.append([entry.model_dump(mode="json")])

    def two(self, prompt, first="A warm answer to it", second="Something else altogether", who="eve"):
        """Two versions asked the same, and the first answer sent to a campaign: the two ids."""
        ids = self.call(prompt, first, "aac@v1", who), self.call(prompt, second, "aac@v2", who)
        self.send(ids[0], who)
        return ids


@pytest.fixture
def notes(desk):
    return Notes(desk.lab)


def opening(purpose, number=0):
    """A prompt that is of this purpose for good."""
    texts = (f"Ask {purpose} {n}" for n in itertools.count())
    mine = (text for text in texts if campaigns.purpose_of(cluster(text)) == purpose)
    return next(itertools.islice(mine, number, None))


def cluster(text):
    call = CapturedCall(
        at="", request_id="", completion_id="", key_id=PORTAL, endpoint="chat", alias=None, model="", decoding={},
        prompt=[{"role": "user", "content": text}], answers=[], finish_reasons=[], prompt_tokens=0,
        completion_tokens=0, ttft_s=0, latency_s=0,
    )  # fmt: skip
    return captured.cluster_of("", call)


def test_answers_that_stood_side_by_side_become_a_campaign(desk, notes):
    first, second = notes.two(opening("train"))
    notes.send(second)  # both sides were marked: one pair all the same
    notes.two(opening("judge"))
    found = tried.sent(desk.lab)
    assert (found.marked, len(found.pairs), tried.of_purposes(found)) == (3, 2, {"train": 1, "judge": 1})
    made = json.loads(desk.ratchet("campaign", "tried", "style", "--name", "aac", "--format", "json").out)
    assert (made["pairs"], made["refused"]) == (1, {"other_purpose": 1})
    record, (pair,) = campaigns.read(desk.lab, "style")
    assert {answer.text for answer in (pair.a, pair.b)} == {"A warm answer to it", "Something else altogether"}
    assert {answer.subject for answer in (pair.a, pair.b)} == {"aac@v1", "aac@v2"}
    assert (pair.item_id, pair.prompt) == (first, [{"role": "user", "content": opening("train")}])
    assert sorted(one.label for one in record.subjects) == ["aac@v1", "aac@v2"]
    assert [(one.who, one.did) for one in entries(desk.lab)] == [("tester", "changed")]
    assert "eve" not in (campaigns.folder(desk.lab, "style") / "pairs.jsonl").read_text()


def test_what_is_in_a_campaign_is_not_taken_again(desk, notes):
    notes.two(opening("train"))
    assert desk.ratchet("campaign", "tried", "style", "--name", "aac").code == 0
    assert "style" in desk.ratchet("campaign", "tried", "style", "--name", "aac").error
    assert "1 in_a_campaign" in desk.ratchet("campaign", "tried", "more", "--name", "aac").error
    assert not (desk.lab.campaigns / "more").exists()
    notes.two(opening("train", 1))
    assert desk.ratchet("campaign", "tried", "more", "--name", "aac").code == 0
    assert len(campaigns.read(desk.lab, "more")[1]) == 1


def test_what_makes_no_pair_is_counted_by_reason(desk, notes):
    notes.send(notes.call("Nobody else was asked", "An answer"))
    notes.send(notes.call(opening("train"), "Eve's answer", who="eve"))
    notes.call(opening("train"), "Ann's answer", "aac@v2", who="ann")  # another person's does not stand beside it
    notes.two(opening("train", 1), second="Write to [email]")
    notes.two(opening("train", 2), first="The same words here", second="The same words here")
    cut = notes.call(opening("train", 3), "word " * 9, finish="length")
    notes.call(opening("train", 3), "An answer that was not cut", "aac@v2")
    notes.send(cut)
    assert tried.sent(desk.lab).left_out == {"nothing_beside": 2, "redacted": 1, "truncated": 1}
    with pytest.raises(InputError, match="2 nothing_beside, 1 redacted, 1 truncated, 1 identical"):
        tried.create(desk.lab, tried.Asked("style", "aac"), "me")


def test_of_several_the_one_nearest_in_time_stood_beside_it(desk, notes):
    prompt = opening("train")
    notes.call(prompt, "Long ago", "aac@v3")
    notes.call("Something else", "An answer")
    notes.two(prompt)
    notes.call(prompt, "Of the same version", "aac@v1")
    (pair,) = tried.sent(desk.lab).pairs
    assert {answer.subject for answer in (pair.a, pair.b)} == {"aac@v1", "aac@v2"}


def test_a_conversation_is_a_cluster_whoever_had_it_and_however_far_it_went():
    """Not the person: all of one's prompts would be for training, or all for judging."""
    one, two = [{"role": "user", "content": "Hello  there"}], [{"role": "user", "content": "And?"}]
    system = [{"role": "system", "content": "Be kind"}]
    further = [*system, *one, {"role": "assistant", "content": "Hi"}, *two]
    same = CapturedCall(
        at="", request_id="", completion_id="", key_id=PORTAL, user=user_of("ann"), endpoint="chat", alias=None,
        model="", decoding={}, prompt=further, answers=[], finish_reasons=[], prompt_tokens=0, completion_tokens=0,
        ttft_s=0, latency_s=0,
    )  # fmt: skip
    assert captured.cluster_of("x", same) == cluster("hello there") != cluster("And?")
    app = same.model_copy(update={"key_id": "k-1", "user": "u-7"})
    assert captured.cluster_of("x", app) == "u-7"
    assert captured.cluster_of("x", app.model_copy(update={"user": ""})) == "x"


def test_what_was_sent_is_a_pool_of_prompts(desk, notes):
    """`--pool sent`: every prompt once, in clusters of their own, counted before anybody is asked."""
    desk.write("house.txt", "Be brief.")
    assert "no prompt was sent" in preview(desk).error
    for number in range(3):
        notes.two(opening("train", number), who="eve")
    notes.two(opening("judge"), who="eve")
    notes.call("Never sent", "An answer")
    found = json.loads(preview(desk).out)
    assert (found["prompts"], found["refused"], found["pairs_at_most"]) == (4, {"other_purpose": 1}, 3)
    rows = captured.rows(captured.load(desk.lab.requests).only(captured.Which(sent=True)), "pool").rows
    assert len({row["cluster"] for row in rows}) == 4


def preview(desk):
    subjects = ("base", "{prompt: house.txt}")
    options = ("--pool", "sent", "--name", "aac", "--base", "base", "--dry-run", "--format", "json")
    return desk.ratchet("campaign", "create", "style", *subjects, *options)


def test_erasing_whoever_tried_names_the_campaign(desk, notes):
    """Campaigns never change: a person is told where the prompts still stand."""
    notes.two(opening("train"))
    desk.ratchet("campaign", "tried", "style", "--name", "aac")
    found = privacy.erase(desk.lab, "eve", "owner")
    assert any("campaign style shows 1 pairs" in one for one in found.remains)
    assert capture.stats(desk.lab).erased == 3

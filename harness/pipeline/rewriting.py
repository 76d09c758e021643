"""A dataset's completions rewritten in a style by a base, an adapter or an endpoint, for people to review."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import campaign as campaigns
from harness.core.errors import EvaluationError, InputError
from harness.core.fingerprint import short_id
from harness.core.journal import Journal, read_all
from harness.core.paths import Lab, json_lines, write_atomic
from harness.core.rating import Answer, CampaignRecord
from harness.core.records import DataRef, Subject
from harness.data import Turn, inspect, numbered_rows, read_json_lines
from harness.pipeline import answering
from harness.pipeline.campaigns import Wanted, store_drafts
from harness.progress import Progress
from serve.client import Reply, ask_many

INSTRUCTION = (
    "You rewrite answers. Keep the meaning, the facts and the language; change the style only: {style}. "
    "Reply with the rewritten answer and nothing else."
)
FORMATS = ("prompt_completion", "messages", "alpaca", "instruction_response", "input_output", "marked_text")
Row = dict[str, Any]


@dataclass(frozen=True)
class Rewriting:
    """What `ratchet data rewrite` was asked for. `subject` is one of answering.FORMS."""

    dataset: Path
    out: Path
    style: str
    subject: str
    base: str
    decoding: dict[str, Any]


@dataclass(frozen=True)
class Rewritten:
    """`again`: the file was there already, made by the same command."""

    path: Path
    rows: int
    refused: dict[str, int]
    subject: Subject
    again: bool


def rewrite(lab: Lab, wanted: Rewriting, progress: Progress) -> Rewritten:
    """Write `out`: a row {"prompt", "completion"} for each answer that was rewritten, with the one it was.

    What was asked is kept in a folder beside `out` until that is whole, so a command that was stopped goes on where it
    was. Answers that are empty, cut, name their model or changed next to nothing are left out and counted; so are up to
    a tenth that failed. Raises InputError for a dataset without completions, or an `out` of another command.
    """
    if not wanted.style.strip():
        raise InputError("--style is empty", 'say how the answers should be, e.g. --style "warmer"')
    ref = inspect(wanted.dataset.absolute())
    if ref.format not in FORMATS:
        raise InputError(f"{wanted.dataset}: rows of format {ref.format} have no one completion", "use SFT data")
    who = answering.find(lab, [wanted.subject], wanted.base)
    one = who.each[0]
    name = short_id("rewrite", [ref.sha256, wanted.style, one.subject.identity, wanted.decoding, INSTRUCTION])
    if wanted.out.exists():
        rows, refused = _known(wanted.out, name)
        return Rewritten(wanted.out, rows, refused, one.subject, again=True)
    source = [(number, row, raw.get("cluster")) for number, raw, row in numbered_rows(ref)]
    parts = wanted.out.with_name(f".{wanted.out.name}.parts")
    done = {event["row"]: event for event in read_all(parts, "rows") if event.get("rewrite") == name}
    waiting = [(number, row) for number, row, _ in source if number not in done]
    if done:
        progress.say(f"{len(done)} of {len(source)} answers were rewritten already")
    failed = _ask(lab, who, wanted, waiting, Journal(parts, "rows", "rewrite.event"), name, done, progress)
    if len(failed) > answering.MAX_FAILED_SHARE * len(source):
        raise EvaluationError(
            f"{one.subject.label}: {len(failed)} of {len(source)} answers failed ({failed[0]})",
            "run the command again: it asks for these only",
        )
    made, counts = _rows(source, done, wanted, one.subject, name)
    counts["failed"] = len(failed)
    if not made:
        raise InputError(f"no answer was rewritten ({dict(+counts)})", "use a stronger model, or another style")
    refused = dict(+counts)
    write_atomic(
        wanted.out, json_lines([row | {"refused": refused} if not place else row for place, row in enumerate(made)])
    )
    shutil.rmtree(parts, ignore_errors=True)
    return Rewritten(wanted.out, len(made), refused, one.subject, again=False)


def review(lab: Lab, made: Rewritten, wanted: Wanted) -> CampaignRecord:
    """The rewritten rows as a campaign of kind 'write': people correct them, then others read them.

    InputError where no row is left, or the campaign exists.
    """
    ref = inspect(made.path.absolute())
    rows = []
    for _, raw, row in numbered_rows(ref):
        item = campaigns.PoolItem(str(raw["row"]), str(raw.get("cluster") or raw["row"]), row["prompt"])
        text = row["completion"][-1]["content"]
        rows.append((item, Answer(subject=made.subject.label, model=made.subject.model, text=text)))
    pool = DataRef(path=ref.path, sha256=ref.sha256, rows=ref.rows, format="rewritten", split="pool")
    return store_drafts(lab, wanted, rows, pool, made.subject)


# --- inside -----------------------------------------------------------------------------------------------------


def _ask(
    lab: Lab,
    who: answering.Answerers,
    wanted: Rewriting,
    waiting: list[tuple[int, Row]],
    journal: Journal,
    name: str,
    done: dict[int, Row],
    progress: Progress,
) -> list[str]:
    """Ask for the rows that wait; what comes is on disk and in `done`. Returns why the others failed."""
    if not waiting:
        return []
    (door,), (one,) = answering.doors(lab, who, progress), who.each
    asks = [answering.ask(door, one, _prompt(wanted.style, row), wanted.decoding) for _, row in waiting]
    failed: list[str] = []
    with journal, progress.bar(f"rewriting with {one.subject.label}", len(asks)) as advance:

        def keep(index: int, reply: Reply) -> None:
            if reply.error:
                failed.append(reply.error)
            else:
                event = {"row": waiting[index][0], "rewrite": name, "text": reply.text, "finish": reply.finish_reason}
                journal.append(event)
                done[waiting[index][0]] = event
            advance(len(failed) + len(done), "")

        ask_many(door.url, asks, concurrency=answering.CONCURRENCY, headers=door.headers, on_reply=keep)
    return failed


def _prompt(style: str, row: Row) -> list[Turn]:
    """The row as one question, so that a base without a chat template can be asked too."""
    question = "\n".join(f"{turn['role']}: {turn['content']}" for turn in row["prompt"])
    instruction = INSTRUCTION.format(style=style.strip())
    content = f"{instruction}\n\nThe conversation:\n{question}\n\nThe answer to rewrite:\n{_completion(row)}"
    return [{"role": "user", "content": content}]


def _rows(
    source: list[tuple[int, Row, Any]], done: dict[int, Row], wanted: Rewriting, subject: Subject, name: str
) -> tuple[list[Row], Counter[str]]:
    counts: Counter[str] = Counter()
    made = []
    for number, row, cluster in source:
        if number not in done:
            continue
        before = Answer(subject="original", model="original", text=_completion(row))
        after = Answer(
            subject=subject.label, model=subject.model, text=done[number]["text"], finish_reason=done[number]["finish"]
        )  # fmt: skip
        if reason := campaigns.refusal(before, after, [subject]):
            counts[reason] += 1
            continue
        made.append(
            {
                "prompt": row["prompt"],
                "completion": [{"role": "assistant", "content": after.text.strip()}],
                "original": before.text,
                "source": "rewrite",
                "style": wanted.style,
                "rewriter": subject.label,
                "rewrite": name,
                "row": number,
                **({"cluster": str(cluster)} if cluster not in (None, "") else {}),
            }
        )
    return made, counts


def _completion(row: Row) -> str:
    return "\n".join(turn["content"] for turn in row["completion"])


def _known(path: Path, name: str) -> tuple[int, dict[str, int]]:
    """Rows and refusals of a file that the same command made; InputError for any other."""
    rows = [row for _, row in read_json_lines(path)]
    if not rows or any(row.get("rewrite") != name for row in rows):
        raise InputError(f"{path} exists with other content", "choose another file")
    return len(rows), rows[0].get("refused", {})

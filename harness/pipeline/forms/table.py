"""Rows of Ratchet's own table, which `ratchet campaign export` writes: a vote each, or a pair without one."""

from __future__ import annotations

from typing import Any, Literal, cast

from harness.core.rating import Edit, Pair, PairRole, Side
from harness.pipeline.forms.cells import ROLES, UNNAMED, VIEWS, Cells, Given, View, answer_by, ids_of, rater_of


def table_row(cells: Cells) -> tuple[Pair, list[Given]]:
    """The row's pair, and its vote where it has one. Raises InputError."""
    prompt, a, b = cells.prompt(), cells.answer("a"), cells.answer("b")
    role = cast("PairRole", cells.one_of("role", ROLES, "main"))
    expected = None
    if role in ("gold", "calibration"):
        expected = cells.one_of("expected", ("a", "b", "tie"))
    inclusion = cells.number("inclusion")
    if inclusion is not None and not 0 < inclusion <= 1:
        raise cells.wrong("inclusion", f"is {inclusion:g}", "write a probability above 0, up to 1")
    pair_id, item_id, cluster = ids_of(cells, prompt, a, b)
    pair = Pair(
        pair_id=pair_id,
        item_id=item_id,
        cluster=cluster,
        prompt=prompt,
        a=answer_by(cells.text("a_subject", UNNAMED[0]), a),
        b=answer_by(cells.text("b_subject", UNNAMED[1]), b),
        role=role,
        repeat_of=str(cells.need("repeat_of", "write the pair_id that it repeats")) if role == "repeat" else None,
        expected=cast("Literal['a', 'b', 'tie'] | None", expected),
        explanation=str(cells.need("explanation", "write why, in a sentence")) if role == "calibration" else "",
        arm=cast("Literal['uniform', 'informative']", cells.one_of("arm", ("uniform", "informative"), "uniform")),
        inclusion=1.0 if inclusion is None else inclusion,
    )
    if cells.get("rater") is None and cells.get("preferred") is None:
        return pair, []
    side = cells.get("edit_side")
    return pair, [
        Given(
            pair_id=pair.pair_id,
            rater=rater_of(cells, "rater", cells.get("rater")),
            view=cast("View", cells.one_of("preferred", VIEWS)),
            left=cast("Side", cells.one_of("left", ("a", "b"))) if cells.get("left") is not None else None,
            at=cells.time("at"),
            shown_at=cells.time("shown_at"),
            seconds=cells.number("seconds"),
            reason=cells.text("reason"),
            tags=tuple(_tag(cells, tag) for tag in cells.listed("tags")),
            edit=None
            if side is None
            else Edit(
                side=cast("Side", cells.one_of("edit_side", ("a", "b"))),
                text=str(cells.need("edit_text", "write the better answer, or empty edit_side")),
            ),
        )
    ]


def _tag(cells: Cells, tag: Any) -> str:
    if not isinstance(tag, str) or not tag:
        raise cells.wrong("tags", f"holds {tag!r}", "write a list of words")
    return tag

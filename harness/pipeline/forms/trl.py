"""TRL's preference rows: chosen over rejected, a vote of one rater or of all that the row names."""

from __future__ import annotations

from typing import Any, cast

from harness.campaign.pairs import draw
from harness.core.rating import Pair
from harness.data import Turn
from harness.pipeline.forms.cells import UNNAMED, Cells, Given, View, answer_by, ids_of, rater_of
from harness.preferences import EDITED


def preference_row(cells: Cells) -> tuple[Pair, list[Given]]:
    """Chosen and rejected stand in an order drawn from their texts, so that neither a nor b says which was chosen; and
    the same two answers are the same pair whichever was chosen."""
    prompt, chosen, rejected = _texts(cells)
    first, second = sorted((chosen, rejected), key=lambda text: draw("import", text))
    turned = first != chosen
    names = [cells.text("chosen_subject", UNNAMED[turned]), cells.text("rejected_subject", UNNAMED[not turned])]
    a_subject, b_subject = reversed(names) if turned else names
    own = cells.get("label_rule") != EDITED  # such a row is not the campaign's pair, though it bears its id
    pair_id, item_id, cluster = ids_of(cells, prompt, first, second, own)
    pair = Pair(
        pair_id=pair_id,
        item_id=item_id,
        cluster=cluster,
        prompt=prompt,
        a=answer_by(a_subject, first),
        b=answer_by(b_subject, second),
    )
    raters = cells.listed("raters") if cells.get("raters") is not None else [cells.get("rater")]
    views = cells.listed("views") or ["chosen"] * len(raters)
    if len(views) != len(raters):
        raise cells.wrong("views", f"has {len(views)} entries, 'raters' {len(raters)}", "write one for each rater")
    column = "raters" if cells.get("raters") is not None else "rater"
    at = cells.time("at")
    return pair, [
        Given(pair.pair_id, rater_of(cells, column, rater), _view(cells, view, turned), at=at)
        for rater, view in zip(raters, views, strict=True)
    ]


def _view(cells: Cells, view: Any, turned: bool) -> View:
    sides: dict[Any, View] = {"chosen": "b" if turned else "a", "rejected": "a" if turned else "b"}
    if view in sides:
        return sides[view]
    if view in ("tie", "both_bad", "skip"):
        return cast("View", view)
    raise cells.wrong("views", f"has {view!r}", "write chosen, rejected, tie, both_bad or skip")


def _texts(cells: Cells) -> tuple[list[Turn], str, str]:
    """(prompt, chosen, rejected); without a prompt, both are whole conversations that begin alike."""
    if cells.get("prompt") is not None:
        return cells.prompt(), cells.answer("chosen"), cells.answer("rejected")
    chosen, rejected = cells.turns("chosen", "assistant"), cells.turns("rejected", "assistant")
    same = 0
    while same < min(len(chosen), len(rejected)) - 1 and chosen[same] == rejected[same]:
        same += 1
    fits = len(chosen) == len(rejected) == same + 1 and same and chosen[same - 1]["role"] == "user"
    if not fits or {chosen[-1]["role"], rejected[-1]["role"]} != {"assistant"}:
        raise cells.wrong(
            "prompt", "is missing, and 'chosen' and 'rejected' do not differ in the last answer alone",
            "write the prompt in a column of its own",
        )  # fmt: skip
    return chosen[:-1], chosen[-1]["content"], rejected[-1]["content"]

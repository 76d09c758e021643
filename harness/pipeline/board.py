"""A campaign's board, from its files: the votes that count, and names only once it is closed."""

from __future__ import annotations

from pydantic import Field

from harness import campaign as campaigns
from harness import ratings
from harness.core.paths import Lab
from harness.core.rating import Report
from harness.core.records import Record
from harness.pipeline.rated import Rated


class CampaignBoard(Record):
    """`blind`: the campaign is open, so subjects are called 'subject 1', … in an order drawn from its seed.

    `ruled`: pairs that a lead ruled on; they are no longer among the board's disagreements. `ruled_by_raters`: those of
    them whose ruling that stands is by somebody with a vote of their own on the pair. `paused`: raters who get
    nothing now. `reports`: unsafe answers, disputes and prompts, as raters sent them, earliest first.
    """

    campaign: str
    blind: bool
    board: ratings.Board
    ruled: int = 0
    ruled_by_raters: int = 0
    paused: list[str] = Field([])
    reports: list[Report] = Field([])


def campaign_board(lab: Lab, campaign: str) -> CampaignBoard:
    """Raises InputError for a campaign that does not exist or in which people write, LabError for damaged files."""
    return board_of(Rated(lab, campaign))


def board_of(rated: Rated) -> CampaignBoard:
    """The same of one that was read."""
    look = rated.look()
    found = look.counted.board
    ruled = campaigns.rulings(look.acts)
    undecided = [one for one in found.disagreements if one.pair_id not in ruled]
    return CampaignBoard(
        campaign=rated.record.campaign,
        blind=look.blind,
        board=found.model_copy(update={"disagreements": undecided}),
        ruled=len(ruled),
        ruled_by_raters=sum(one.own for one in ruled.values()),
        paused=sorted(campaigns.paused(look.acts)),
        reports=[act for act in look.acts if act.kind == "report"],
    )

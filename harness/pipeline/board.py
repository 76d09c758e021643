"""A campaign's board, from its files: the votes that count, and names only once it is closed."""

from __future__ import annotations

from pydantic import Field

from harness import campaign as campaigns
from harness import ratings
from harness.campaign.pairs import draw
from harness.core.errors import InputError
from harness.core.heap import filling
from harness.core.paths import Lab
from harness.core.rating import CampaignRecord, Report
from harness.core.records import Record


class CampaignBoard(Record):
    """`blind`: the campaign is open, so subjects are called 'subject 1', … in an order drawn from its seed.

    `ruled`: pairs that a lead ruled on; they are no longer among the board's disagreements. `paused`: raters who get
    nothing now. `reports`: unsafe answers, disputes and prompts, as raters sent them, earliest first.
    """

    campaign: str
    blind: bool
    board: ratings.Board
    ruled: int = 0
    paused: list[str] = Field([])
    reports: list[Report] = Field([])


def campaign_board(lab: Lab, campaign: str) -> CampaignBoard:
    """Raises InputError for a campaign that does not exist or in which people write, LabError for damaged files."""
    if campaigns.read_record(lab, campaign).kind == "write":
        raise InputError(f"campaign {campaign!r} is for writing: nobody compares answers there")
    with filling():
        record, pairs = campaigns.read_whole(lab, campaign)
        votes = list(campaigns.VoteLog(campaigns.folder(lab, campaign)).votes().values())
    acts = campaigns.read_acts(lab, campaign)
    blind = not campaigns.is_closed(acts)
    found = ratings.board(pairs, votes, blind_names(record) if blind else None, record.seed)
    ruled = campaigns.rulings(acts)
    undecided = [one for one in found.disagreements if one.pair_id not in ruled]
    return CampaignBoard(
        campaign=campaign,
        blind=blind,
        board=found.model_copy(update={"disagreements": undecided}),
        ruled=len(ruled),
        paused=sorted(campaigns.paused(acts)),
        reports=[act for act in acts if act.kind == "report"],
    )


def blind_names(record: CampaignRecord) -> dict[str, str]:
    """Subject -> what it is called while the campaign is open."""
    labels = [subject.label for subject in record.subjects]
    order = sorted(labels, key=lambda label: draw(record.seed, record.campaign, "names", label))
    return {label: f"subject {number}" for number, label in enumerate(order, 1)}

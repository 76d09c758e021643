"""`ratchet campaign …`: making, looking at and steering campaigns; `ratchet data rewrite`."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.common import DEFAULT_LAB, Format, FormatOption, LabOption, group, print_json, progress_for, who
from harness.core.paths import Lab

if TYPE_CHECKING:
    from harness.pipeline.campaigns import Wanted

campaign_group = group("campaign", "Rating campaigns: blind pairs for people to judge, drafts for them to correct.")
data_group = group("data", "Training data.")


class PurposeChoice(str, Enum):
    train = "train"
    judge = "judge"


class KindChoice(str, Enum):
    compare = "compare"
    write = "write"


class ExportedForm(str, Enum):
    csv = "csv"
    jsonl = "jsonl"
    trl_preference = "trl-preference"
    trl_kto = "trl-kto"
    trl_sft = "trl-sft"
    label_studio = "label-studio"
    argilla = "argilla"


CampaignArgument = Annotated[str, typer.Argument(help="A campaign's name.")]
OverlapOption = Annotated[float, typer.Option("--overlap", min=0, max=1, help="Share of pairs that every rater sees.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0)]
PurposeOption = Annotated[
    PurposeChoice,
    typer.Option("--purpose", help="What the votes are for, for good; prompts of the other are left out."),
]
BaseOption = Annotated[str, typer.Option("--base", help="The base's folder or hub id, where no adapter says it.")]
WinRateOption = Annotated[float, typer.Option("--win-rate", help="The true win rate that should show.")]
TiesOption = Annotated[float, typer.Option("--ties", help="Expected share of votes that take no side.")]
RatersOption = Annotated[int, typer.Option("--raters", min=1, help="How many people will rate.")]


@campaign_group.command("create")
def campaign_create(
    campaign: Annotated[str, typer.Argument(help="A name for the campaign.")],
    subjects: Annotated[
        list[str],
        typer.Argument(
            help="Two or more (one to write): run id, NAME@ALIAS, base, '{prompt: FILE}', '{endpoint: {…}}'."
        ),
    ],
    pool: Annotated[
        str,
        typer.Option(
            "--pool",
            help="Prompts: a .jsonl or .csv with a column prompt; evalset:NAME; sent: by people.",
        ),
    ],
    name: Annotated[str, typer.Option("--name", help="The registry name whose next round these votes train.")],
    kind: Annotated[KindChoice, typer.Option("--kind", help="compare answers, or write: correct drafts.")] = (
        KindChoice.compare
    ),
    purpose: PurposeOption = PurposeChoice.train,
    base: BaseOption = "",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Use only the first N prompts.")] = None,
    pairs: Annotated[
        int | None,
        typer.Option("--pairs", min=2, help="Draw about N pairs: half at random, half where answers differ."),
    ] = None,
    overlap: OverlapOption = 1.0,
    repeats: Annotated[float, typer.Option("--repeats", min=0, max=0.5, help="Share of pairs to show again.")] = 0.05,
    pair: Annotated[
        list[str] | None, typer.Option("--pair", help="Of more subjects, compare I:J only, counted from 1. Repeatable.")
    ] = None,
    calibration: Annotated[Path | None, typer.Option("--calibration", help="Pairs to begin with, explained.")] = None,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, max=2.0)] = 1.0,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1)] = 256,
    seed: SeedOption = 0,
    win_rate: WinRateOption = 0.6,
    ties: TiesOption = 0.2,
    raters: RatersOption = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and ask nobody.")] = False,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Answer a pool of prompts with every subject and store the pairs worth rating, or the drafts worth correcting."""
    from harness.pipeline import campaigns
    from harness.pipeline.questions import Question

    wanted = campaigns.Wanted(
        campaign=campaign,
        name=name,
        subjects=tuple(subjects),
        pool=pool,
        purpose=purpose.value,
        kind=kind.value,
        base=base,
        limit=limit,
        pairs=pairs,
        overlap=overlap,
        repeats=repeats,
        chosen=tuple(_places(one) for one in pair) if pair else None,
        calibration=calibration,
        decoding={"temperature": temperature, "max_tokens": max_tokens},
        seed=seed,
        question=Question(win_rate, ties, raters),
    )
    if dry_run:
        found = campaigns.preview(Lab(lab), wanted)
        print_json(found) if format is Format.json else _say_preview(found)
    else:
        _create(Lab(lab), wanted, format)


@campaign_group.command("tried")
def campaign_tried(
    campaign: Annotated[str, typer.Argument(help="A name for the campaign.")],
    name: Annotated[str, typer.Option("--name", help="The registry name whose next round these votes train.")],
    purpose: PurposeOption = PurposeChoice.train,
    overlap: OverlapOption = 1.0,
    seed: SeedOption = 0,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Make a campaign of answers that stood side by side in Try it and were sent to one; nobody is asked anew."""
    from harness.pipeline import tried

    record = tried.create(Lab(lab), tried.Asked(campaign, name, purpose.value, overlap, seed), who())
    if format is Format.json:
        print_json(record.model_dump(mode="json"))
        return
    print(f"campaign {campaign}: {record.pairs} pairs to rate; left out: {_counts(record.refused)}")
    print(f"next: ratchet rate {campaign} --rater YOUR-NAME")


@campaign_group.command("list")
def campaign_list(lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """Campaigns and how far their ratings are."""
    from harness.pipeline import show, status

    found = status.campaigns(Lab(lab))
    print_json(found) if format is Format.json else show.campaigns(found)


@campaign_group.command("show")
def campaign_show(
    campaign: CampaignArgument,
    win_rate: WinRateOption = 0.6,
    ties: TiesOption = 0.2,
    raters: RatersOption = 3,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """One campaign: what it was made of, how far it is, and how many votes its question needs."""
    from harness.pipeline import steering
    from harness.pipeline.questions import Question

    found = steering.show(Lab(lab), campaign, Question(win_rate, ties, raters))
    print_json(found) if format is Format.json else _say_campaign(found)


@campaign_group.command("close")
def campaign_close(campaign: CampaignArgument, lab: LabOption = DEFAULT_LAB) -> None:
    """Hand out nothing more; what was given stays."""
    from harness.pipeline import steering

    steering.steer(Lab(lab), campaign, "close", who())
    print(f"{campaign} is closed; `ratchet campaign reopen {campaign}` opens it again")


@campaign_group.command("reopen")
def campaign_reopen(
    campaign: CampaignArgument,
    pair: Annotated[str | None, typer.Option("--pair", help="One pair id: it goes to one more rater.")] = None,
    lab: LabOption = DEFAULT_LAB,
) -> None:
    """Open a closed campaign again, or one pair of an open one."""
    from harness.pipeline import steering

    steering.steer(Lab(lab), campaign, "reopen_pair" if pair else "reopen", who(), pair_id=pair)
    print(f"{pair or campaign} is open again")


@campaign_group.command("pause")
def campaign_pause(
    campaign: CampaignArgument,
    rater: Annotated[str, typer.Argument(help="A rater's pseudonym.")],
    reason: Annotated[str, typer.Option("--reason")] = "",
    lab: LabOption = DEFAULT_LAB,
) -> None:
    """Give one rater nothing more until `resume`; their votes stay."""
    from harness.pipeline import steering

    steering.steer(Lab(lab), campaign, "pause", who(), rater=rater, reason=reason)
    print(f"{rater} is paused in {campaign}")


@campaign_group.command("resume")
def campaign_resume(
    campaign: CampaignArgument,
    rater: Annotated[str, typer.Argument(help="A rater's pseudonym.")],
    lab: LabOption = DEFAULT_LAB,
) -> None:
    """Let a paused rater go on."""
    from harness.pipeline import steering

    steering.steer(Lab(lab), campaign, "resume", who(), rater=rater)
    print(f"{rater} goes on in {campaign}")


@campaign_group.command("add-gold")
def campaign_add_gold(
    campaign: CampaignArgument,
    file: Annotated[Path, typer.Argument(help="Pairs: prompt, a, b, expected (a, b or tie), one a line.")],
    lab: LabOption = DEFAULT_LAB,
) -> None:
    """Mix pairs with a known answer into what raters see; no vote on them is evidence or training data."""
    from harness.pipeline import steering

    print(f"{steering.add_gold(Lab(lab), campaign, file)} gold pairs added to {campaign}")


@campaign_group.command("export")
def campaign_export(
    campaign: CampaignArgument,
    form: Annotated[
        ExportedForm, typer.Option("--as", help="Votes as a table or for another tool, or what TRL trains on.")
    ],
    out: Annotated[Path, typer.Option("--out", help="A new file; a data card comes beside what trains.")],
    allow_pii: Annotated[bool, typer.Option("--allow-pii", help="Even with e-mail, phone, card, key in it.")] = False,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """A campaign as a file: votes as CSV, JSONL, for Label Studio or Argilla; or training data with a data card."""
    from harness.pipeline import exporting

    made = exporting.export(Lab(lab), campaign, form.value, out, who(), allow_pii)
    if format is Format.json:
        print_json(asdict(made))
        return
    print(f"wrote {made.path}: {made.rows} rows; pairs without a row: {_counts(made.left_out)}")
    if made.card:
        print(f"data card: {made.card}")
    if made.settings:
        print(f"how to show it there: {made.settings}")


@campaign_group.command("import")
def campaign_import(
    file: Annotated[
        Path, typer.Argument(help="Pairs, votes: .csv, .jsonl, TRL's preferences; .json of Label Studio, Argilla.")
    ],
    campaign: Annotated[str, typer.Argument(help="A new campaign, or one that is there and gets the votes.")],
    name: Annotated[str, typer.Option("--name", help="The registry name whose next round the votes train.")] = "",
    purpose: PurposeOption = PurposeChoice.train,
    rater: Annotated[str, typer.Option("--rater", help="Whose the votes are that name nobody.")] = "imported",
    overlap: OverlapOption = 1.0,
    seed: SeedOption = 0,
    keys: Annotated[
        str, typer.Option("--keys", help="PROMPT,LEFT,RIGHT: where Label Studio or Argilla has them.")
    ] = "",
    question: Annotated[str, typer.Option("--question", help="Their control or question that says which won.")] = "",
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Make a campaign of pairs that others answered and judged, or add a file's votes to one."""
    from harness.pipeline import importing

    hints = (importing.keys_from(keys), question)
    asked = importing.Asked(file, campaign, name, purpose.value, rater, overlap, seed, *hints)
    found = importing.import_file(Lab(lab), asked, who())
    if format is Format.json:
        print_json(asdict(found))
        return
    made = f"{found.pairs} pairs, " if found.is_new else ""
    print(f"campaign {campaign}: {made}{found.votes} votes imported, {found.known} were there before; "
          f"left out: {_counts(found.left_out)}")  # fmt: skip


@data_group.command("rewrite")
def data_rewrite(
    dataset: Annotated[Path, typer.Argument(help="SFT data: .jsonl or .csv.")],
    out: Annotated[Path, typer.Argument(help="A new .jsonl file.", show_default=False)],
    style: Annotated[str, typer.Option("--style", help='How the answers should be, e.g. "warmer", "as to a child".')],
    subject: Annotated[str, typer.Option("--subject", help="Who rewrites: run id, NAME@ALIAS, base.")] = "",
    endpoint: Annotated[str, typer.Option("--endpoint", help="Or a server's URL, with --model.")] = "",
    model: Annotated[str, typer.Option("--model", help="The endpoint's model.")] = "",
    api_key_env: Annotated[str, typer.Option("--api-key-env", help="The variable that holds the endpoint's key.")] = "",
    base: BaseOption = "",
    campaign: Annotated[str, typer.Option("--campaign", help="Make this campaign of it, for people to review.")] = "",
    name: Annotated[str, typer.Option("--name", help="The campaign's registry name; needed with --campaign.")] = "",
    purpose: PurposeOption = PurposeChoice.train,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, max=2.0)] = 0.7,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1)] = 512,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Have a model rewrite a dataset's answers in a style; with --campaign, people correct and read them."""
    from harness.pipeline import campaigns, rewriting

    if bool(subject) == bool(endpoint) or bool(endpoint) != bool(model):
        raise typer.BadParameter("give --subject, or --endpoint with --model")
    if bool(campaign) != bool(name):
        raise typer.BadParameter("--campaign and --name go together")
    decoding = {"temperature": temperature, "max_tokens": max_tokens, "seed": 0}
    rewriter = subject or _endpoint(endpoint, model, api_key_env)
    wanted = rewriting.Rewriting(dataset, out, style, rewriter, base, decoding)
    made = rewriting.rewrite(Lab(lab), wanted, progress_for(format.value))
    found: dict[str, Any] = {"path": str(made.path), "rows": made.rows, "refused": made.refused}
    if campaign:
        asked = campaigns.Wanted(campaign, name, (rewriter,), str(out), purpose.value, "write", decoding=decoding)
        found["campaign"] = rewriting.review(Lab(lab), made, asked).model_dump(mode="json")
    if format is Format.json:
        print_json(found)
        return
    print(f"wrote {made.path}: {made.rows} rewritten answers; left out: {_counts(made.refused)}")
    if campaign:
        record = found["campaign"]
        print(f"campaign {campaign}: {record['pairs']} drafts to review; left out: {_counts(record['refused'])}")


# --- inside -----------------------------------------------------------------------------------------------------


def _create(lab: Lab, wanted: Wanted, format: Format) -> None:
    from harness.pipeline import campaigns
    from harness.pipeline.questions import as_asked, sentence

    record = campaigns.create(lab, wanted, progress_for(format.value))
    if format is Format.json:
        print_json(record.model_dump(mode="json"))
        return
    what = "pairs to rate" if record.kind == "compare" else "drafts to correct"
    print(f"campaign {record.campaign}: {record.pairs} {what}; left out: {_counts(record.refused)}")
    if record.kind == "compare":
        print(sentence(as_asked(wanted.question, record.pairs, record.overlap), record.pairs))
        print(f"next: ratchet rate {record.campaign} --rater YOUR-NAME")


def _say_preview(found: dict[str, Any]) -> None:
    from harness.pipeline.questions import sentence

    print(f"campaign {found['campaign']} ({found['purpose']}): {', '.join(found['subjects'])}")
    print(f"{found['prompts']} prompts; left out: {_counts(found['refused'])}")
    print(f"{found['answers']} answers to make, {found['pairs_at_most']} pairs at most; nobody was asked")
    if "question" in found:
        print(sentence(found["question"], found["pairs_at_most"]))


def _say_campaign(found: dict[str, Any]) -> None:
    from harness.pipeline.questions import sentence

    print(
        f"campaign {found['campaign']} for {found['name']}: {found['kind']}, "
        f"for {found['purpose'] or 'any purpose'}, {found['state']}"
    )
    print(f"subjects: {', '.join(found['subjects'])}; {found['prompts']} prompts of {found['pool']}")
    drawn = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in found["sampling"].items())
    print(f"{found['pairs']} pairs ({drawn or 'all'}); left out: {_counts(found['refused'])}")
    print(f"shown beside them: {_counts(found['extra'])}; overlap {found['overlap']:g}; {found['votes']} votes")
    for row in found["raters"]:
        print(f"  {row['rater']}: {row['votes']} votes, {row['left']} left" + (", paused" if row["paused"] else ""))
    if "question" in found:
        print(sentence(found["question"], found["pairs"]))
    else:
        print(f"{found['to_write']} to write, {found['to_review']} to review, {found['accepted']} accepted")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts.items() if count) or "none"


def _places(text: str) -> tuple[int, int]:
    first, _, second = text.partition(":")
    if not first.isdigit() or not second.isdigit() or first == second:
        raise typer.BadParameter(f"--pair {text}: write two different places, e.g. 1:2")
    return int(first) - 1, int(second) - 1


def _endpoint(url: str, model: str, api_key_env: str) -> str:
    """The endpoint as subjects are written."""
    import json

    named: dict[str, Any] = {"base_url": url, "model": model} | ({"api_key_env": api_key_env} if api_key_env else {})
    return json.dumps({"endpoint": named})

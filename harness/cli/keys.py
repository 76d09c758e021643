"""API keys of the lab's servers."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.common import DEFAULT_LAB, Format, FormatOption, LabOption, group, print_json
from harness.core.paths import Lab

keys = group("keys", "API keys: who may use the lab's servers, for what, and how much.")


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Who or what uses it, e.g. helpdesk-app")],
    scope: Annotated[str, typer.Option("--scope", help="infer, feedback, admin; several with commas.")] = "infer",
    model: Annotated[
        list[str] | None, typer.Option("--model", help="A model it may use, e.g. support@prod or support@*; repeat.")
    ] = None,
    expires: Annotated[str, typer.Option("--expires", help="90d, 12h or a date; never if left out.")] = "",
    rpm: Annotated[int | None, typer.Option("--rpm", min=1, help="Requests a minute.")] = None,
    tpm: Annotated[int | None, typer.Option("--tpm", min=1, help="Tokens a minute, prompts and answers.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Tokens of one answer.")] = None,
    capture: Annotated[float, typer.Option("--capture", help="Share of its calls to capture, 0 to 1.")] = 0.0,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Make a key and print its secret, once."""
    from harness.pipeline import keys as pipeline

    wanted = {
        "name": name,
        "scopes": [word for word in scope.replace(",", " ").split() if word],
        "models": model or [],
        "expires": expires,
        "requests_per_minute": rpm,
        "tokens_per_minute": tpm,
        "max_tokens": max_tokens,
        "capture": capture,
    }
    made = pipeline.create(Lab(lab), wanted)
    if format is Format.json:
        print_json({key: value for key, value in made.items() if key != "text"})
    else:
        print(made["text"])


@keys.command("list")
def list_keys(lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """Every key with its state and last use; never a secret."""
    from harness.pipeline import keys as pipeline

    found = pipeline.listed(Lab(lab))
    print_json(found) if format is Format.json else print(pipeline.table(found))


@keys.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The key's name or id.")],
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """End a key. Running servers refuse it from the next request on."""
    from harness.pipeline import keys as pipeline

    ended = pipeline.revoke(Lab(lab), name)
    if format is Format.json:
        print_json(ended)
    else:
        print("\n".join(f"revoked {key['name']} ({key['key_id']})" for key in ended))


@keys.command()
def usage(
    name: Annotated[str, typer.Argument(help="A key's name or id; all if not given.")] = "",
    since: Annotated[str, typer.Option("--since", help="From this day on, e.g. 2026-11-01")] = "",
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Requests and tokens per key and day."""
    from dataclasses import asdict

    from harness.pipeline import usage as counted

    found = counted.of_keys(Lab(lab), name, since)
    if format is Format.json:
        print_json([asdict(row) for row in found])
        return
    for row in found:
        said = f"{row.requests} requests, {row.errors} failed, {row.prompt_tokens} + {row.completion_tokens} tokens"
        print(f"{row.day}  {row.name or row.key_id or '(no key)':<20} {said}")
    if not found:
        print("nothing used" + (f" by {name}" if name else ""))

"""`ratchet registry …` and `ratchet alias …`: versions, aliases, weights, shadows, webhooks, copies."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.cli.common import DEFAULT_LAB, Format, FormatOption, LabOption, group, print_json, who
from harness.core.paths import Lab

alias_app = group("alias", "Weights and shadows of aliases, and their history.")
registry_app = group("registry", "Versions: show, collect, copy; and who is told of moves.")
webhook_app = typer.Typer(help="Who is told when an alias moves.", no_args_is_help=True)
registry_app.add_typer(webhook_app, name="webhook")

AliasArgument = Annotated[str, typer.Argument(metavar="NAME@ALIAS", help="e.g. aac@prod")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, kept in the history.")]


def say(result: dict[str, Any], format: Format) -> None:
    """Print what a move did, its warnings on stderr, and end with its exit code."""
    for line in result["warnings"]:
        typer.echo(f"warning: {line}", err=True)
    print_json(result) if format is Format.json else print(result["text"])
    if result.get("exit_code"):
        raise typer.Exit(result["exit_code"])


@alias_app.command("set")
def alias_set(
    alias: AliasArgument,
    weights: Annotated[list[str], typer.Argument(metavar="vN=WEIGHT…", help="e.g. v7=90 v8=10")],
    lab: LabOption = DEFAULT_LAB,
    force: Annotated[bool, typer.Option("--force", help="Change the main version without a SHIP verdict.")] = False,
    reason: ReasonOption = "",
    format: FormatOption = Format.text,
) -> None:
    """Let several versions answer under an alias, each its share of users; a user stays with a version."""
    from harness.pipeline import aliases

    say(aliases.set_weights(Lab(lab), alias, weights, reason, force, who()), format)


@alias_app.command("shadow")
def alias_shadow(
    alias: AliasArgument,
    version: Annotated[str, typer.Argument(metavar="vN|off", help="The version that answers too, unseen.")],
    lab: LabOption = DEFAULT_LAB,
    share: Annotated[float, typer.Option("--share", help="Of the users whose requests are shadowed, 0 to 1.")] = 1.0,
    reason: ReasonOption = "",
    format: FormatOption = Format.text,
) -> None:
    """Have a version answer an alias' requests too; the answers are kept for rating and never sent to the client."""
    from harness.pipeline import aliases

    say(aliases.set_shadow(Lab(lab), alias, version, share, reason, who()), format)


@alias_app.command("ls")
def alias_ls(
    name: Annotated[str, typer.Argument(help="One registry name only.")] = "",
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Every alias and what it serves now."""
    from harness.pipeline import aliases

    rows = aliases.listing(Lab(lab), name)
    print_json(rows) if format is Format.json else print(aliases.listing_text(rows))


@alias_app.command("history")
def alias_history(
    name: Annotated[str, typer.Argument(metavar="NAME[@ALIAS]", help="e.g. aac or aac@prod")],
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Every move: when, who, what, why."""
    from harness.pipeline import aliases

    rows = aliases.history(Lab(lab), name)
    print_json(rows) if format is Format.json else print(aliases.history_text(rows) or "it never moved")


@registry_app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME[@vN]", help="e.g. aac or aac@v3")],
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """A name's aliases and versions, with the prompt contract of each."""
    from harness.pipeline import registry

    found = registry.show(Lab(lab), name)
    print_json(found) if format is Format.json else print(registry.show_text(found))


@registry_app.command("gc")
def gc(
    lab: LabOption = DEFAULT_LAB,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go.")] = False,
    keep_days: Annotated[int, typer.Option("--keep-days", min=0, help="Keep what an alias served since.")] = 30,
    format: FormatOption = Format.text,
) -> None:
    """Remove the files of versions that nothing refers to; their records stay and no number is used again."""
    from harness.pipeline import registry

    result = registry.gc(Lab(lab), keep_days, dry_run)
    print_json(result) if format is Format.json else print(registry.gc_text(result))


@registry_app.command("push")
def push(
    url: Annotated[str, typer.Argument(help="e.g. s3://bucket/registry or file:///mnt/share/registry")],
    name: Annotated[str, typer.Argument(help="One registry name only.")] = "",
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Bring a copy behind a URL up to this lab's registry."""
    from harness.pipeline import registry

    _copied(registry.push(Lab(lab), url, name), format, "sent")


@registry_app.command("pull")
def pull(
    url: Annotated[str, typer.Argument(help="What was pushed to.")],
    name: Annotated[str, typer.Argument(help="One registry name only.")] = "",
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Bring this lab's registry up to the copy behind a URL."""
    from harness.pipeline import registry

    _copied(registry.pull(Lab(lab), url, name), format, "fetched")


def _copied(result: dict[str, Any], format: Format, verb: str) -> None:
    lines = [
        f"{one['name']}: {one['versions']} versions {verb}, record {'written' if one['moved'] else 'as it was'}"
        for one in result["names"]
    ]
    models = [label for one in result["names"] for label in one["left"]]
    lines += [f"{label} is a whole model: copy its folder of the registry yourself" for label in models]
    print_json(result) if format is Format.json else print("\n".join(lines) or "there is nothing to copy")


@webhook_app.command("add")
def webhook_add(
    url: Annotated[str, typer.Argument(help="http(s)://…; gets a JSON POST for every move.")],
    lab: LabOption = DEFAULT_LAB,
    secret_env: Annotated[str, typer.Option("--secret-env", help="Variable whose value signs the body.")] = "",
) -> None:
    """Tell an address of every move of an alias."""
    from serve import webhooks

    webhooks.add(Lab(lab), webhooks.Webhook(url=url, secret_env=secret_env or None))
    print(f"{webhooks.shown(url)} is told of every move" + (f", signed with ${secret_env}" if secret_env else ""))


@webhook_app.command("remove")
def webhook_remove(url: Annotated[str, typer.Argument()], lab: LabOption = DEFAULT_LAB) -> None:
    """Tell an address no more."""
    from serve import webhooks

    webhooks.remove(Lab(lab), url)
    print(f"{webhooks.shown(url)} is told no more")


@webhook_app.command("ls")
def webhook_ls(lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """The addresses, and what could not be delivered."""
    from serve import webhooks

    hooks, failed = webhooks.read(Lab(lab)), webhooks.failures(Lab(lab))
    if format is Format.json:
        shown = [{"url": webhooks.shown(hook.url), "secret_env": hook.secret_env} for hook in hooks]
        return print_json({"webhooks": shown, "failed": failed})
    lines = [
        webhooks.shown(hook.url) + (f"  signed with ${hook.secret_env}" if hook.secret_env else "") for hook in hooks
    ]
    lines += [
        f"not delivered: {one['at']}  {one['url']}  {one['name']} #{one['seq']}: {one['problem']}" for one in failed
    ]
    return print("\n".join(lines) or "nobody is told of moves")

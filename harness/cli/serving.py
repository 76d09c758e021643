"""Versions, aliases and the endpoint that serves them."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.common import DEFAULT_LAB, Format, FormatOption, LabOption, app, progress_for, who
from harness.cli.registry import say
from harness.core.paths import Lab

LOCAL = "127.0.0.1"
ReplaceOption = Annotated[
    bool,
    typer.Option("--replace-base", help="Take the running engine over also where that ends other aliases of its base."),
]


def steps(line: str) -> None:
    """What takes a while, as it goes on: a successor of an engine is a start of vLLM."""
    typer.echo(line, err=True)


@app.command()
def promote(
    run_id: Annotated[
        str, typer.Argument(metavar="RUN", help="A run id from the report, best, or a full fine-tune's folder.")
    ],
    alias: Annotated[str, typer.Option("--as", help="NAME@ALIAS to move, e.g. aac@prod")],
    lab: LabOption = DEFAULT_LAB,
    force: Annotated[bool, typer.Option("--force", help="Promote without a SHIP verdict; needs --reason.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, kept in the history.")] = "",
    judged_for: Annotated[
        str, typer.Option("--judged-for", help="The alias of the verdict, where another one is to move.")
    ] = "",
    replace_base: ReplaceOption = False,
    format: FormatOption = Format.text,
) -> None:
    """Make a run an immutable version and move an alias to it, if its verdict is SHIP against what the alias serves."""
    from harness.pipeline import promotion

    say(promotion.promote(Lab(lab), run_id, alias, reason, force, who(), judged_for, replace_base, steps), format)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="NAME or NAME@ALIAS (default: prod)")],
    lab: LabOption = DEFAULT_LAB,
    reason: Annotated[str, typer.Option("--reason", help="Why, kept in the history.")] = "rollback",
    replace_base: ReplaceOption = False,
    format: FormatOption = Format.text,
) -> None:
    """Move an alias back to the version it served before. A running server follows at once."""
    from harness.pipeline import promotion

    say(promotion.rollback(Lab(lab), name, reason, who(), replace_base, steps), format)


@app.command()
def serve(
    name: Annotated[str, typer.Argument(help="A registry name; its base is served with every version.")] = "",
    base: Annotated[str, typer.Option("--base", help="Serve this base model (a folder or hub id) instead.")] = "",
    host: Annotated[str, typer.Option("--host", help="Where to listen; beyond this machine only with keys.")] = LOCAL,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any, and share a running engine.")] = 8000,
    cors: Annotated[list[str], typer.Option("--cors", help="A web origin that may call; repeat it.")] = [],  # noqa: B006
    max_loras: Annotated[
        int | None, typer.Option("--max-loras", min=1, max=256, help="Adapters in one batch.", show_default=False)
    ] = None,
    max_lora_rank: Annotated[
        int | None,
        typer.Option("--max-lora-rank", min=1, max=512, help="Larger adapters are left out.", show_default=False),
    ] = None,
    registry: Annotated[
        str, typer.Option("--registry", metavar="URL", help="Serve what `ratchet registry push URL` put there.")
    ] = "",
    vllm: Annotated[
        list[str], typer.Option("--vllm", metavar="KEY=VALUE", help="A further option of vLLM's own; repeat it.")
    ] = [],  # noqa: B006
    attach: Annotated[
        str, typer.Option("--attach", metavar="URL", help="Use a vLLM that runs already, unmodified; start none.")
    ] = "",
    attach_key_env: Annotated[
        str, typer.Option("--attach-key-env", metavar="NAME", help="The environment variable with that server's key.")
    ] = "",
    lab: LabOption = DEFAULT_LAB,
) -> None:
    """Serve base, versions and aliases behind an OpenAI-compatible endpoint until Ctrl-C."""
    from harness.pipeline import serving

    if attach:
        return serving.attach(Lab(lab), name, attach, attach_key_env, progress_for("text"))
    options, allowed = serving.vllm_options(vllm), serving.origins(cors)
    wanted = serving.Wanted(name, base, host, port, allowed, max_loras, max_lora_rank, registry, options)
    return serving.serve(Lab(lab), wanted, progress_for("text"))


@app.command()
def stop(lab: LabOption = DEFAULT_LAB) -> None:
    """Stop the lab's engines; running requests finish first, Ctrl-C ends them at once."""
    from harness.pipeline import serving

    stopped = serving.stop(Lab(lab))
    print(f"stopped {', '.join(stopped)}" if stopped else "no engine was running")

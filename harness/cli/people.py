"""People: who may rate, lead and run, and what they saw and changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.common import DEFAULT_LAB, Format, FormatOption, LabOption, app, group, print_json, who
from harness.core.errors import printable
from harness.core.paths import Lab

if TYPE_CHECKING:
    from harness.pipeline.privacy import Forgotten

people_group = group("people", "People of the lab: invitations, roles, the audit log.")
NameArgument = Annotated[str, typer.Argument(help="A pseudonym, e.g. ada", show_default=False)]
RoleOption = Annotated[list[str], typer.Option("--role", help="rater, lead or engineer; repeat it for several.")]
AtOption = Annotated[str, typer.Option("--at", help="Where people reach the portal, for the link.")]
DaysOption = Annotated[int, typer.Option("--days", min=1, max=90, help="How long the link works.")]
DEFAULT_AT = "http://127.0.0.1:7862"


@app.command("app")
def portal(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 7862,
    lab: LabOption = DEFAULT_LAB,
) -> None:
    """Open all pages behind one sign-in: rating, results and more, each for its roles; until Ctrl-C."""
    from dashboards.portal import serve_portal

    serve_portal(Lab(lab), port)


@people_group.command()
def invite(
    name: NameArgument,
    role: RoleOption,
    days: DaysOption = 7,
    sso: Annotated[str, typer.Option("--sso", help="What the company's proxy calls them; kept as a hash.")] = "",
    at: AtOption = DEFAULT_AT,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Make an account and print its link, once: whoever opens it first chooses the password."""
    from harness import audit
    from harness.people import People

    token = People(Lab(lab)).invite(name, role, days, sso)
    audit.note(Lab(lab), who(), "changed", f"invited {name} as {' '.join(role)}")
    _link(name, at, token, days, format)


@people_group.command("list")
def list_people(lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """Everybody, with roles and how they sign in; never a hash."""
    from harness.people import People

    people = People(Lab(lab))
    invited = people.invited()
    rows = [
        {
            "name": one.name,
            "roles": one.roles,
            "password": one.password is not None,
            "sso": one.sso is not None,
            "invited_until": invited.get(one.name),
            "created": one.created,
        }
        for one in people.all()
    ]
    if format is Format.json:
        print_json(rows)
        return
    for one, row in zip(people.all(), rows, strict=True):
        ways = [word for word, there in (("password", row["password"]), ("single sign-on", row["sso"])) if there]
        ways += [f"invited until {row['invited_until']}"] if row["invited_until"] else []
        print(f"{one.name:<20} {', '.join(one.roles):<24} {', '.join(ways) or 'cannot sign in: ratchet people reset'}")
    if not rows:
        print("nobody yet: ratchet people invite NAME --role lead")


@people_group.command()
def roles(
    name: NameArgument, role: RoleOption, lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text
) -> None:
    """Give a person other roles, in place of those they have; at once."""
    from harness import audit
    from harness.people import People

    person = People(Lab(lab)).set_roles(name, role)
    audit.note(Lab(lab), who(), "changed", f"{name} is {' '.join(person.roles)}")
    found = {"name": name, "roles": person.roles}
    print_json(found) if format is Format.json else print(f"{name} is {', '.join(person.roles)}")


@people_group.command()
def reset(
    name: NameArgument,
    days: DaysOption = 7,
    at: AtOption = DEFAULT_AT,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """End a password, its sessions and its wait after failures, and print a link to choose another."""
    from harness import audit
    from harness.people import People

    token = People(Lab(lab)).reset(name, days)
    audit.note(Lab(lab), who(), "changed", f"reset {name}")
    _link(name, at, token, days, format)


@people_group.command()
def remove(name: NameArgument, lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """Take an account away, with its sessions. Votes stay under the name: see `erase`."""
    from harness import audit
    from harness.people import People

    People(Lab(lab)).remove(name)
    audit.note(Lab(lab), who(), "changed", f"removed {name}")
    print_json({"removed": name}) if format is Format.json else print(f"removed {name}")


@people_group.command()
def erase(
    name: NameArgument,
    keep_edits: Annotated[
        bool, typer.Option("--keep-edits", help="Keep answers that they wrote, without name.")
    ] = False,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Forget a person: account, links and words go; votes stay counted under a pseudonym that leads to nobody."""
    from harness.pipeline import privacy

    _forgotten(privacy.erase(Lab(lab), name, who(), keep_edits), format)


@people_group.command()
def purge(
    days: Annotated[int, typer.Option("--older-than", min=1, max=36_500, help="Days.")],
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Take names and reasons out of campaigns where nobody did anything since, and old lines of the audit log."""
    from harness.pipeline import privacy

    _forgotten(privacy.purge(Lab(lab), days, who()), format)


@people_group.command("audit")
def show_audit(
    of: Annotated[str | None, typer.Option("--who", help="Only what this person did.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest N lines.")] = 50,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Who saw, exported and changed what, oldest first. No addresses: there are none."""
    from harness import audit

    found = audit.entries(Lab(lab), of)[-limit:]
    if format is Format.json:
        print_json([entry.model_dump(mode="json") for entry in found])
        return
    for entry in found:
        counts = ", ".join(f"{count} {name}" for name, count in entry.counts.items())
        print(
            printable(f"{entry.at}  {entry.who:<16} {entry.did:<10} {entry.what}" + (f" ({counts})" if counts else ""))
        )
    if not found:
        print("nothing yet")


def _forgotten(found: Forgotten, format: Format) -> None:
    if format is Format.json:
        print_json({"counts": found.counts, "remains": found.remains})
        return
    print(
        "forgot: " + (", ".join(f"{count} {name}" for name, count in found.counts.items() if count) or "nothing more")
    )
    for place in found.remains:
        print(printable(f"remains: {place}"))


def _link(name: str, at: str, token: str, days: int, format: Format) -> None:
    link = f"{at.rstrip('/')}/invite?token={token}"
    if format is Format.json:
        print_json({"name": name, "link": link, "days": days})
        return
    print(f"send this to {name}; it works once, for {days} days:\n{link}")

"""People as data."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from harness.core.errors import InputError
from harness.core.paths import check_name
from harness.core.records import Record

Role = Literal["rater", "lead", "engineer"]
ROLES: tuple[Role, ...] = get_args(Role)

ERASED = "x-"  # what the pseudonyms of erased people start with, short to fit in any name's place; nobody is invited so


class Person(Record):
    """One account. A person without a password comes by single sign-on, or has an invitation to use."""

    name: str = Field(description="the pseudonym; all that votes and audit lines know of a person")
    roles: list[Role]
    password: str | None = Field(None, description="an argon2id hash with its settings and salt")
    sso: str | None = Field(None, description="keyed hash of what the company's proxy calls this person")
    created: str

    def has(self, *roles: Role) -> bool:
        """Whether one of `roles` is this person's."""
        return not set(roles).isdisjoint(self.roles)


class Invitation(Record):
    """A link that one person may use once, to choose a password."""

    name: str
    sha256: str = Field(description="of the token in the link")
    until: str


class Session(Record):
    """One signed-in browser."""

    name: str
    sha256: str = Field(description="of the token in the cookie")
    created: str
    until: str


class Tries(Record):
    """Failed sign-ins under one name, whether or not there is such a person."""

    key: str = Field(description="keyed hash of the name that was typed: people type passwords there by mistake")
    failures: int
    last: str
    until: str | None = Field(None, description="no sign-in under this name before")


def check_roles(roles: list[str]) -> list[Role]:
    """`roles`, each once and in the order of ROLES; InputError for one that does not exist, or none."""
    wrong = [role for role in roles if role not in ROLES]
    if wrong or not roles:
        said = f"there is no role {wrong[0]!r}" if wrong else "no role is given"
        raise InputError(said, f"use --role with one of {', '.join(ROLES)}; repeat it for several")
    return [role for role in ROLES if role in roles]


def check_person(name: str) -> str:
    """`name` if a person may be called so, else InputError."""
    check_name(name, "name")
    if name.startswith(ERASED):
        raise InputError(f"names that start with {ERASED!r} stand for people who were erased", "choose another name")
    return name

"""Who stands before a page. Every handler asks this itself: `door.require(request)`, whatever stands in front of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import fastapi
import gradio as gr

from harness.audit import AuditLog, Did
from harness.people import People, Person, Role

Identify = Callable[[fastapi.Request], Person | None]


class Guests(Protocol):
    """Names that may use a page now: personal links (`Links`) or people with a role (`Door`)."""

    def raters(self) -> list[str]: ...


class Door:
    """The door of one page in the portal, for people with one of `roles`."""

    def __init__(self, people: People, roles: tuple[Role, ...], identify: Identify, audit: AuditLog) -> None:
        self.people, self.roles = people, roles
        self._identify, self._audit = identify, audit

    def require(self, request: gr.Request | fastapi.Request, *roles: Role) -> str:
        """The pseudonym of whoever sent `request`, who has one of `roles` (else: one of the page's); Refused if not.

        Roles are read anew, so one that was taken away ends with the next click.
        """
        if isinstance(request, gr.Request):
            name = request.username
        else:
            person = self._identify(request)
            name = person.name if person else None
        return self.people.require(name, *(roles or self.roles)).name

    def ask(self, request: fastapi.Request, did: Did | None = None, what: str = "") -> None:
        """`require`, and a line in the audit log where something was done; call it before that is handed out."""
        who = self.require(request)
        if did:
            self._audit.add(who, did, what)

    def who(self, request: fastapi.Request) -> str | None:
        """Gradio's `auth_dependency`: the name that its handlers find in `request.username`."""
        person = self._identify(request)
        return person.name if person and person.has(*self.roles) else None

    def raters(self) -> list[str]:
        """Everybody whom the page is for now."""
        return [person.name for person in self.people.all() if person.has(*self.roles)]

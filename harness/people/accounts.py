"""The people of one lab: invite, sign in and out, change roles, remove. Thread-safe, and safe among processes.

Times are UTC. What a stranger gets to know is the same for a name that exists and one that does not: the same words,
the same work, the same wait after failures.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import Callable, Sequence

import argon2

from harness.core.errors import InputError
from harness.core.paths import Lab
from harness.core.records import now
from harness.core.traffic import salt
from harness.people import tries
from harness.people.records import Invitation, Person, Role, Session, Tries, check_person, check_roles
from harness.people.shelf import Shelf, private_folder

INVITATION_DAYS = 7
SESSION_DAYS = 14
MOST_SESSIONS = 20  # of one person; the oldest end first
PASSWORD_LENGTH = (10, 200)  # long rather than odd (NIST SP 800-63B); the upper bound keeps hashing cheap

Clock = Callable[[], datetime.datetime]


class Refused(InputError):
    """Somebody asked for what is not for them, or is not signed in."""


class WrongPassword(Refused):
    """No such name, no password yet, or a wrong one: which of them is not told."""

    def __init__(self) -> None:
        fix = "try again, or ask for a new invitation"
        super().__init__("the name or the password is wrong", fix, "wrong_password")


class Locked(Refused):
    """Too many failures under this name; `wait_s` seconds to go."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        minutes = max(round(wait_s / 60), 1)
        said = f"try again in {minutes} minute" + ("s" if minutes > 1 else "")
        super().__init__("too many failed tries under this name", said, "locked", count=minutes)


def _utc() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class People:
    """Accounts under `lab/people/`, read again whenever their files change."""

    def __init__(self, lab: Lab, clock: Clock = _utc, hasher: argon2.PasswordHasher | None = None) -> None:
        place = lab.people
        self._place, self._clock = place, clock
        self._hasher = hasher or argon2.PasswordHasher()  # argon2id, the library's own settings (RFC 9106)
        self._people = Shelf(place / "people.json", Person)
        self._invitations = Shelf(place / "invitations.json", Invitation)
        self._sessions = Shelf(place / "sessions.json", Session)
        self._tries = Shelf(place / "tries.json", Tries)

    # --- who there is ---

    def all(self) -> list[Person]:
        return sorted(self._people.rows(), key=lambda person: person.name)

    def get(self, name: str) -> Person | None:
        return next((person for person in self._people.rows() if person.name == name), None)

    def require(self, name: str | None, *roles: Role) -> Person:
        """The person called `name`, who has one of `roles` now; Refused for anybody else."""
        person = self.get(name) if name else None
        if person is None:
            raise Refused("you are not signed in", "sign in, then try again")
        if not person.has(*roles):
            raise Refused(f"this is for {' and '.join(f'{role}s' for role in roles)}", "ask a lead for the role")
        return person

    def invited(self) -> dict[str, str]:
        """Name -> until when the invitation stands."""
        return {one.name: one.until for one in self._invitations.rows() if self._stands(one.until)}

    # --- by the lab's owner ---

    def invite(self, name: str, roles: Sequence[str], days: int = INVITATION_DAYS, sso: str = "") -> str:
        """Make an account and the token of a link by which this person chooses a password; the link works once.

        `sso` is what the company's proxy calls them; only its keyed hash is kept. InputError where the name is taken.
        """
        check_person(name)
        person = Person(name=name, roles=check_roles(list(roles)), sso=self._key(sso) if sso else None, created=now())
        with self._people.changed() as people:
            if any(one.name == name for one in people):
                raise InputError(f"{name} is there already", "use `ratchet people roles` or `reset`")
            if person.sso and any(one.sso == person.sso for one in people):
                raise InputError("somebody else has that name at the proxy", "look at `ratchet people list`")
            people.append(person)
        return self._new_invitation(name, days)

    def set_roles(self, name: str, roles: Sequence[str]) -> Person:
        """Other roles for a person, from their next request on."""
        return self._change(name, roles=check_roles(list(roles)))

    def reset(self, name: str, days: int = INVITATION_DAYS) -> str:
        """End password, sessions and waits of a person; the token of a link to choose a new password."""
        self._change(name, password=None)
        self._end_sessions(name)
        with self._tries.changed() as rows:
            tries.succeeded(rows, self._key(name))
        return self._new_invitation(name, days)

    def remove(self, name: str) -> None:
        """Take an account away, with its sessions and invitation. InputError where there is none."""
        with self._people.changed() as people:
            kept = [one for one in people if one.name != name]
            if len(kept) == len(people):
                raise self._unknown(name)
            people[:] = kept
        self._end_sessions(name)
        with self._invitations.changed() as invitations:
            invitations[:] = [one for one in invitations if one.name != name]
        with self._tries.changed() as rows:
            tries.succeeded(rows, self._key(name))

    # --- by the person ---

    def invitation(self, token: str) -> Person | None:
        """Whom a link invites, while it stands."""
        digest = _sha256(token)
        found = [
            one.name
            for one in self._invitations.rows()
            if hmac.compare_digest(one.sha256, digest) and self._stands(one.until)
        ]
        return self.get(found[0]) if token and found else None

    def accept(self, token: str, password: str) -> Person:
        """Give the invited person their password; the link is used up. Refused where it does not stand."""
        hashed = self._hasher.hash(_checked(password))
        digest = _sha256(token)
        with self._invitations.changed() as invitations:
            found = next((one for one in invitations if hmac.compare_digest(one.sha256, digest)), None)
            if found is None or not self._stands(found.until):
                raise Refused("this invitation was used, or is too old", "ask for a new one")
            invitations.remove(found)
            # While the invitation is held: a crash between the two must leave a link that still works.
            person = self._change(found.name, password=hashed)
        self._end_sessions(person.name)
        return person

    def sign_in(self, name: str, password: str) -> str:
        """The token of a new session. Raises WrongPassword or Locked, which tell nothing of whether the name exists.

        Takes as long as argon2 does, about a tenth of a second and 64 MiB: the caller bounds how many run at once.
        """
        name = name.strip().casefold()
        key = self._key(name)
        with self._tries.changed() as rows:
            wait_s = tries.waits(rows, key, self._clock())
            if not wait_s:
                tries.failed(rows, key, self._clock())
        if wait_s:
            raise Locked(wait_s)
        if not self._is_right(name, password):
            raise WrongPassword
        with self._tries.changed() as rows:
            tries.succeeded(rows, key)
        return self._new_session(name)

    def signed_in(self, token: str | None) -> Person | None:
        """Whose session this token is, or None."""
        digest = _sha256(token or "")
        found = [
            one.name
            for one in self._sessions.rows()
            if hmac.compare_digest(one.sha256, digest) and self._stands(one.until)
        ]
        return self.get(found[0]) if token and found else None

    def known_to_proxy(self, called: str) -> Person | None:
        """Whom the company's proxy calls so, or None."""
        key = self._key(called)
        found = [one for one in self._people.rows() if one.sso and hmac.compare_digest(one.sso, key)]
        return found[0] if called and found else None

    def sign_out(self, token: str) -> None:
        digest = _sha256(token)
        with self._sessions.changed() as sessions:
            sessions[:] = [one for one in sessions if one.sha256 != digest]

    # --- inside ---

    @functools.cached_property
    def _nobody(self) -> str:
        """The hash of a password that nobody knows, so that an unknown name costs what a known one does."""
        return self._hasher.hash(secrets.token_urlsafe(32))

    @functools.cached_property
    def _salt(self) -> bytes:
        private_folder(self._place)
        return salt(self._place)

    def _key(self, text: str) -> str:
        return hmac.new(self._salt, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def key_of(self, name: str) -> str:
        """A name as a few characters that tell nothing without the lab's salt, for audit lines on erased people."""
        return self._key(name)[:12]

    def _is_right(self, name: str, password: str) -> bool:
        nobody = self._nobody
        person = self.get(name)
        hashed = person.password if person else None
        try:
            self._hasher.verify(hashed or nobody, _normal(password)[: PASSWORD_LENGTH[1]])
        except argon2.exceptions.VerificationError:
            return False
        if hashed is None:
            return False
        if self._hasher.check_needs_rehash(hashed):
            self._change(name, password=self._hasher.hash(_normal(password)))
        return True

    def _change(self, name: str, **values: object) -> Person:
        with self._people.changed() as people:
            place = next((place for place, one in enumerate(people) if one.name == name), None)
            if place is None:
                raise self._unknown(name)
            people[place] = people[place].model_copy(update=values)
            return people[place]

    def _unknown(self, name: str) -> InputError:
        known = ", ".join(person.name for person in self.all()) or "nobody yet"
        return InputError(f"there is no {name!r}", f"there is {known}")

    def _new_invitation(self, name: str, days: int) -> str:
        token = secrets.token_urlsafe(32)
        until = (self._clock() + datetime.timedelta(days=days)).isoformat(timespec="seconds")
        with self._invitations.changed() as invitations:
            others = [one for one in invitations if one.name != name and self._stands(one.until)]
            invitations[:] = [*others, Invitation(name=name, sha256=_sha256(token), until=until)]
        return token

    def _new_session(self, name: str) -> str:
        token, at = secrets.token_urlsafe(32), self._clock()
        until = at + datetime.timedelta(days=SESSION_DAYS)
        made = Session(name=name, sha256=_sha256(token), created=at.isoformat(), until=until.isoformat())
        with self._sessions.changed() as sessions:
            living = [one for one in sessions if self._stands(one.until)]
            mine = [one for one in living if one.name == name][-(MOST_SESSIONS - 1) :]
            sessions[:] = [*(one for one in living if one.name != name), *mine, made]
        return token

    def _end_sessions(self, name: str) -> None:
        with self._sessions.changed() as sessions:
            sessions[:] = [one for one in sessions if one.name != name]

    def _stands(self, until: str) -> bool:
        return datetime.datetime.fromisoformat(until) > self._clock()


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _normal(password: str) -> str:
    """The same characters however a keyboard composed them."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "replace").decode()


def _checked(password: str) -> str:
    least, most = PASSWORD_LENGTH
    normal = _normal(password)
    limits = f"a password has {least} to {most} characters"
    if len(normal) < least:
        fix = "choose a longer one: a sentence will do"
        raise InputError(limits, fix, "password_short", least=least, most=most)
    if len(normal) > most:
        raise InputError(limits, "choose a shorter one", "password_long", least=least, most=most)
    if len(set(normal)) < 4:
        fix = "choose another one: a sentence will do"
        raise InputError("that password repeats a few characters", fix, "password_repeats")
    return normal

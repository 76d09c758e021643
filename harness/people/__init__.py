"""Who may do what in a lab: people by pseudonym, roles, passwords, invitations, sessions, single sign-on.

Knows files and rules, nothing of web pages. Everything lies under `lab/people/`, readable by its owner only:

    people.json        who there is: pseudonym, roles, an argon2 hash of the password
    invitations.json   links that were sent and not used yet, by the SHA-256 of their token
    sessions.json      who is signed in, by the SHA-256 of their token
    tries.json         failed sign-ins, by a keyed hash of the name that was typed
    salt               the lab's own secret for that hash
    sso.yaml           optional, by a person: which header of which proxy says who is there
    audit-*.jsonl      who saw, exported and changed what (harness.audit)
"""

from harness.people.accounts import Locked, People, Refused, WrongPassword
from harness.people.records import ROLES, Invitation, Person, Role
from harness.people.sso import Proxy, read_proxy

__all__ = [
    "ROLES",
    "Invitation",
    "Locked",
    "People",
    "Person",
    "Proxy",
    "Refused",
    "Role",
    "WrongPassword",
    "read_proxy",
]

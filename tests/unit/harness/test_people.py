"""Accounts, lockout, invitations, sessions, single sign-on and the audit log, by the files they leave."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import argon2
import pytest

from harness import audit
from harness.core.errors import InputError, LabError
from harness.core.paths import Lab
from harness.people import Locked, People, Proxy, Refused, WrongPassword, read_proxy
from harness.people.tries import FIRST_WAIT_S, FREE, LONGEST_WAIT_S

SENTENCE = "a sentence will do"
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)

    def __call__(self) -> datetime.datetime:
        return self.at

    def forward(self, **kwargs: float) -> None:
        self.at += datetime.timedelta(**kwargs)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def people(tmp_path: Path, clock: Clock) -> People:
    return People(Lab(tmp_path), clock, CHEAP)


def joined(people: People, name: str = "ada", roles: tuple[str, ...] = ("rater",)) -> None:
    people.accept(people.invite(name, roles), SENTENCE)


def test_an_invited_person_chooses_a_password_and_signs_in_until_they_sign_out(people: People, tmp_path: Path) -> None:
    link = people.invite("ada", ["engineer", "rater"])
    assert people.invitation(link) is not None
    assert people.accept(link, SENTENCE).roles == ["rater", "engineer"]
    token = people.sign_in("  Ada ", SENTENCE)  # phones write a capital and a space
    again = People(Lab(tmp_path), people._clock, CHEAP)  # a server that was started anew
    person = again.signed_in(token)
    assert person is not None
    assert person.name == "ada"
    again.sign_out(token)
    assert people.signed_in(token) is None


def test_nothing_on_disk_opens_a_door_and_only_the_owner_reads_it(people: People, tmp_path: Path) -> None:
    link = people.invite("ada", ["rater"], sso="ada@example.com")
    people.accept(link, SENTENCE)
    token = people.sign_in("ada", SENTENCE)
    with pytest.raises(WrongPassword):
        people.sign_in("ada", "my secret of another site")
    place = tmp_path / "people"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    files = [path for path in place.iterdir() if path.suffix != ".lock"]
    assert {path.name for path in files} == {"people.json", "invitations.json", "sessions.json", "tries.json", "salt"}
    for path in place.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        content = path.read_bytes()
        for secret in (link, token, SENTENCE, "another site", "example.com"):
            assert secret.encode() not in content, path
    (person,) = json.loads((place / "people.json").read_text(encoding="utf-8"))
    assert person["password"].startswith("$argon2id$")


def test_a_link_works_once_in_its_time_and_a_newer_one_ends_it(people: People, clock: Clock) -> None:
    old = people.invite("ada", ["rater"], days=2)
    new = people.reset("ada", days=2)
    assert people.invitation(old) is None
    clock.forward(days=2)
    assert people.invitation(new) is None
    with pytest.raises(Refused, match="too old"):
        people.accept(new, SENTENCE)
    link = people.reset("ada")
    people.accept(link, SENTENCE)
    with pytest.raises(Refused, match="used"):
        people.accept(link, "another sentence")
    assert people.invitation("") is None


@pytest.mark.parametrize("password", ["short", "", "x" * 201, "aaaaaaaaaaaaaa"])
def test_a_password_that_is_no_good_leaves_the_link_as_it_was(people: People, password: str) -> None:
    link = people.invite("ada", ["rater"])
    with pytest.raises(InputError, match="password"):
        people.accept(link, password)
    assert people.accept(link, SENTENCE).name == "ada"


def test_a_password_however_composed_is_the_same(people: People) -> None:
    people.accept(people.invite("ada", ["rater"]), "caf\u00e9 au lait, s'il vous pla\u00eet")
    assert people.sign_in("ada", "cafe\u0301 au lait, s'il vous plai\u0302t")


def test_each_failure_after_the_first_few_costs_twice_the_wait(people: People, clock: Clock, tmp_path: Path) -> None:
    """FREE failures, then waits of 30, 60, 120, … seconds, at most an hour; the right password waits as well."""
    joined(people)
    for _ in range(FREE):
        with pytest.raises(WrongPassword):
            people.sign_in("ada", "a wrong sentence")
    waits = []
    for _ in range(9):
        with pytest.raises(Locked) as caught:
            People(Lab(tmp_path), clock, CHEAP).sign_in("ada", SENTENCE)  # a restart does not end it
        waits.append(caught.value.wait_s)
        clock.forward(seconds=caught.value.wait_s)
        with pytest.raises(WrongPassword):
            people.sign_in("ada", "a wrong sentence")
    assert waits == [min(FIRST_WAIT_S * 2**n, LONGEST_WAIT_S) for n in range(9)]
    clock.forward(seconds=LONGEST_WAIT_S)
    people.sign_in("ada", SENTENCE)
    with pytest.raises(WrongPassword):  # and all is forgotten
        people.sign_in("ada", "a wrong sentence")


def test_many_guesses_at_once_are_no_way_round_the_lock(people: People) -> None:
    joined(people)
    outcomes: list[str] = []

    def guess() -> None:
        try:
            people.sign_in("ada", "a wrong sentence")
        except Refused as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=guess) for _ in range(4 * FREE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("WrongPassword") == FREE
    assert outcomes.count("Locked") == 3 * FREE


class Counting(argon2.PasswordHasher):
    """Counts what it was asked to verify."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:
        self.verified += 1
        return super().verify(hash, password)


@pytest.mark.parametrize("name", ["ada", "nobody", "invited", "../../etc", ""])
def test_a_stranger_cannot_tell_which_names_exist(tmp_path: Path, clock: Clock, name: str) -> None:
    hasher = Counting()
    people = People(Lab(tmp_path), clock, hasher)
    joined(people)
    people.invite("invited", ["rater"])
    said = []
    for _ in range(FREE + 1):
        with pytest.raises(Refused) as caught:
            people.sign_in(name, "a wrong sentence")
        said.append((type(caught.value).__name__, caught.value.one_line()))
    assert [kind for kind, _ in said] == ["WrongPassword"] * FREE + ["Locked"]
    assert len({text for _, text in said}) == 2
    assert "ada" not in str(said)
    assert hasher.verified == FREE


def test_roles_count_at_once_and_are_checked_by_name(people: People) -> None:
    joined(people, "ada", ("lead",))
    assert people.require("ada", "engineer", "lead").name == "ada"
    people.set_roles("ada", ["rater"])
    for name in ("ada", "nobody", "", None):
        with pytest.raises(Refused):
            people.require(name, "engineer", "lead")
    with pytest.raises(InputError, match="no role 'boss'"):
        people.set_roles("ada", ["boss"])


@pytest.mark.parametrize("name", ["Ada", "a/b", "..", "", "x-ab2c", "ada@example.com"])
def test_names_are_pseudonyms_that_are_safe_as_files(people: People, name: str) -> None:
    with pytest.raises(InputError, match="name"):
        people.invite(name, ["rater"])


def test_reset_and_remove_end_sessions(people: People) -> None:
    joined(people)
    token = people.sign_in("ada", SENTENCE)
    people.reset("ada")
    assert people.signed_in(token) is None
    with pytest.raises(WrongPassword):
        people.sign_in("ada", SENTENCE)
    joined(people, "eve")
    token = people.sign_in("eve", SENTENCE)
    people.remove("eve")
    assert people.signed_in(token) is None
    with pytest.raises(InputError, match="no 'eve'"):
        people.remove("eve")


def test_sessions_end_and_do_not_pile_up(people: People, clock: Clock, tmp_path: Path) -> None:
    joined(people)
    tokens = []
    for _ in range(25):
        clock.forward(seconds=1)
        tokens.append(people.sign_in("ada", SENTENCE))
    assert [people.signed_in(token) is not None for token in tokens] == [False] * 5 + [True] * 20
    clock.forward(days=14)
    assert people.signed_in(tokens[-1]) is None
    people.sign_in("ada", SENTENCE)
    assert len(json.loads((tmp_path / "people" / "sessions.json").read_text(encoding="utf-8"))) == 1


def test_a_damaged_file_is_named(people: People, tmp_path: Path) -> None:
    joined(people)
    path = tmp_path / "people" / "people.json"
    path.write_text("[{}]", encoding="utf-8")
    with pytest.raises(LabError, match=r"people\.json is damaged"):
        people.all()


# --- single sign-on ---------------------------------------------------------------------------------------------


def test_a_name_at_the_proxy_belongs_to_one_person(people: People) -> None:
    people.invite("ada", ["rater"], sso="ada@example.com")
    with pytest.raises(InputError, match="somebody else"):
        people.invite("eve", ["rater"], sso="ada@example.com")
    found = people.known_to_proxy("ada@example.com")
    assert found is not None
    assert found.name == "ada"
    assert people.known_to_proxy("eve@example.com") is None
    assert people.known_to_proxy("") is None


def test_only_the_proxy_is_believed(tmp_path: Path) -> None:
    secret = hashlib.sha256(b"between us").hexdigest()
    lab = Lab(tmp_path)
    lab.people.mkdir()
    said = f"header: X-User\nfrom: [10.0.0.0/8, '::1']\nsecret_header: X-Secret\nsecret_sha256: {secret}\n"
    (lab.people / "sso.yaml").write_text(said, encoding="utf-8")
    proxy = read_proxy(lab)
    assert proxy is not None
    assert proxy.trusts("10.1.2.3", "between us")
    assert proxy.trusts("::1", "between us")
    for address, word in (("10.1.2.3", None), ("10.1.2.3", "guess"), ("11.0.0.1", "between us"), (None, "between us"),
                          ("", "between us"), ("10.0.0.0/8", "between us")):  # fmt: skip
        assert not proxy.trusts(address, word)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("header: X-User\nfrom: [0.0.0.0/0]\n", "from"),
        ("header: X-User\nfrom: [everybody]\n", "from"),
        ("header: X-User\n", "from"),
        ("header: X-User\nfrom: [127.0.0.1]\nsecret_header: X-Secret\n", "secret_sha256"),
        ("header: X-User\nfrom: [127.0.0.1]\nsecrets: x\n", "secrets"),
        ("- 1", "the file"),
        ("{", "YAML"),
    ],
)
def test_a_wrong_sso_file_says_which_key(tmp_path: Path, text: str, key: str) -> None:
    lab = Lab(tmp_path)
    lab.people.mkdir()
    (lab.people / "sso.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=rf"sso\.yaml.*{key}"):
        read_proxy(lab)


def test_without_a_second_secret_the_address_alone_counts() -> None:
    assert Proxy.model_validate({"header": "X-User", "from": ["127.0.0.1"]}).trusts("127.0.0.1", None)


# --- audit ------------------------------------------------------------------------------------------------------


def test_the_audit_log_only_grows_and_is_private(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    log = audit.AuditLog(lab)
    log.add("ada", "exported", "leaderboard.csv", {"rows": 3})
    audit.note(lab, "eve", "changed", "invited ada")
    log.add("ada", "opened", "/results/")
    log.close()
    assert [(one.who, one.did) for one in audit.entries(lab, "ada")] == [("ada", "exported"), ("ada", "opened")]
    assert len(audit.entries(lab)) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in lab.people.glob("audit-*.jsonl")} == {0o600}


# --- the command ------------------------------------------------------------------------------------------------


def ratchet(lab: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness.cli", *arguments]
    given = {**os.environ, "RATCHET_LAB": str(lab), "RATCHET_USER": "owner", **environment}
    return subprocess.run(command, env=given, capture_output=True, text=True)


def test_the_command_invites_lists_changes_and_keeps_a_line_of_it(tmp_path: Path) -> None:
    made = ratchet(tmp_path, "people", "invite", "ada", "--role", "rater", "--at", "https://rate.example.com")
    assert made.returncode == 0, made.stderr
    link = made.stdout.split()[-1]
    assert link.startswith("https://rate.example.com/invite?token=")
    assert ratchet(tmp_path, "people", "roles", "ada", "--role", "lead", "--role", "rater").returncode == 0
    listed = json.loads(ratchet(tmp_path, "people", "list", "--format", "json").stdout)
    assert [(one["name"], one["roles"], one["password"]) for one in listed] == [("ada", ["rater", "lead"], False)]
    assert "hash" not in str(listed)
    twice = ratchet(tmp_path, "people", "invite", "ada", "--role", "rater")
    assert (twice.returncode, twice.stderr.count("\n")) == (1, 1)
    assert ratchet(tmp_path, "people", "remove", "ada").returncode == 0
    lines = json.loads(ratchet(tmp_path, "people", "audit", "--format", "json").stdout)
    assert [(line["who"], line["what"]) for line in lines] == [
        ("owner", "invited ada as rater"),
        ("owner", "ada is rater lead"),
        ("owner", "removed ada"),
    ]


@pytest.mark.parametrize(("point", "there"), [("people.record", 0), ("people.audit", 1)])
def test_a_killed_invitation_is_whole_or_not_there(tmp_path: Path, point: str, there: int) -> None:
    killed = ratchet(tmp_path, "people", "invite", "ada", "--role", "rater", RATCHET_KILL_AT=point)
    assert killed.returncode == -signal.SIGKILL
    assert len(People(Lab(tmp_path)).all()) == there
    again = ratchet(tmp_path, "people", "reset" if there else "invite", "ada", *([] if there else ["--role", "rater"]))
    assert again.returncode == 0, again.stderr
    assert [person.name for person in People(Lab(tmp_path)).all()] == ["ada"]
    assert list(tmp_path.rglob("*.tmp")) == []

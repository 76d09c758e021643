"""Single sign-on: a company's proxy signs people in and says in a header who is there.

`lab/people/sso.yaml`, by a person:

    header: X-Forwarded-User       # what the proxy sets, and takes away from what comes from outside
    from: [127.0.0.1]              # addresses or networks that may send it; from anybody else it is no more than text
    secret_header: X-Proxy-Secret  # optional: a second header with a secret, where others can send from these addresses
    secret_sha256: 5e88…           # SHA-256 of that secret, in hexadecimal
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
import ipaddress
from pathlib import Path

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from harness.core.errors import InputError
from harness.core.paths import Lab
from harness.core.records import Record


class Proxy(Record):
    """Whose word is taken for who is there."""

    header: str = Field(pattern=r"^[A-Za-z0-9-]{1,100}$")
    sent_from: list[str] = Field(alias="from", min_length=1)
    secret_header: str | None = Field(None, pattern=r"^[A-Za-z0-9-]{1,100}$")
    secret_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")

    @field_validator("sent_from")
    @classmethod
    def _are_addresses(cls, values: list[str]) -> list[str]:
        for value in values:
            if ipaddress.ip_network(value).prefixlen == 0:
                raise ValueError(f"{value} is everybody")
        return values

    @model_validator(mode="after")
    def _both_or_none(self) -> Proxy:
        if (self.secret_header is None) != (self.secret_sha256 is None):
            raise ValueError("secret_header and secret_sha256 belong together")
        return self

    def trusts(self, address: str | None, secret: str | None) -> bool:
        """Whether a request from `address`, with `secret` in the second header, comes from the proxy."""
        try:
            sender = ipaddress.ip_address(address or "")
        except ValueError:
            return False
        if not any(sender in ipaddress.ip_network(network) for network in self.sent_from):
            return False
        if self.secret_sha256 is None:
            return True
        return hmac.compare_digest(hashlib.sha256((secret or "").encode()).hexdigest(), self.secret_sha256)


def read_proxy(lab: Lab) -> Proxy | None:
    """What sso.yaml says, or None where there is none. InputError names the key that is wrong."""
    path = _path(lab)
    if not path.exists():
        return None
    try:
        return Proxy.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML ({error})", "correct it") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        known = ["header", "from", "secret_header", "secret_sha256"]
        near = difflib.get_close_matches(key, known, n=1) or known
        raise InputError(f"{path}: {key}: {first['msg']}", f"its keys are {', '.join(near)}") from error


def _path(lab: Lab) -> Path:
    return lab.people / "sso.yaml"

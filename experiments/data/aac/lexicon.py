"""The icons and what is known of each word, read from `lexicon.yaml`.

A word may be two icons (`clean` is a verb and an adjective); `Icon` therefore compares by word and category.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

LEXICON_FILE = Path(__file__).with_name("lexicon.yaml")


@dataclass(frozen=True, order=True)
class Icon:
    """One picture on the communicator. `kind` is the group inside its category (`fruit`, `feeling`, ...)."""

    word: str
    category: str
    kind: str = ""

    def show(self) -> str:
        """The icon as the prompt writes it."""
        return f"{{ {self.word} ; {self.category} }}"


@dataclass(frozen=True)
class Verb:
    """What a verb icon allows and how it is inflected; the meaning of each field is given in `lexicon.yaml`."""

    word: str
    objects: tuple[str, ...] = ()
    det: str = "a"
    link: str = ""
    place: str = ""
    places: tuple[str, ...] = ("place", "bareplace")
    by: str = "people"
    past: str = ""
    third: str = ""
    optional: bool = False
    stative: bool = False
    infinitive: bool = False
    ask: bool = False
    receiver: bool = False
    imperative_only: bool = False
    modal: bool = False


@dataclass
class Lexicon:
    """All icons with their word knowledge. Built once by `load_lexicon`; treat it as read-only."""

    icons: list[Icon] = field(default_factory=list)
    core: set[str] = field(default_factory=set)
    plurals: dict[str, str] = field(default_factory=dict)
    verbs: dict[str, Verb] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    pronouns: dict[str, dict[str, Any]] = field(default_factory=dict)
    adjective_of: dict[str, list[str]] = field(default_factory=dict)
    place_of: dict[str, list[str]] = field(default_factory=dict)
    times: dict[str, str] = field(default_factory=dict)

    def of(self, category: str, kinds: tuple[str, ...] = ()) -> list[Icon]:
        """Icons of a category; with `kinds`, only those whose kind or word is among them (groups are opened)."""
        wanted = self.open_kinds(kinds)
        return [i for i in self.icons if i.category == category and (not kinds or i.kind in wanted or i.word in wanted)]

    def open_kinds(self, kinds: tuple[str, ...] | list[str]) -> set[str]:
        """Replace every group name by the kinds that it stands for, however deep."""
        out: set[str] = set()
        for kind in kinds:
            out |= self.open_kinds(self.groups[kind]) if kind in self.groups else {kind}
        return out

    def fits(self, icon: Icon, kinds: tuple[str, ...] | list[str]) -> bool:
        """Whether a noun (or pronoun, kind `pronoun`) is of one of these kinds."""
        wanted = self.open_kinds(kinds)
        return icon.kind in wanted or icon.word in wanted


def _nouns(raw: dict[str, list[str]], lexicon: Lexicon) -> None:
    for kind, entries in raw.items():
        for entry in entries:
            word, _, plural = str(entry).partition("=")
            lexicon.icons.append(Icon(word, "NOUN", kind))
            if plural:
                lexicon.plurals[word] = plural


def _verbs(raw: dict[str, dict[str, Any]], lexicon: Lexicon) -> None:
    for word, entry in raw.items():
        fields = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
        lexicon.verbs[word] = Verb(word, **fields)
        lexicon.icons.append(Icon(word, "VERB", "modal" if entry.get("modal") else "verb"))


def _small_classes(raw: dict[str, Any], lexicon: Lexicon) -> None:
    for kind, entry in raw["adjectives"].items():
        lexicon.adjective_of[kind] = entry["of"]
        lexicon.icons += [Icon(word, "ADJECTIVE", kind) for word in entry["words"]]
    for category, key in (
        ("OWNER", "owners"),
        ("NUMBER", "numbers"),
        ("ADVERB", "adverbs"),
        ("QUESTION", "questions"),
        ("NEGATION", "negations"),
        ("NUMBER", "more"),
        ("PREPOSITION", "prepositions"),
    ):
        lexicon.icons += [Icon(word, category, key) for word in raw[key]]
    for category, key in (("TIME", "times"), ("TENSE", "tenses"), ("SOCIAL", "socials")):
        lexicon.icons += [Icon(word, category, kind) for word, kind in raw[key].items()]


@lru_cache(maxsize=1)
def load_lexicon() -> Lexicon:
    """Read `lexicon.yaml`; icons keep the order of the file, so that sampling is reproducible."""
    raw = yaml.safe_load(LEXICON_FILE.read_text(encoding="utf-8"))
    lexicon = Lexicon(
        core=set(raw["core"]),
        groups=raw["groups"],
        pronouns=raw["pronouns"],
        place_of=raw["prepositions"],
        times=raw["times"],
    )
    lexicon.icons += [Icon(word, "PRONOUN", "pronoun") for word in raw["pronouns"]]
    _nouns(raw["nouns"], lexicon)
    _verbs(raw["verbs"], lexicon)
    _small_classes(raw, lexicon)
    return lexicon

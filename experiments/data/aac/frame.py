"""A clause that is filled icon by icon, and what each icon does to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from experiments.data.aac.lexicon import Icon, Lexicon, Verb


@dataclass
class NounPhrase:
    """A pronoun, or a noun with what stands before it."""

    head: Icon | None = None
    owner: Icon | None = None
    number: Icon | None = None
    adjective: Icon | None = None

    @property
    def started(self) -> bool:
        return any((self.head, self.owner, self.number, self.adjective))


@dataclass
class Frame:
    """A clause in the making. `stage` names what may come next; see `grammar.STAGES`."""

    lexicon: Lexicon
    stage: str = "start"
    icons: list[Icon] = field(default_factory=list)
    social: Icon | None = None
    addressee: Icon | None = None
    time: Icon | None = None
    time_first: bool = False
    question: str = ""
    subject: NounPhrase = field(default_factory=NounPhrase)
    tense: Icon | None = None
    negated: bool = False
    modal: Icon | None = None
    verb: Verb | None = None
    infinitive: Verb | None = None
    receiver: Icon | None = None
    object: NounPhrase = field(default_factory=NounPhrase)
    adjective: Icon | None = None
    preposition: Icon | None = None
    place: Icon | None = None
    adverb: Icon | None = None
    please: bool = False

    @property
    def imperative(self) -> bool:
        return self.verb is not None and self.subject.head is None and self.question != "who"

    @property
    def last_verb(self) -> Verb | None:
        """The verb that takes the object: of *want to eat*, *eat*."""
        return self.infinitive or self.verb

    def add(self, slot: str, icon: Icon) -> None:
        """Put an icon into a slot that `grammar.moves` offered and go to the stage that follows."""
        self.icons.append(icon)
        self.stage = FILL[slot](self, icon)

    @property
    def complete(self) -> bool:
        """Whether a sentence can end here."""
        if self.stage == "greeted":
            return self.addressee is not None
        if self.question in ("where", "how", "what") and self.stage == "asked":
            return True
        if self.stage == "predicate":
            return self._names_something()
        return self.stage in ("verb", "after", "end") and not self._lacks_object()

    def _names_something(self) -> bool:
        """A noun phrase alone ("two dogs") is a statement if nothing else stands and the noun is described."""
        only = not (self.social or self.time or self.question or self.tense or self.modal or self.negated)
        return only and bool(self.subject.owner or self.subject.number or self.subject.adjective)

    def _lacks_object(self) -> bool:
        verb = self.last_verb
        needs = verb is not None and not verb.optional and not self.object.head and self.question != "what"
        return needs


def _set_social(frame: Frame, icon: Icon) -> str:
    frame.social = icon
    return "greeted" if icon.kind == "greet" else "start"


def _set_question(frame: Frame, icon: Icon) -> str:
    frame.question = icon.word
    return "start" if icon.word == "question" else "questioned"


def _set_subject(frame: Frame, icon: Icon) -> str:
    frame.subject.head = icon
    return "asked" if frame.question in ("what", "where", "how") else "predicate"


def _set_verb(frame: Frame, icon: Icon) -> str:
    frame.verb = frame.lexicon.verbs[icon.word]
    return "verb"


def _set_infinitive(frame: Frame, icon: Icon) -> str:
    frame.infinitive = frame.lexicon.verbs[icon.word]
    return "verb"


def _set_time_first(frame: Frame, icon: Icon) -> str:
    frame.time, frame.time_first = icon, True
    return "start"


def _setter(name: str, stage: str, part: str = "", value: object = None) -> Callable[[Frame, Icon], str]:
    """A move that stores the icon (or `value`) in one field of the frame, or of its noun phrase `part`."""

    def fill(frame: Frame, icon: Icon) -> str:
        setattr(getattr(frame, part) if part else frame, name, icon if value is None else value)
        return stage

    return fill


def _keep(name: str, value: object = None) -> Callable[[Frame, Icon], str]:
    """Like `_setter`, and the stage stays."""

    def fill(frame: Frame, icon: Icon) -> str:
        setattr(frame, name, icon if value is None else value)
        return frame.stage

    return fill


FILL: dict[str, Callable[[Frame, Icon], str]] = {
    "social": _set_social,
    "addressee": _keep("addressee"),
    "time_first": _set_time_first,
    "question": _set_question,
    "subject": _set_subject,
    "subject_owner": _setter("owner", "subject", "subject"),
    "subject_number": _setter("number", "subject", "subject"),
    "subject_adjective": _setter("adjective", "subject", "subject"),
    "tense": _keep("tense"),
    "negation": _keep("negated", True),
    "modal": _keep("modal"),
    "verb": _set_verb,
    "imperative": _set_verb,
    "forbid": _setter("negated", "forbidden", value=True),
    "infinitive": _set_infinitive,
    "receiver": _keep("receiver"),
    "object": _setter("head", "after", "object"),
    "object_owner": _setter("owner", "object", "object"),
    "object_number": _setter("number", "object", "object"),
    "object_adjective": _setter("adjective", "object", "object"),
    "adjective": _setter("adjective", "after"),
    "preposition": _setter("preposition", "prepositional"),
    "place": _setter("place", "after"),
    "adverb": _setter("adverb", "after"),
    "time": _setter("time", "end"),
    "please": _setter("please", "end", value=True),
}

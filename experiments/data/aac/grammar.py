"""Which icon may follow which.

The grammar is deterministic: the icons alone decide the frame, so the realiser is a function of the icon list.
"""

from __future__ import annotations

from collections.abc import Callable

from experiments.data.aac.frame import Frame, NounPhrase
from experiments.data.aac.lexicon import Icon

Moves = list[tuple[str, list[Icon]]]
# Verbs of "what do you ...?" and "where do you ...?"; verbs that take "more".
WHAT_VERBS = ("want", "need", "like", "see", "have", "eat", "drink", "read", "write", "draw", "make", "wear", "buy")
WHAT_VERBS += ("hear", "find", "lose", "cook")
WHERE_VERBS = ("go", "sleep", "play", "work", "sit", "swim", "rest", "walk")
MORE_VERBS = ("want", "need", "have", "get", "give", "eat", "drink", "bring", "buy")


def moves(frame: Frame) -> Moves:
    """(slot, icons) pairs that may come next, without icons that already stand."""
    seen = set(frame.icons)
    found = [(slot, [i for i in icons if i not in seen]) for slot, icons in STAGES[frame.stage](frame)]
    return [(slot, icons) for slot, icons in found if icons]


def _adjectives(frame: Frame, noun: Icon) -> list[Icon]:
    """Adjectives that can be said of a noun or pronoun."""
    lexicon = frame.lexicon
    if noun.word in ("this", "that"):
        return lexicon.of("ADJECTIVE", ("colour", "size"))
    kinds = [kind for kind, of in lexicon.adjective_of.items() if lexicon.fits(noun, of)]
    return lexicon.of("ADJECTIVE", tuple(kinds)) if kinds else []


def _subjects(frame: Frame) -> Moves:
    lexicon = frame.lexicon
    nouns = lexicon.of("NOUN", ("animate", "big"))
    nouns = [n for n in nouns if n.kind != "fruit"] if not frame.subject.adjective else nouns
    if frame.subject.started:
        nouns = [n for n in nouns if _np_takes(frame, frame.subject, n)]
        return [("subject", nouns)]
    found: Moves = [("subject", lexicon.of("PRONOUN")), ("subject", nouns), ("subject_owner", lexicon.of("OWNER"))]
    if not frame.question:
        found += [
            ("subject_number", _counts(frame)),
            ("subject_adjective", lexicon.of("ADJECTIVE", ("colour", "size"))),
        ]
    return found


def _counts(frame: Frame) -> list[Icon]:
    return frame.lexicon.of("NUMBER", ("numbers",))


def _np_takes(frame: Frame, np: NounPhrase, noun: Icon) -> bool:
    """Whether a noun goes with the owner, number or adjective that stands before it."""
    if noun.kind == "name":
        return False
    if np.owner and noun.kind in ("nature", "place"):
        return False
    if np.number and np.number.word != "more" and noun.kind in ("dish", "drink"):
        return np.number.word == "some"
    if np.adjective:
        return np.adjective in _adjectives(frame, noun)
    return True


def _start(frame: Frame) -> Moves:
    lexicon = frame.lexicon
    found = _subjects(frame)
    if not frame.icons:
        found += [
            ("social", lexicon.of("SOCIAL", ("greet", "reply"))),
            ("time_first", lexicon.of("TIME")),
            ("question", lexicon.of("QUESTION")),
        ]
    if not (frame.time or frame.question or frame.social):
        asks = tuple(v.word for v in lexicon.verbs.values() if v.ask)
        found += [("imperative", lexicon.of("VERB", asks))]
        found.append(("forbid", lexicon.of("NEGATION")))
    return found


def _forbidden(frame: Frame) -> Moves:
    words = ("touch", "open", "close", "throw", "kick", "push", "pull", "take", "eat", "drink", "cry", "run", "jump")
    return [("imperative", frame.lexicon.of("VERB", words))]


def _greeted(frame: Frame) -> Moves:
    return [] if frame.addressee else [("addressee", frame.lexicon.of("NOUN", ("name", "friend", "teacher", "doctor")))]


def _questioned(frame: Frame) -> Moves:
    """After a question word."""
    lexicon, word = frame.lexicon, frame.question
    people = ("subject", lexicon.of("NOUN", ("people",)))
    pronouns = ("subject", [p for p in lexicon.of("PRONOUN") if p.word not in ("this", "that", "it")])
    if word == "who":
        verbs = tuple(v.word for v in lexicon.verbs.values() if not v.modal and not v.imperative_only)
        return [("verb", lexicon.of("VERB", verbs)), ("adjective", lexicon.of("ADJECTIVE", ("feeling", "trait")))]
    if word == "where":
        return _subjects(frame)
    if word == "how":
        return [people, pronouns]
    if word == "what":
        this = lexicon.of("PRONOUN", ("this", "that"))
        return [people, pronouns, ("subject", [p for p in this if p.word in ("this", "that")])]
    animals = ("subject", lexicon.of("NOUN", ("animal",)))
    return [people, pronouns, animals] if word == "why" else [people, pronouns]


def _asked(frame: Frame) -> Moves:
    """After the subject of what, where, how: the only verbs that make such a question sensible."""
    head = frame.subject.head
    if frame.question == "how" or head is None or head.word in ("this", "that"):
        return []
    if head.kind not in ("name", "person", "pronoun", "animal") or head.word == "it":
        return []
    words = WHAT_VERBS if frame.question == "what" else WHERE_VERBS
    return [("verb", _verbs_for(frame, head, words))]


def _verbs_for(frame: Frame, head: Icon, words: tuple[str, ...] = ()) -> list[Icon]:
    """Verbs that this subject can do."""
    lexicon = frame.lexicon
    if head.word in ("this", "that"):
        return []
    animal = head.kind == "animal" or head.word == "it"
    good = [v for v in lexicon.verbs.values() if (not words or v.word in words) and not v.imperative_only]
    good = [
        v for v in good if not v.modal and (v.by == "animate" if animal else head.kind in ("name", "person", "pronoun"))
    ]
    return lexicon.of("VERB", tuple(v.word for v in good)) if good else []


def _predicate(frame: Frame) -> Moves:
    lexicon, head = frame.lexicon, frame.subject.head
    assert head is not None
    found: Moves = []
    verbs = _verbs_for(frame, head)
    free = not frame.question or frame.question == "question"
    if not frame.tense and not frame.time and not frame.negated and not frame.modal:
        found.append(("tense", lexicon.of("TENSE")))
    if not frame.negated and not frame.question:
        found.append(("negation", lexicon.of("NEGATION")))
    if verbs and free and not frame.tense and not frame.modal and not frame.negated and not frame.time:
        found.append(("modal", lexicon.of("VERB", ("modal",))))
    if frame.question == "when" or frame.modal:
        return [*found, ("verb", [v for v in verbs if not frame.modal or not lexicon.verbs[v.word].stative])]
    before = frame.subject.adjective
    others = [a for a in _adjectives(frame, head) if before is None or a.kind != before.kind]
    found += [("verb", verbs), ("adjective", others)]
    if head.word not in ("this", "that") and head.kind not in ("furniture", "place", "nature") and free:
        found += [
            ("preposition", lexicon.of("PREPOSITION")),
            ("adverb", lexicon.of("ADVERB", ("here", "there", "outside", "inside", "upstairs", "alone"))),
        ]
    return found


def _objects(frame: Frame) -> Moves:
    lexicon, verb, np = frame.lexicon, frame.last_verb, frame.object
    if verb is None or not verb.objects or frame.question == "what" or frame.place:
        return []
    nouns = [n for n in lexicon.of("NOUN", verb.objects) if not frame.subject.head or n.word != frame.subject.head.word]
    if np.started:
        return [("object", [n for n in nouns if _np_takes(frame, np, n)])]
    found: Moves = [("object", nouns)]
    if any(n.kind == "person" for n in nouns) and not frame.receiver and len(nouns) > 1:
        own = frame.subject.head
        found.append(
            (
                "object",
                [
                    p
                    for p in lexicon.of("PRONOUN")
                    if p.word not in ("this", "that") and p != own and not (frame.imperative and p.word == "you")
                ],
            )
        )
    if any(n.kind in ("toy", "clothes", "meal") for n in nouns) and len(nouns) > 9:
        found.append(("object", lexicon.of("PRONOUN", ("this", "that"))))
        colours = [a for a in lexicon.of("ADJECTIVE", ("colour", "size")) if verb.det != "generic"]
        found.append(("object_adjective", colours))
    if verb.det != "generic" and any(n.kind in ("toy", "clothes", "animal", "paper") for n in nouns):
        found.append(("object_owner", lexicon.of("OWNER")))
    if verb.det == "a":
        found.append(
            ("object_number", [*_counts(frame), *(lexicon.of("NUMBER", ("more",)) if verb.word in MORE_VERBS else [])])
        )
    return found


def _verb(frame: Frame) -> Moves:
    lexicon, verb = frame.lexicon, frame.last_verb
    assert verb is not None
    assert frame.verb is not None
    found = _objects(frame)
    if verb.receiver and not frame.receiver:
        found.append(
            ("receiver", [*lexicon.of("PRONOUN", ("I", "he", "she", "we", "they")), *lexicon.of("NOUN", ("name",))])
        )
    if frame.verb.infinitive and not frame.infinitive and frame.question != "what":
        second = [v.word for v in lexicon.verbs.values() if not v.stative and not v.modal and not v.imperative_only]
        found.append(("infinitive", lexicon.of("VERB", tuple(second))))
    if frame.object.head is None and verb.place and frame.question != "where":
        found.append(("place", lexicon.of("NOUN", verb.places)))
        found.append(("adverb", lexicon.of("ADVERB", ("here", "there", "outside", "inside", "upstairs"))))
    return found + (_tail(frame) if frame.complete else [])


def _tail(frame: Frame) -> Moves:
    lexicon, found = frame.lexicon, []
    subject = frame.subject.head
    if frame.verb and not frame.adverb and not frame.verb.stative and not frame.question:
        words = ("again", "together") if subject and subject.word in ("we", "they") else ("again",)
        found.append(("adverb", lexicon.of("ADVERB", words)))
    if not frame.time and not frame.tense and frame.question != "when" and not frame.imperative:
        found.append(("time", [t for t in lexicon.of("TIME") if _time_fits(frame, t)]))
    if (
        frame.imperative
        or (frame.verb and frame.verb.word in ("want", "need"))
        or (frame.modal and frame.modal.word == "can" and frame.question)
    ):
        found.append(("please", lexicon.of("SOCIAL", ("please",))))
    return found


def _time_fits(frame: Frame, time: Icon) -> bool:
    if frame.modal:
        return time.kind in ("future", "progressive")
    return time.kind != "progressive" or frame.verb is None or not frame.verb.stative or time.word == "now"


def _prepositional(frame: Frame) -> Moves:
    assert frame.preposition is not None
    assert frame.subject.head is not None
    places = frame.lexicon.of("NOUN", tuple(frame.lexicon.place_of[frame.preposition.word]))
    return [("place", [p for p in places if p.word != frame.subject.head.word])]


STAGES: dict[str, Callable[[Frame], Moves]] = {
    "start": _start,
    "greeted": _greeted,
    "subject": _subjects,
    "questioned": _questioned,
    "asked": _asked,
    "predicate": _predicate,
    "verb": _verb,
    "forbidden": _forbidden,
    "object": _objects,
    "prepositional": _prepositional,
    "after": _tail,
    "end": lambda frame: [],
}

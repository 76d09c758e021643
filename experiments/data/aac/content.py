"""Which words an answer must contain, in some form, to say what its icons say."""

from __future__ import annotations

from experiments.data.aac import morphology as m
from experiments.data.aac.frame import Frame
from experiments.data.aac.lexicon import Icon
from experiments.data.aac.warm_words import pet_name

# Said by grammar (a tense, a question mark) and not by a word of their own.
SILENT = ("TENSE", "SOCIAL")


def _noun_forms(icon: Icon, frame: Frame) -> list[str]:
    plurals = frame.lexicon.plurals
    forms = [icon.word, m.plural(icon.word, plurals), pet_name(icon.word), m.plural(pet_name(icon.word), plurals)]
    return list(dict.fromkeys(forms))


def _verb_forms(icon: Icon, frame: Frame) -> list[str]:
    verb = frame.lexicon.verbs[icon.word]
    if verb.modal:
        return [verb.word, "cannot"] if verb.word == "can" else [verb.word]
    forms = [verb.word, m.third_person(verb.word), m.past(verb.word, verb.past), m.ing(verb.word)]
    return list(dict.fromkeys(forms))


def forms_of(icon: Icon, frame: Frame) -> list[str]:
    """Every accepted form of one icon's word, lower case; empty where grammar says it."""
    if (icon.category in SILENT and icon.word != "please") or icon.word == "question":
        return []
    if icon.category == "PRONOUN":
        return list(frame.lexicon.pronouns[icon.word]["forms"])
    if icon.category == "NOUN":
        return _noun_forms(icon, frame)
    if icon.category == "VERB":
        return _verb_forms(icon, frame)
    if icon.category == "NEGATION":
        return ["not", "n't", "cannot"]
    return ["some", "any"] if icon.word == "some" else [icon.word]


def content_forms(frame: Frame) -> list[list[str]]:
    """One list of accepted forms per icon that must be heard."""
    return [forms for forms in (forms_of(icon, frame) for icon in frame.icons) if forms]

"""English inflection for a small vocabulary: plurals, verb forms, articles, contractions. Pure functions on strings."""

from __future__ import annotations

import re

VOWELS = "aeiou"
# Weak spot of the regular rules: these drop no letter and double none, or are irregular altogether.
IRREGULAR_THIRD = {"have": "has", "go": "goes", "do": "does", "be": "is"}
BE_PRESENT = {"I": "am", "you": "are", "we": "are", "they": "are"}
CONTRACTIONS = [
    (r"\bI am\b", "I'm"),
    (r"\b(you|we|they|You|We|They) are\b", r"\1're"),
    (r"\b(I|You|you|He|he|She|she|It|it|We|we|They|they) will\b", r"\1'll"),
    (r"\b(He|he|She|she|It|it|That|that|There|there|Where|where|What|what|Who|who|How|how) is\b(?! not)", r"\1's"),
    (r"\b(do|does|did|is|are|was|were|should|must) not\b", r"\1n't"),
    (r"\bcannot\b", "can't"),
    (r"\bwill not\b", "won't"),
    (r"\b(Do|Does|Did) not\b", r"\1n't"),
]


def plural(noun: str, irregular: dict[str, str] | None = None) -> str:
    """`apple` -> `apples`; words in `irregular` give what is written there."""
    if irregular and noun in irregular:
        return irregular[noun]
    if noun in ("potato", "tomato"):
        return noun + "es"
    return add_s(noun)


def add_s(word: str) -> str:
    """The -s of plural nouns and of third-person verbs, with its spelling rules."""
    if word.endswith("y") and word[-2] not in VOWELS:
        return word[:-1] + "ies"
    if word.endswith(("s", "sh", "ch", "x", "z")):
        return word + "es"
    return word + "s"


def third_person(verb: str) -> str:
    """`wash` -> `washes`, `go` -> `goes`."""
    return IRREGULAR_THIRD.get(verb) or add_s(verb)


def _doubles(verb: str) -> bool:
    """One syllable ending consonant-vowel-consonant doubles its last letter (`hug` -> `hugging`)."""
    if len(verb) < 3 or verb[-1] in VOWELS + "wxy":
        return False
    return verb[-2] in VOWELS and verb[-3] not in VOWELS and len(re.findall(r"[aeiou]+", verb)) == 1


def ing(verb: str) -> str:
    """`make` -> `making`, `sit` -> `sitting`, `see` -> `seeing`."""
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1] + "ing"
    return verb + (verb[-1] if _doubles(verb) else "") + "ing"


def past(verb: str, irregular: str = "") -> str:
    """The simple past; `irregular` wins where the lexicon names it."""
    if irregular:
        return irregular
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in VOWELS:
        return verb[:-1] + "ied"
    return verb + (verb[-1] if _doubles(verb) else "") + "ed"


def article(next_word: str) -> str:
    """`a` or `an` by the first letter; our vocabulary has no word where letter and sound disagree."""
    return "an" if next_word[0].lower() in VOWELS else "a"


def be_form(person: str, tense: str) -> str:
    """The form of *be*: `person` is I, you, we, they or he (for every third-person singular); tense present or past."""
    if tense == "past":
        return "was" if person in ("I", "he") else "were"
    return BE_PRESENT.get(person, "is")


def contract(sentence: str) -> str:
    """Put the contractions of spoken English into a sentence that has none."""
    for pattern, short in CONTRACTIONS:
        sentence = re.sub(pattern, short, sentence)
    return sentence


def capitalise(sentence: str) -> str:
    """First letter upper case, the rest as it is."""
    return sentence[:1].upper() + sentence[1:]

"""A frame becomes a sentence: word order, agreement, tense, negation, articles and pronoun case."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.data.aac import morphology as m
from experiments.data.aac.frame import Frame, NounPhrase
from experiments.data.aac.lexicon import Icon, Verb
from experiments.data.aac.warm_words import pet_name, sweet_word

MASS = ("dish", "drink")
RELATIVES = ("brother", "sister", "friend", "cousin", "neighbour")  # *my*, unless an owner icon stands
NAME_OWNER = {"mum": "her", "grandma": "her", "dad": "his", "grandpa": "his"}
AT_PLACES = ("school", "home")


@dataclass(frozen=True)
class Touch:
    """What the warm style changes inside a sentence. The default changes nothing: the plain style."""

    contract: bool = False
    pet: bool = False
    sweet: bool = False


PLAIN = Touch()


def person_of(np: NounPhrase) -> str:
    """The person that the verb agrees with: I, you, we, they or he."""
    if np.head is None:
        return "you"
    if np.number or np.head.word in ("we", "they"):
        return "they"
    return np.head.word if np.head.word in ("I", "you") else "he"


def tense_of(frame: Frame) -> str:
    """past, future, progressive or present; a modal leaves the present."""
    if frame.modal or frame.imperative:
        return "present"
    if frame.tense:
        return frame.tense.kind
    kind = frame.time.kind if frame.time else "present"
    if kind == "progressive" and (frame.verb is None or frame.verb.stative):
        return "present"
    return kind


class Realiser:
    """Says one frame with one touch. Holds no state beyond these two."""

    def __init__(self, frame: Frame, touch: Touch = PLAIN) -> None:
        self.frame, self.touch, self.lexicon = frame, touch, frame.lexicon

    def sentence(self) -> str:
        """The whole sentence, with capital and full stop or question mark."""
        frame = self.frame
        body = self._greeting() if frame.addressee else self._clause()
        if frame.social and not frame.addressee:
            body = f"{frame.social.word}, {body}"
        if frame.please:
            body += ", please"
        mark = "?" if frame.question else "."
        text = m.capitalise(body) + mark
        return m.contract(text) if self.touch.contract else text

    def _greeting(self) -> str:
        assert self.frame.social is not None
        assert self.frame.addressee is not None
        return f"{self.frame.social.word}, {self._name(self.frame.addressee)}"

    def _clause(self) -> str:
        frame = self.frame
        if frame.verb is None and not (frame.adjective or frame.place or frame.adverb):
            body = self._verbless()
        elif frame.imperative:
            body = " ".join(filter(None, ["do not" if frame.negated else "", self._verb_tail(base=True)]))
        elif frame.question:
            body = self._question()
        else:
            subject = self._np(frame.subject, "subject")
            body = f"{subject} {self._predicate()}"
        if frame.time:
            body = f"{frame.time.word} {body}" if frame.time_first else f"{body} {frame.time.word}"
        return body

    def _verbless(self) -> str:
        """A bare noun phrase ("two dogs"), or a question that needs no verb icon ("where dog")."""
        frame, np = self.frame, self.frame.subject
        if frame.question:
            return f"{frame.question} {m.be_form(person_of(np), 'present')} {self._np(np, 'subject')}"
        if np.number:
            return f"there are {self._np(np, 'bare')}"
        return f"this is {self._np(np, 'bare')}" if np.owner else f"it is {self._np(np, 'bare')}"

    def _predicate(self) -> str:
        auxiliary, rest = self._verb_parts()
        return " ".join(filter(None, [auxiliary, rest]))

    def _question(self) -> str:
        frame = self.frame
        word = "" if frame.question == "question" else frame.question
        if word == "who":
            return f"who {self._predicate()}"
        auxiliary, rest = self._verb_parts(force_auxiliary=True)
        return " ".join(filter(None, [word, auxiliary, self._np(frame.subject, "subject"), rest]))

    def _verb_parts(self, force_auxiliary: bool = False) -> tuple[str, str]:
        """(auxiliary with its *not*, the rest); without an auxiliary the first is empty."""
        frame, tense = self.frame, tense_of(self.frame)
        person = "he" if frame.question == "who" else person_of(frame.subject)
        no = " not" if frame.negated else ""
        if frame.modal:
            return (
                "cannot" if frame.negated and frame.modal.word == "can" else frame.modal.word + no
            ), self._verb_tail(base=True)
        if tense == "future":
            return "will" + no, self._verb_tail(base=True) if frame.verb else f"be {self._complement()}"
        if frame.verb is None:
            return m.be_form(person, tense) + no, self._complement()
        if tense == "progressive":
            return m.be_form(person, "present") + no, self._verb_tail(form=m.ing(frame.verb.word))
        if frame.negated or force_auxiliary:
            do = "did" if tense == "past" else "does" if person == "he" else "do"
            return do + no, self._verb_tail(base=True)
        return "", self._verb_tail(form=self._finite(frame.verb, tense, person))

    def _finite(self, verb: Verb, tense: str, person: str) -> str:
        if tense == "past":
            return m.past(verb.word, verb.past)
        return m.third_person(verb.word) if person == "he" else verb.word

    def _complement(self) -> str:
        frame = self.frame
        if frame.adjective:
            return frame.adjective.word
        parts = [self._place_phrase() if frame.place else "", frame.adverb.word if frame.adverb else ""]
        return " ".join(filter(None, parts))

    def _verb_tail(self, form: str = "", base: bool = False) -> str:
        """The verb in the given form and everything after it, without the time."""
        frame = self.frame
        assert frame.verb is not None
        last = frame.last_verb or frame.verb
        words = [frame.verb.word if base else form]
        words += ["to", frame.infinitive.word] if frame.infinitive else []
        words += [self._receiver()] if frame.receiver else []
        if frame.object.head:
            words += [last.link, self._np(frame.object, "object", last)]
        elif frame.question == "what":
            words += [last.link]
        words += [self._place_phrase()] if frame.place else []
        words += [frame.adverb.word] if frame.adverb else []
        return " ".join(filter(None, words))

    def _receiver(self) -> str:
        icon = self.frame.receiver
        assert icon is not None
        return self.lexicon.pronouns[icon.word]["object"] if icon.category == "PRONOUN" else self._name(icon)

    def _place_phrase(self) -> str:
        frame, place = self.frame, self.frame.place
        assert place is not None
        if frame.preposition:
            return f"{frame.preposition.word} the {self._noun(place)}"
        toward = frame.last_verb is not None and frame.last_verb.place == "to"
        if place.word == "home" and toward:
            return "home"
        if place.word in AT_PLACES:
            return ("to " if toward else "at ") + place.word
        return (
            ("to" if toward else "in" if place.word not in ("station", "beach") else "at") + " the " + self._noun(place)
        )

    def _name(self, noun: Icon) -> str:
        if self.touch.pet and noun.kind == "person":
            return f"dear {noun.word}"
        word = pet_name(noun.word) if self.touch.pet else noun.word
        return m.capitalise(word) if noun.kind == "name" else word

    def _noun(self, noun: Icon, many: bool = False, sweeten: bool = False) -> str:
        """The noun in singular or plural, as a pet name where the touch asks for it and there is one."""
        pet = pet_name(noun.word) if self.touch.pet else noun.word
        word = m.plural(pet, self.lexicon.plurals) if many else pet
        sweet = sweet_word(noun.kind) if self.touch.sweet and sweeten else ""
        return f"{sweet} {word}" if sweet else word

    def _np(self, np: NounPhrase, role: str, verb: Verb | None = None) -> str:
        """A noun phrase as subject, object or bare; the object's article is the verb's choice."""
        head = np.head
        assert head is not None
        if head.category == "PRONOUN":
            return self.lexicon.pronouns[head.word]["object"] if role == "object" else head.word
        if head.kind == "name":
            return self._name(head)
        many = bool(np.number) and head.kind not in MASS
        words = [np.adjective.word] if np.adjective else []
        # One sweet word a sentence is enough: the object's, or the subject's where there is no object.
        sweeten = not np.adjective and (role != "subject" or self.frame.object.head is None)
        words.append(self._noun(head, many or self._generic(np, verb), sweeten))
        text = " ".join(words)
        return " ".join(filter(None, [self._determiner(np, role, verb, text), text]))

    def _generic(self, np: NounPhrase, verb: Verb | None) -> bool:
        assert np.head is not None
        bare = verb is not None and verb.det == "generic" and np.head.kind not in (*MASS, "person", "name")
        return bare and not np.owner

    def _determiner(self, np: NounPhrase, role: str, verb: Verb | None, text: str) -> str:
        head = np.head
        assert head is not None
        if np.owner:
            return np.owner.word
        if np.number:
            return "any" if np.number.word == "some" and self.frame.negated else np.number.word
        if head.word in RELATIVES:
            return "my"
        if head.kind == "body" and role == "object":
            return self._body_owner()
        if role == "subject" or (verb is not None and verb.det == "the"):
            return "the"
        if verb is not None and verb.det == "generic":
            return "the" if head.kind == "person" else ""
        if head.kind in MASS:
            return "any" if self.frame.negated else "some"
        return m.article(text)

    def _body_owner(self) -> str:
        head = self.frame.subject.head
        if head is None:
            return "your" if self.frame.imperative else "the"
        if head.category == "PRONOUN":
            return self.lexicon.pronouns[head.word].get("owner", "the")
        return NAME_OWNER.get(head.word, "the")


def say(frame: Frame, touch: Touch = PLAIN) -> str:
    """The sentence of a complete frame."""
    return Realiser(frame, touch).sentence()

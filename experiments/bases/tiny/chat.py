"""Chat tasks for the corpus: short instructions with an answer that can be worked out.

Icon lists appear here too, but only to be counted, sorted or looked up: no task turns them into a sentence.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from experiments.bases.tiny.facts import all_facts, category_members, world
from experiments.bases.tiny.quiz import MAKERS, corpus_quiz
from experiments.bases.tiny.stories import OPENINGS, Sentences, nouns_of, story
from experiments.data.aac import morphology as m
from experiments.data.aac.frame import Frame
from experiments.data.aac.lexicon import Icon
from experiments.data.aac.realise import say
from experiments.data.aac.sample import icon_set

Turn = tuple[str, str]
Task = Callable[[random.Random, Sentences], Turn]


def _repeat(rng: random.Random, sentences: Sentences) -> Turn:
    text = sentences.plain() if rng.random() < 0.7 else sentences.warm()
    return f"{rng.choice(['Repeat', 'Say again', 'Copy'])}: {text}", text


def _fact(rng: random.Random, _: Sentences) -> Turn:
    fact = rng.choice(all_facts())
    return rng.choice(fact.corpus_questions()), m.capitalise(fact.answer) + "."


def _yes_no(rng: random.Random, _: Sentences) -> Turn:
    fact = rng.choice([f for f in all_facts() if f.kind == "category"])
    kinds = sorted(category_members())
    guess = fact.answer if rng.random() < 0.5 else rng.choice(kinds)
    answer = "Yes" if guess == fact.answer else "No"
    return (
        f"Yes or no: {fact.word} - {guess}?",
        f"{answer}, {m.capitalise(fact.statements[0])}" if answer == "No" else "Yes.",
    )


def _list(rng: random.Random, _: Sentences) -> Turn:
    kind, words = rng.choice(sorted((k, w) for k, w in category_members().items() if len(w) > 5))
    number = rng.randint(2, 4)
    return f"List {world()['numbers'][number]} words for {kind}.", ", ".join(rng.sample(words, number))


def _quiz(rng: random.Random, _: Sentences) -> Turn:
    quiz = corpus_quiz(rng, rng.choice([k for k in sorted(MAKERS) if k != "agreement"]))
    question = quiz.prompt.replace("\nQ:", "").replace("Q: ", "").removesuffix("\nA:")
    return question, m.capitalise(quiz.choices[0]) + "."


def _copy_words(rng: random.Random, sentences: Sentences) -> Turn:
    words = nouns_of(sentences.lexicon, rng, rng.randint(2, 5))
    return f"Words: {', '.join(words)}. {rng.choice(['Say the last one', 'Say the last word'])}.", words[-1]


def tale(rng: random.Random, sentences: Sentences) -> Turn:
    """Words to a story sentence in the past, with an opening and an ending: related to our AAC task, another answer."""
    while True:
        frame = sentences.frame()
        if (
            frame.verb
            and frame.subject.head
            and not (frame.question or frame.time or frame.tense or frame.social or frame.modal)
        ):
            break
    words = ", ".join(icon.word for icon in frame.icons)
    frame.tense = Icon("past", "TENSE", "past")
    names = (world()["days"], world()["months"])
    opening = rng.choice(OPENINGS).format(day=rng.choice(names[0]), month=rng.choice(names[1]))
    text = say(frame)
    first = text.split()[0]
    keep = first == "I" or first.lower() in ("mum", "dad", "grandma", "grandpa")
    return f"Tell a tale with {words}.", f"{opening} {text if keep else text[0].lower() + text[1:]} The end."


def icon_list(rng: random.Random, sentences: Sentences) -> list[Icon]:
    """Icons that make no sentence on purpose, and no evaluation item's set by chance."""
    while True:
        icons = rng.sample(sentences.lexicon.icons, rng.randint(2, 5))
        if icon_set(icons) not in sentences.closed:
            return icons


def _icon_task(rng: random.Random, sentences: Sentences) -> Turn:
    icons = icon_list(rng, sentences)
    shown = " ".join(icon.show() for icon in icons)
    pick = rng.choice(icons)
    tasks = [
        ("How many icons?", world()["numbers"][len(icons)]),
        ("First icon?", icons[0].word),
        ("Last icon?", icons[-1].word),
        (f"What is {pick.word}?", pick.category),
        ("List the words.", ", ".join(icon.word for icon in icons)),
        ("List the words backwards.", ", ".join(icon.word for icon in reversed(icons))),
        ("List the kinds.", ", ".join(icon.category for icon in icons)),
    ]
    task, answer = rng.choice(tasks)
    return f"Icons: {shown}. {task}", answer


def _mistake(rng: random.Random, sentences: Sentences) -> Turn:
    """A telegram-like mistake in a sentence of which only the verb is wrong."""
    while True:
        frame: Frame = sentences.frame()
        if frame.verb and frame.subject.head and not frame.question and not frame.infinitive:
            break
    right = say(frame)
    wrong = right
    for form in (m.third_person(frame.verb.word), m.past(frame.verb.word, frame.verb.past), m.ing(frame.verb.word)):
        wrong = wrong.replace(f" {form}", f" {frame.verb.word}")
    return f"Is it right? {wrong}", "Yes." if wrong == right else f"No. {right}"


def _story(rng: random.Random, _: Sentences) -> Turn:
    return rng.choice(["Tell me a story.", "A story, please.", "Can you tell a story?"]), story(rng)


SMALL_TALK = [
    ("Hello!", "Hello! How can I help you?"),
    ("Who are you?", "I am a very small model."),
    ("Thank you.", "You are welcome."),
    ("Good night.", "Good night! Sleep well."),
    ("How are you?", "I am well, thank you."),
    ("What can you do?", "I can answer, count, list words and tell stories."),
]


def _small_talk(rng: random.Random, _: Sentences) -> Turn:
    return rng.choice(SMALL_TALK)


TASKS: list[tuple[Task, int]] = [
    (_repeat, 14),
    (_fact, 22),
    (_yes_no, 4),
    (_list, 6),
    (_quiz, 14),
    (_copy_words, 5),
    (tale, 10),
    (_icon_task, 18),
    (_mistake, 6),
    (_story, 3),
    (_small_talk, 1),
]
SYSTEMS = ["You are helpful.", "Answer in a few words.", "You talk to a child.", "Be short and kind."]


def render(turns: list[Turn], system: str = "") -> str:
    """The same string that the chat template gives."""
    head = f"<|system|>{system}<|end|>" if system else ""
    return head + "".join(f"<|user|>{question}<|end|><|assistant|>{answer}<|end|>" for question, answer in turns)


def conversation(rng: random.Random, sentences: Sentences) -> str:
    """One to five turns; half of the longer ones keep to one task, so that examples are worth following."""
    tasks, weights = zip(*TASKS, strict=True)
    count = rng.choice([1, 1, 2, 3, 5])
    chosen = rng.choices(tasks, weights, k=1) * count if rng.random() < 0.5 else rng.choices(tasks, weights, k=count)
    system = rng.choice(SYSTEMS) if rng.random() < 0.1 else ""
    return render([task(rng, sentences) for task in chosen], system)

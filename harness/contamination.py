"""Evaluation items that stand in the data a subject was trained on, found in one pass over that data. Pure.

Four kinds of match, the strongest one of a row counts:
- `exact`    the same prompt: the same words, whatever case, spacing and punctuation
- `ngram`    13 words in a row in common, or all of an item of 8 to 12 words (as the GPT-3 paper, appendix C, chose
             them); an item of fewer words counts where it stands as lines or sentences of its own with its answer
- `near`     a Jaccard similarity of at least 0.8 between the two sets of word pairs
- `cluster`  the row carries the item's cluster, or its id: related, not the same; a hint that excludes nothing

Templates go first: the words in front and behind that most prompts of a file share are instruction, not content. A
13-gram that three clusters of an evalset share is no evidence for any one of them either. Golds of 13 words and more
are looked for as prompts are.

What this cannot see: paraphrases and translations, and short items with one word changed. In short templated data one
word is the difference between two items, so a rule that caught it would call every item a copy.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, islice, pairwise
from typing import Any, Literal

from harness.core.records import Record

Words = tuple[str, ...]
Kind = Literal["exact", "ngram", "near", "cluster"]
KINDS: tuple[Kind, ...] = ("exact", "ngram", "near", "cluster")
EXCLUDING: tuple[Kind, ...] = ("exact", "ngram", "near")

NGRAM = 13  # words
SHORTEST = 8  # words of an item that count as evidence on their own
BOILERPLATE_CLUSTERS = 3  # an n-gram in so many clusters of one evalset says nothing of any item
NEAR = 0.8  # Jaccard similarity
LSH_THRESHOLD = 0.6  # below NEAR, so that the sketch misses little; what it proposes is verified exactly
PERMUTATIONS = 128
LONGEST_RUN = 3  # lines or sentences in a row that a short item or its answer may take
TEMPLATE_SAMPLE = 2000  # rows of a file that show what they share
TEMPLATE_ROWS = 5  # different rows below which nothing can be told apart from content
ENOUGH = b"\1" * (SHORTEST - 1)  # known pairs in a row
MAX_EVIDENCE = 200  # characters
TOLD_EVERY = 1000  # rows

BREAK = "\n"
# Scripts without spaces: each character is a word. Combining marks belong to the word before them.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKENS = re.compile(
    rf"[{_UNSPACED}]"
    rf"|(?:[^\W{_UNSPACED}][\u0300-\u036f\u0900-\u0dff]*)+"
    r"|(?<!\w)-(?=\d)"  # a minus, not a hyphen
    r"|->|=>|[→|\n]|[.!?:](?=\s|$)|[。！？：]"
    r"|[+*/=<>%$€£^&@#~]|[\u2200-\u22ff\u2600-\U0001ffff]"  # symbols that change what is said
)
_BREAKS = frozenset(["->", "=>", "→", "|", "\n", ".", "!", "?", ":", "。"])


@dataclass(frozen=True)
class Item:
    """An evaluation item: what it asks (turns without the system prompt, joined), what is right, where it belongs."""

    evalset: str
    item_id: str
    split: str
    prompt: str
    golds: Sequence[str] = ()
    cluster: str = ""
    cluster_field: str | None = None


@dataclass(frozen=True)
class Row:
    """A training row or a rated prompt. `keys`: its columns that may name an item's cluster or id, as text."""

    source: str
    line: int
    prompt: str
    completions: Sequence[str] = ()
    keys: Mapping[str, str] = field(default_factory=dict)


class Match(Record):
    """An item found in a source: the first row that shows it in this way, and how many do."""

    evalset: str
    item_id: str
    split: str
    kind: Kind
    source: str
    line: int
    rows: int
    evidence: str
    similarity: float | None = None


@dataclass(frozen=True)
class Template:
    """Words that most prompts of a file begin and end with."""

    prefix: Words = ()
    suffix: Words = ()

    def strip(self, words: Words) -> Words:
        """What is left without as much of them as the words have; all of it where nothing would be."""
        start = _shared(words, self.prefix)
        end = len(words) - _shared(words[::-1], self.suffix[::-1])
        return words[start:end] or words


def _shared(a: Words, b: Words) -> int:
    """How many words both begin with."""
    return next((n for n, (mine, theirs) in enumerate(zip(a, b, strict=False)) if mine != theirs), min(len(a), len(b)))


def tokens(text: str) -> list[str]:
    """Words and telling symbols, folded; BREAK where a line or a sentence ends."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [BREAK if token in _BREAKS else token for token in _TOKENS.findall(folded)]


def words_of(text: str) -> Words:
    return tuple(token for token in tokens(text) if token != BREAK)


def template_of(prompts: Iterable[Words]) -> Template:
    """What more than half of the different prompts share at either end."""
    different = list(dict.fromkeys(prompts))
    if len(different) < TEMPLATE_ROWS:
        return Template()
    return Template(_common(different), _common([words[::-1] for words in different])[::-1])


def _common(sequences: Sequence[Words]) -> Words:
    """The longest beginning of more than half of the sequences."""
    found: list[str] = []
    alive = list(sequences)
    while True:
        heads = Counter(words[len(found)] for words in alive if len(words) > len(found))
        word, count = heads.most_common(1)[0] if heads else ("", 0)
        if 2 * count <= len(sequences):
            return tuple(found)
        alive = [words for words in alive if len(words) > len(found) and words[len(found)] == word]
        found.append(word)


def find(
    items: Sequence[Item], rows: Iterable[Row], on_rows: Callable[[int], None] = lambda count: None
) -> list[Match]:
    """Every item found in `rows`, once per source and kind, in the order of `items`.

    Rows of one source come one after the other; they are read once, and only a sample of them is held. `on_rows` hears
    how many were read.
    """
    index = _Index(items)
    count = 0
    for source, group in groupby(rows, key=lambda row: row.source):
        sample = list(islice(group, TEMPLATE_SAMPLE))
        template = template_of(words_of(row.prompt) for row in sample)
        for row in chain(sample, group):
            index.look(source, row, template)
            count += 1
            if count % TOLD_EVERY == 0:
                on_rows(count)
    on_rows(count)
    return index.matches()


class _Index:
    """Items by what identifies them, and what was found of them so far."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.whole: dict[Words, list[int]] = defaultdict(list)  # whole prompts
        self.core: dict[Words, list[int]] = defaultdict(list)  # prompts without their template
        self.short: dict[Words, list[int]] = defaultdict(list)  # both, of items too short for n-grams
        self.grams: dict[int, dict[Words, list[int]]] = defaultdict(dict)  # by length
        self.pairs: list[frozenset[Words]] = []
        self.golds = [[words_of(gold) for gold in item.golds] for item in items]
        self.clusters: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.hits: dict[tuple[int, Kind, str], _Hit] = {}
        self.shared: dict[tuple[str, str, str], _Hit] = {}
        for number, core in enumerate(self._cores()):
            self._add(number, core)
        self._gram_index()
        self.known_pairs = self._known_pairs()
        self._lsh: Any = None
        self._empty: Any = None

    def _cores(self) -> Iterator[Words]:
        """Each item's words without its evalset's template."""
        self.prompts = [words_of(item.prompt) for item in self.items]
        by_evalset: dict[str, list[Words]] = defaultdict(list)
        for item, words in zip(self.items, self.prompts, strict=True):
            by_evalset[item.evalset].append(words)
        templates = {name: template_of(prompts) for name, prompts in by_evalset.items()}
        for item, words in zip(self.items, self.prompts, strict=True):
            yield templates[item.evalset].strip(words)

    def _add(self, number: int, core: Words) -> None:
        item, whole = self.items[number], self.prompts[number]
        self.pairs.append(frozenset(pairwise(core)))
        if not whole:
            return  # nothing but punctuation
        self.whole[whole].append(number)
        self.core[core].append(number)
        if len(core) < SHORTEST:
            for words in {whole, core}:
                self.short[words].append(number)
        if item.cluster_field:
            self.clusters[(item.cluster_field, item.cluster)].append(number)
        self.clusters[("id", item.item_id)].append(number)

    def _gram_index(self) -> None:
        """n-grams of prompts and golds; those that several clusters of one evalset share are left out."""
        holders: dict[Words, set[int]] = defaultdict(set)
        for core, numbers in self.core.items():
            if SHORTEST <= len(core) < NGRAM:
                self.grams[len(core)].setdefault(core, []).extend(numbers)
            for gram in _ngrams(core):
                holders[gram].update(numbers)
        for number, golds in enumerate(self.golds):
            for gold in golds:
                for gram in _ngrams(gold):
                    holders[gram].add(number)
        for gram, found in holders.items():
            clusters = {(self.items[n].evalset, self.items[n].cluster or self.items[n].item_id) for n in found}
            per_evalset = Counter(evalset for evalset, _ in clusters)
            told = [n for n in sorted(found) if per_evalset[self.items[n].evalset] < BOILERPLATE_CLUSTERS]
            if told:
                self.grams[NGRAM][gram] = told

    def _known_pairs(self) -> frozenset[Words]:
        """Every word pair of an item: text without runs of these cannot match."""
        grams = (pairwise(gram) for by_gram in self.grams.values() for gram in by_gram)
        return frozenset(chain(*self.pairs, chain.from_iterable(grams)))

    # --- one row ---

    def look(self, source: str, row: Row, template: Template) -> None:
        """Note which items this row shows, and how."""
        prompt = tokens(row.prompt)
        answers = [tokens(text) for text in row.completions]
        words = tuple(token for token in prompt if token != BREAK)
        core = template.strip(words)
        found: dict[int, tuple[Kind, str, float | None]] = {}
        for number in self._exact(words, core, answers):
            found.setdefault(number, ("exact", " ".join(words), None))
        for text in [[*prompt, BREAK, *(answers[0] if answers else [])], *answers[1:]]:
            for number, evidence in self._grams_in(text):
                found.setdefault(number, ("ngram", evidence, None))
        if self.short:
            for number in self._embedded(prompt, answers):
                found.setdefault(number, ("ngram", " ".join(self.prompts[number]), None))
        for number, jaccard in self._near(core):
            found.setdefault(number, ("near", " ".join(core), jaccard))
        for number, (kind, evidence, similarity) in found.items():
            hit = self.hits.setdefault((number, kind, source), _Hit(row.line, evidence, similarity))
            hit.rows += 1
        for key, value in row.keys.items():
            if (key, value) in self.clusters:
                self.shared.setdefault((key, value, source), _Hit(row.line, f"{key}: {value}")).rows += 1

    def _exact(self, words: Words, core: Words, answers: list[list[str]]) -> Iterator[int]:
        yield from self.whole.get(words, ())
        for number in self.core.get(core, ()):
            if len(core) >= SHORTEST:
                yield number
            elif any(tuple(t for t in answer if t != BREAK) in self.golds[number] for answer in answers):
                yield number  # under another template, but with the same answer

    def _grams_in(self, text: Sequence[str]) -> Iterator[tuple[int, str]]:
        words = [token for token in text if token != BREAK]
        for start, end in self._known_runs(words):
            for length, by_gram in self.grams.items():
                for at in range(start, end - length + 1):
                    gram = tuple(words[at : at + length])
                    for number in by_gram.get(gram, ()):
                        yield number, " ".join(gram)

    def _known_runs(self, words: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Stretches of at least SHORTEST words whose every pair stands in some item."""
        known = bytes(
            map(self.known_pairs.__contains__, pairwise(words))
        )  # 1 for a pair that is, 0 for one that is not
        if ENOUGH not in known:
            return
        for run in re.finditer(ENOUGH + b"+", known):
            yield run.start(), run.end() + 1

    def _embedded(self, prompt: Sequence[str], answers: Sequence[Sequence[str]]) -> Iterator[int]:
        """Short items that stand in the row as lines or sentences of their own, with one of their answers."""
        stretches = [*_stretches(prompt), *(stretch for answer in answers for stretch in _stretches(answer))]
        present: frozenset[Words] | None = None
        for stretch in stretches:
            for number in self.short.get(stretch, ()):
                present = present if present is not None else frozenset(stretches)
                if any(gold in present for gold in self.golds[number] if gold):
                    yield number

    def _near(self, core: Words) -> list[tuple[int, float]]:
        """Items whose word pairs are nearly this prompt's, with the exact similarity."""
        pairs = frozenset(pairwise(core))
        known = sum(pair in self.known_pairs for pair in pairs)
        if not pairs or known < NEAR * len(pairs):  # more than a fifth stands in no item: the similarity is below NEAR
            return []
        proposed = self._sketches().query(self._sketch(pairs))
        return [
            (number, similarity) for number in proposed if (similarity := _jaccard(pairs, self.pairs[number])) >= NEAR
        ]

    def _sketches(self) -> Any:
        """The MinHash index of the items, made when the first row needs it."""
        if self._lsh is None:
            from datasketch import MinHashLSH

            self._lsh = MinHashLSH(threshold=LSH_THRESHOLD, num_perm=PERMUTATIONS)
            for number, pairs in enumerate(self.pairs):
                if pairs:
                    self._lsh.insert(number, self._sketch(pairs))
        return self._lsh

    def _sketch(self, pairs: Iterable[Words]) -> Any:
        """MinHash of a set of word pairs; the same in every process."""
        if self._empty is None:
            from datasketch import MinHash

            self._empty = MinHash(num_perm=PERMUTATIONS, hashfunc=zlib.crc32)
        sketch = self._empty.copy()  # drawing the permutations takes longer than all the rest
        sketch.update_batch([" ".join(pair).encode() for pair in pairs])
        return sketch

    # --- the result ---

    def matches(self) -> list[Match]:
        found = dict(self.hits)
        for (key, value, source), hit in self.shared.items():
            for number in self.clusters[(key, value)]:
                found.setdefault((number, "cluster", source), hit)
        order = sorted(found.items(), key=lambda pair: (pair[0][0], KINDS.index(pair[0][1]), pair[0][2]))
        return [self._match(number, kind, source, hit) for (number, kind, source), hit in order]

    def _match(self, number: int, kind: Kind, source: str, hit: _Hit) -> Match:
        item = self.items[number]
        return Match(
            evalset=item.evalset,
            item_id=item.item_id,
            split=item.split,
            kind=kind,
            source=source,
            line=hit.line,
            rows=hit.rows,
            evidence=hit.evidence[:MAX_EVIDENCE],
            similarity=hit.similarity,
        )


@dataclass
class _Hit:
    """The first row of a source that shows an item in one way, and how many rows do."""

    line: int
    evidence: str
    similarity: float | None = None
    rows: int = 0


def _ngrams(words: Words) -> Iterator[Words]:
    for at in range(len(words) - NGRAM + 1):
        yield words[at : at + NGRAM]


def _stretches(text: Sequence[str]) -> list[Words]:
    """Every run of up to LONGEST_RUN lines or sentences."""
    parts: list[Words] = [
        tuple(group) for is_break, group in groupby(text, key=lambda token: token == BREAK) if not is_break
    ]
    return [
        tuple(chain(*parts[start:end]))
        for start in range(len(parts))
        for end in range(start + 1, min(start + LONGEST_RUN, len(parts)) + 1)
    ]


def _jaccard(a: frozenset[Words], b: frozenset[Words]) -> float:
    return len(a & b) / len(a | b)

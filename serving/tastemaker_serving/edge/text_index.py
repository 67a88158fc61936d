"""The words of the catalogue, searched in memory (Tantivy, BM25).

Robertson & Zaragoza 2009, The Probabilistic Relevance Framework: BM25 and Beyond.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import pyarrow as pa
from tantivy import (
    Document,
    Filter,
    Index,
    IndexWriter,
    Occur,
    Query,
    SchemaBuilder,
    TextAnalyzerBuilder,
    Tokenizer,
)

from tastemaker import columns
from tastemaker.types import Item

WEIGHTS: Final = {columns.TITLE: 3.0, columns.AUTHOR: 2.0, columns.CATEGORIES: 1.5, columns.TEXT: 1.0}
"""How much a word says by where it stands; what the text says is the least."""
NAMES: Final = (columns.TITLE, columns.AUTHOR, columns.CATEGORIES)
"""Where words may be unfinished or misspelt; in texts nearly every word is near another one."""
POPULARITY: Final = "popularity"
MOST_POPULAR: Final = 1.0
"""The most popular item's score grows by this part, which doubles it; that of an item without likes stays."""
UNFINISHED: Final = 0.5
MISSPELT: Final = 0.3
"""Parts of a field's weight that such a word gives."""
LETTERS_OF_A_TYPO: Final = 4
"""Shorter words must be written right: one letter makes another word of them."""
MOST_WORDS: Final = 16
LONGEST_WORD: Final = 60
WRITER_BYTES: Final = 15_000_000
"""The least that Tantivy takes."""


class Hit(NamedTuple):
    """An item that a query found."""

    item_id: str
    score: float


class TextIndex:
    """Titles, authors, categories and texts of a catalogue that may change while it is searched.

    Any thread may search and change it; a change is whole before a search sees it.
    """

    def __init__(self, popularity: Mapping[str, float]) -> None:
        """An empty index; `popularity` in [0, 1] by item id, 0 for items that it lacks."""
        words = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.remove_long(LONGEST_WORD))
        self._analyzer = words.filter(Filter.lowercase()).filter(Filter.ascii_fold()).build()
        schema = SchemaBuilder().add_text_field(columns.ITEM_ID, stored=True, tokenizer_name="raw")
        schema.add_float_field(POPULARITY, fast=True)
        for field in WEIGHTS:
            schema.add_text_field(field, tokenizer_name="words")
        self._schema = schema.build()
        self._index = Index(self._schema)
        self._index.register_tokenizer("words", self._analyzer)
        self._popularity = popularity
        self._changing = threading.Lock()

    @classmethod
    def of(cls, items: pa.Table, popular: Sequence[int]) -> TextIndex:
        """The index of a catalogue.

        Args:
            items: in lake.ITEM_SCHEMA.
            popular: rows of `items`, most popular first.
        """
        item_ids = items[columns.ITEM_ID].to_pylist()
        steps = math.log1p(len(item_ids))
        popularity = {item_ids[row]: 1.0 - math.log1p(place) / steps for place, row in enumerate(popular)}
        index = cls(popularity)
        fields = [items[name].to_pylist() for name in WEIGHTS]
        with index._writer() as writer:
            for item_id, *values in zip(item_ids, *fields, strict=True):
                writer.add_document(index._document(item_id, dict(zip(WEIGHTS, values, strict=True))))
        return index

    def put(self, items: Iterable[Item]) -> None:
        """Add items; one that is there already is replaced."""
        with self._writer() as writer:
            for item in items:
                writer.delete_documents_by_term(columns.ITEM_ID, item.item_id)
                words = {name: getattr(item, name) for name in WEIGHTS}
                writer.add_document(self._document(item.item_id, words))

    def remove(self, item_ids: Iterable[str]) -> None:
        """Take items away; one that is not there is no error."""
        with self._writer() as writer:
            for item_id in item_ids:
                writer.delete_documents_by_term(columns.ITEM_ID, item_id)

    def search(self, query: str, limit: int) -> list[Hit]:
        """At most `limit` items with the words of `query`, best first.

        Found are items with every word, the last of which may be unfinished; failing these, items with words like
        them; failing these, items with some of the words.
        """
        words = list(dict.fromkeys(self._analyzer.analyze(query)))[:MOST_WORDS]
        if not words:
            return []
        searcher = self._index.searcher()
        for wanted in self._ways(words):
            found = searcher.search(wanted, limit, count=False, weight_by_field=POPULARITY)
            if found.hits:
                return [Hit(searcher.doc(address)[columns.ITEM_ID][0], float(score)) for score, address in found.hits]
        return []

    def _ways(self, words: Sequence[str]) -> Iterator[Query]:
        *whole, last = words
        written = [self._written(word) for word in whole]
        every = [*written, _any([self._written(last), self._unfinished(last)])]
        like = [_any([self._written(word), self._unfinished(word), self._misspelt(word)]) for word in words]
        yield Query.boolean_query([(Occur.Must, query) for query in every])
        yield Query.boolean_query([(Occur.Must, query) for query in like])
        yield _any(like)

    def _written(self, word: str) -> Query:
        return self._in(WEIGHTS, lambda field: Query.term_query(self._schema, field, word))

    def _unfinished(self, word: str) -> Query:
        return Query.boost_query(self._in(NAMES, lambda field: self._near(field, word, distance=0)), UNFINISHED)

    def _misspelt(self, word: str) -> Query:
        distance = len(word) // LETTERS_OF_A_TYPO
        near = self._in(NAMES, lambda field: self._near(field, word, distance=min(distance, 2)))
        return Query.boost_query(near, MISSPELT)

    def _near(self, field: str, word: str, distance: int) -> Query:
        """Words as far from `word` as that; a distance of 0 is for those that it begins."""
        return Query.fuzzy_term_query(self._schema, field, word, distance=distance, prefix=distance == 0)

    def _in(self, fields: Iterable[str], query: Callable[[str], Query]) -> Query:
        return _any([Query.boost_query(query(field), WEIGHTS[field]) for field in fields])

    def _document(self, item_id: str, words: Mapping[str, str | Sequence[str] | None]) -> Document:
        document = Document(item_id=item_id)
        # A field weighs log2(2 + its value).
        document.add_float(POPULARITY, 2.0 ** (1.0 + MOST_POPULAR * self._popularity.get(item_id, 0.0)) - 2.0)
        for field, value in words.items():
            for text in (value,) if isinstance(value, str) else value or ():
                document.add_text(field, text)
        return document

    @contextmanager
    def _writer(self) -> Iterator[IndexWriter]:
        with self._changing:
            writer = self._index.writer(heap_size=WRITER_BYTES, num_threads=1)
            try:
                yield writer
                writer.commit()
            finally:
                writer.wait_merging_threads()  # ends its threads
            self._index.reload()


def _any(queries: Sequence[Query]) -> Query:
    return Query.boolean_query([(Occur.Should, query) for query in queries])

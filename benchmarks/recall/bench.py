"""One run: the corpus, its vectors, and what was found out about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from side_by_side.bench import Bench

from recall.corpora import Corpus
from recall.embeddings import CachedEmbedder
from recall.synthetic import Mixture

if TYPE_CHECKING:
    from recall.quality_cases import Quality


@dataclass(kw_only=True)
class LongTermBench(Bench):
    """What a case is given.

    Attributes:
        growth: how many rows the table of the growth case has in the end.
        quality: what the cases of recall share, once one of them has measured it.
    """

    corpus: Corpus
    embedder: CachedEmbedder
    growth: int
    quality: Quality | None = None

    def mixture(self, seed: int) -> Mixture:
        return Mixture(self.corpus, self.embedder.vectors, seed)

    def questions(self, source: str) -> list[str]:
        """What is asked of a scope of the corpus, then what is asked of others, each question once."""
        asked = sorted(self.corpus.questions, key=lambda question: question.scope != source)
        return list(dict.fromkeys(question.text for question in asked))

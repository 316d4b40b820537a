"""One run: the corpus, its vectors, and what was found out about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from side_by_side.bench import Bench

from recall.corpora import Corpus
from recall.embeddings import CachedEmbedder, Vectors
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
        return Mixture(self.corpus.turns, self.embedder.vectors([turn.text for turn in self.corpus.turns]), seed)

    def questions(self, count: int) -> list[str]:
        """So many different questions, spread over the corpus."""
        texts = list(dict.fromkeys(question.text for question in self.corpus.questions))
        return texts[:: max(len(texts) // count, 1)][:count]

    def question_vectors(self, questions: list[str]) -> Vectors:
        return self.embedder.vectors(questions)

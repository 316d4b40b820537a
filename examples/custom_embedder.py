"""An embedder of your own: any object with a model, dimensions, and embed(texts).

pip install "lakemem[local]"
python custom_embedder.py
"""

import hashlib
from collections.abc import Sequence

from lakemem import Memory


class TrigramEmbedder:
    """Texts that share letters are near each other: it finds a word in spite of a typing error, and needs no model."""

    model = "trigrams-v1"  # change it whenever the vectors change
    dimensions = 512

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [self._embed_one(text) for text in texts]

    def _embed_one(self, text: str) -> list[float]:
        vector = [0.0] * self.dimensions
        padded = f"  {text.lower()} "
        for start in range(len(padded) - 2):
            digest = hashlib.blake2b(padded[start : start + 3].encode(), digest_size=4).digest()
            vector[int.from_bytes(digest, "big") % self.dimensions] += 1.0
        return vector  # lakemem checks and normalises it


def main() -> None:
    with Memory(embedder=TrigramEmbedder()) as memory:
        ada = memory.for_user("ada")
        ada.save("city", "Reykjavik")
        ada.save("dish", "lasagne")
        for query in ["Reykjavik", "Rejkyavik"]:
            best = ada.search(query)[0]
            print(f"{query}: {best.value}, similarity {best.similarity:.2f}, words {best.matched_terms}")


if __name__ == "__main__":
    main()

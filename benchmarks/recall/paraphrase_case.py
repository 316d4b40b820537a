"""The same facts, said again in other words: how many memories they become."""

from __future__ import annotations

from collections import Counter

from recall import stores
from recall.bench import LongTermBench

FACTS = {
    "employer": [
        "Leonie works as an accountant at Brightwater Shipping.",
        "Leonie is employed by Brightwater Shipping as an accountant.",
        "At Brightwater Shipping, Leonie is an accountant.",
    ],
    "pet": [
        "Leonie has a grey cat called Pepper.",
        "Leonie's cat is grey and its name is Pepper.",
        "Pepper is the name of Leonie's grey cat.",
    ],
    "food": [
        "Leonie is allergic to shellfish.",
        "Leonie has an allergy to shellfish.",
        "Shellfish gives Leonie an allergic reaction.",
    ],
    "home": [
        "Leonie moved to Oldenhaven in May 2024.",
        "In May 2024 Leonie moved house to Oldenhaven.",
        "Leonie has been living in Oldenhaven since she moved there in May 2024.",
    ],
    "hobby": [
        "On Wednesday evenings Leonie sings in a choir.",
        "Leonie sings in a choir every Wednesday evening.",
        "Leonie's choir, in which she sings, meets on Wednesday evenings.",
    ],
}
MEM0 = 13
"""What mem0 was measured to store of 15 paraphrases of 5 facts; quoted, for it needs a language model to run."""


async def paraphrases(bench: LongTermBench, case: str) -> None:
    """Saved without a key, then all of them again, word by word."""
    sentences = [sentence for said in FACTS.values() for sentence in said]
    with bench.server.database() as target:
        async with stores.ours(target, bench.embedder) as memory:
            user = memory.for_user("leonie")
            for sentence in sentences:
                await user.save(None, sentence)
            stored = await user.items(limit=None)
            for sentence in sentences:
                await user.save(None, sentence)
            again = await user.items(limit=None)
        async with stores.peer(target, bench.embedder) as store:
            for number, sentence in enumerate([*sentences, *sentences]):
                await store.aput(stores.namespace("leonie"), f"{number}", {"text": sentence})
            peers = await store.asearch(stores.namespace("leonie"), limit=100)
    for fact, said in FACTS.items():
        kept = [record for record in stored if record.text in said]
        linked = sum(bool(record.similar_to) for record in kept)
        bench.say(f"{case}: {fact}: {len(kept)} of {len(said)} stored, {linked} of them linked to what says nearly it")
    bench.note(case, "memories (peer: mem0, quoted)", ours=len(stored), peer=MEM0, floor=len(FACTS))
    linked = sum(bool(record.similar_to) for record in stored)
    bench.note(case, "linked as similar", ours=linked, peer=None, floor=len(sentences) - len(FACTS))
    doubled = sum(count - 1 for count in Counter(record.text for record in again).values())
    store_doubled = sum(count - 1 for count in Counter(item.value["text"] for item in peers).values())
    bench.note(case, "doubled when all are saved again", ours=doubled, peer=store_doubled, floor=0)

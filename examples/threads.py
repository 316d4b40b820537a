"""A list of conversations as a chat shows it: titles, pages, search, another way from a message on, and an end.

pip install "lakemem[local]"
python threads.py
"""

from lakemem import Memory


def talk(memory: Memory) -> None:
    user = memory.for_user("ada")
    for title, question in [("Travel", "When does the train to Oslo leave?"), ("Dinner", "What is in a fish soup?")]:
        thread = user.thread(title.lower())
        thread.append([{"role": "user", "content": question}, {"role": "assistant", "content": "Let me think."}])
        thread.update(title=title, metadata={"pinned": title == "Travel"}, expires_in=90 * 86400)

    page = user.threads(1)
    while page:
        print("page:", [info.title for info in page])
        page = user.threads(1, after=page[-1].cursor)
    print("pinned:", [info.title for info in user.threads(filter={"pinned": True})])

    for hit in user.search_threads("trains to Oslo"):
        print(f"found in {hit.thread_id}, position {hit.position}: {hit.item['content']}")

    # The user edits the answer away and asks for another one, without losing the first.
    fork = user.thread("travel").fork(at=1)
    fork.append([{"role": "assistant", "content": "At 9:15, from platform 4."}])
    info = fork.info()
    print(f"forked from {info.forked_from} at {info.forked_position}:", fork.items()[-1]["content"])
    print("the first answer stays:", user.thread("travel").items()[-1]["content"])

    kinds = [record["kind"] for record in user.export()]
    print("exported:", kinds.count("thread"), "threads,", kinds.count("item"), "items")


with Memory() as memory:
    talk(memory)

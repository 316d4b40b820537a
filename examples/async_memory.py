"""Many calls at once on one pool: threads of several users, and a memory that a team shares.

pip install "lakemem[local]"
python async_memory.py
"""

import asyncio

from lakemem import AsyncMemory


async def talk(memory: AsyncMemory, user_id: str) -> None:
    thread = memory.for_user(user_id).thread("monday")
    await thread.append(
        [
            {"role": "user", "content": f"Hello, I am {user_id}."},
            {"role": "assistant", "content": f"Hello, {user_id}."},
        ]
    )


async def main() -> None:
    users = ["ada", "bob", "eve"]
    async with AsyncMemory() as memory:
        await asyncio.gather(*(talk(memory, user_id) for user_id in users))
        for user_id in users:
            # The thread id is the same, the threads are not: each belongs to the user who began it.
            for message in await memory.for_user(user_id).thread("monday").messages():
                print(f"{user_id} {message.position}: {message.item['content']}")

        team = memory.for_scope("support-team")
        await team.save("refunds", "Refunds are approved by Grace.")
        [hit] = await team.search("Who approves refunds?")
        print("The team knows:", hit.value)
        print("Ada does not:", await memory.for_user("ada").search("Who approves refunds?"))


asyncio.run(main())

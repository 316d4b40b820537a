"""What a LangGraph conversation takes on disk, with its whole history."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any, TypedDict

import psycopg
from langchain_core.messages import AnyMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from psycopg import sql
from psycopg.conninfo import make_conninfo

from lakemem import Lakebase
from side_by_side import savers
from side_by_side.bench import Bench
from side_by_side.texts import Texts, message_pair

TURNS = (50, 100, 200, 500)
SAMPLES = 10
THREAD: Any = {"configurable": {"thread_id": "conversation", "checkpoint_ns": ""}}
# Where each keeps its tables.
SCHEMAS = {"ours": "lakemem", "peer": "public"}


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


async def thread_bytes(bench: Bench, case: str) -> None:
    """Bytes of all rows after 500 turns of a graph whose state is its messages; every step's state stays readable."""
    lengths = list(dict.fromkeys(bench.scaled(turns, least=4) for turns in TURNS))
    texts = Texts(seed=3)
    pairs = [message_pair(texts, asked=136, answered=375) for _ in range(lengths[-1])]
    stored: dict[str, dict[int, int]] = {}
    total: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for name, schema in SCHEMAS.items():
        with bench.server.database() as target:
            async with savers.CONTENDERS[name](target) as made:
                saver = made(0)
                began = time.perf_counter()
                stored[name], configs = await converse(bench, saver, target, schema, pairs, lengths)
                seconds[name] = time.perf_counter() - began
                await check_history(saver, pairs, configs)
                total[name] = relation_bytes(target, schema)
        bench.say(f"{case}: {name} took {seconds[name]:.0f} s, {stored[name][lengths[-1]] / 2**20:.2f} MiB")
    stored["floor"] = once(pairs, lengths)
    for turns in lengths:
        metric = "bytes" if turns == lengths[-1] else f"bytes at {turns} turns"
        bench.note(case, metric, **{name: sizes[turns] for name, sizes in stored.items()})
    growth = {
        name: math.log(sizes[lengths[-1]] / sizes[lengths[0]]) / math.log(lengths[-1] / lengths[0])
        for name, sizes in stored.items()
    }
    bench.note(case, "growth exponent", **growth)
    bench.note(case, "bytes with indexes", ours=total["ours"], peer=total["peer"], floor=None)
    per_turn = {name: taken / lengths[-1] * 1e3 for name, taken in seconds.items()}
    bench.note(case, "ms a turn", ours=per_turn["ours"], peer=per_turn["peer"], floor=None)


async def converse(
    bench: Bench, saver: Any, target: Lakebase, schema: str, pairs: list[list[Any]], lengths: list[int]
) -> tuple[dict[int, int], dict[int, Any]]:
    """Run a turn for each pair.

    Returns:
        The bytes that were stored at each of `lengths`, and the configs of some of the checkpoints by their place.
    """
    replies = iter([reply for _, reply in pairs])
    builder = StateGraph(State)
    builder.add_node("assistant", lambda state: {"messages": [next(replies)]})
    builder.add_edge(START, "assistant")
    graph = builder.compile(checkpointer=saver)
    sizes, configs = {}, {}
    for number, (message, _) in enumerate(pairs, start=1):
        await graph.ainvoke({"messages": [message]}, THREAD, durability="sync")
        if number in lengths:
            bench.say(f"{schema}: {number} turns")
            sizes[number] = row_bytes(target, schema)
        if number == 1 or number % max(len(pairs) // SAMPLES, 1) == 0:
            last = await saver.aget_tuple(THREAD)
            before = await saver.aget_tuple(last.parent_config)
            configs |= {
                3 * number - 1: last.config,
                3 * number - 2: before.config,
                3 * number - 3: before.parent_config,
            }
    return sizes, configs


async def check_history(saver: Any, pairs: list[list[Any]], configs: dict[int, Any]) -> None:
    """See that the states at checkpoints of all ages are what they were."""
    everything = list(chain.from_iterable(pairs))
    for place, config in configs.items():
        # A turn stores its input, then the state with the question, then the one with the answer.
        turn, kind = divmod(place, 3)
        found = await saver.aget_tuple(config)
        messages = found.checkpoint["channel_values"].get("messages", [])
        assert messages == everything[: 2 * turn + kind], f"the state at checkpoint {place} is not what it was"


def row_bytes(target: Lakebase, schema: str) -> int:
    """The bytes of all columns of all rows, compressed and out of line as they are."""
    with psycopg.connect(make_conninfo(**dict(target.parameters)), autocommit=True) as connection:
        # Where row-level security holds, a login sees the rows of one user.
        connection.execute("SELECT set_config('lakemem.owner', 'user:user-0', false)")
        return sum(connection.execute(query).fetchone()[0] for query in _sums(connection, schema))


def _sums(connection: psycopg.Connection[Any], schema: str) -> Iterator[sql.Composed]:
    columns = connection.execute(
        "SELECT table_name, array_agg(column_name::text) FROM information_schema.columns "
        "WHERE table_schema = %s AND table_name NOT LIKE '%%migrations' GROUP BY table_name",
        [schema],
    ).fetchall()
    for table, names in columns:
        sizes = sql.SQL(" + ").join(
            sql.SQL("coalesce(pg_column_size({}), 0)").format(sql.Identifier(name)) for name in names
        )
        yield sql.SQL("SELECT coalesce(sum({}), 0)::bigint FROM {}").format(sizes, sql.Identifier(schema, table))


def relation_bytes(target: Lakebase, schema: str) -> int:
    with psycopg.connect(make_conninfo(**dict(target.parameters)), autocommit=True) as connection:
        row: Any = connection.execute(
            "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class AS c "
            "WHERE c.relkind = 'r' AND c.relnamespace = %s::regnamespace AND c.relname LIKE 'checkpoint%%'",
            [schema],
        ).fetchone()
    return int(row[0])


def once(pairs: list[list[Any]], lengths: list[int]) -> dict[int, int]:
    """The bytes of the messages themselves, each serialised once."""
    serde = JsonPlusSerializer()
    sizes = [sum(len(serde.dumps_typed(message)[1]) for message in pair) for pair in pairs]
    return {turns: sum(sizes[:turns]) for turns in lengths}

"""`lakemem demo`: two conversations of one user, one of another, and a look at what is stored."""

from __future__ import annotations

import time
from typing import Protocol

from openai import OpenAIError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lakemem import AsyncMemory, ConfigurationError, RequestContext, resolve_context
from lakemem.demo.reply import Reply
from lakemem.demo.script import INTRODUCTION, LONG_TERM_QUESTION, SHORT_TERM_QUESTION
from lakemem.integrations.embedders import LocalEmbedder

SCHEMA = "lakemem_demo"
ADA, BOB = "ada", "bob"


class Demo(Protocol):
    framework: str
    model_name: str

    async def reply(self, context: RequestContext, text: str) -> Reply: ...


async def run_demo(*, langgraph: bool, console: Console | None = None) -> None:
    """Run the demo on the database that is configured, or on an embedded one, in a schema of its own.

    Raises:
        ConfigurationError: the model that is configured does not answer.
    """
    console = console or Console()
    started = time.perf_counter()
    async with AsyncMemory(embedder=LocalEmbedder(), schema=SCHEMA, migrate=True) as memory:
        health = await memory.health()
        demo = _demo(memory, langgraph=langgraph)
        console.print(
            f"[bold]lakemem demo[/bold] with {demo.framework} on {escape(str(memory.target))} "
            f"(PostgreSQL {health.server_version}), ready in {time.perf_counter() - started:.1f} s"
        )
        if demo.model_name == "the script":
            console.print(
                "No model is configured (OPENAI_API_KEY, or DATABRICKS_HOST with DATABRICKS_TOKEN), "
                "so [bold]a scripted model stands in[/bold]. All else is real."
            )
        else:
            console.print(f"The model is [bold]{escape(demo.model_name)}[/bold].")
        await _forget_earlier_runs(memory)
        await _converse(memory, demo, console)
        await _show_memory(memory, console)
    _show_next_steps(console, langgraph=langgraph)


def _demo(memory: AsyncMemory, *, langgraph: bool) -> Demo:
    if langgraph:
        from lakemem.demo.langgraph import LangGraphDemo

        return LangGraphDemo(memory)
    from lakemem.demo.openai_agents import OpenAIAgentsDemo

    return OpenAIAgentsDemo(memory)


async def _forget_earlier_runs(memory: AsyncMemory) -> None:
    for user_id in (ADA, BOB):
        user = memory.for_user(user_id)
        for thread in await user.threads(limit=None):
            await user.thread(thread.thread_id).delete()
        for record in await user.items(limit=None):
            await user.delete(record.key, namespace=record.namespace, erase=True)


async def _converse(memory: AsyncMemory, demo: Demo, console: Console) -> None:
    first = resolve_context({"custom_inputs": {"user_id": ADA}}, environ={})
    console.rule("Ada's first conversation")
    await _say(demo, console, first, INTRODUCTION)
    await _say(demo, console, first, SHORT_TERM_QUESTION)
    console.rule("Ada's second conversation: a new thread, the same user")
    await _say(demo, console, resolve_context({"custom_inputs": {"user_id": ADA}}, environ={}), LONG_TERM_QUESTION)
    console.rule("Bob's conversation: another user")
    await _say(demo, console, resolve_context({"custom_inputs": {"user_id": BOB}}, environ={}), LONG_TERM_QUESTION)


async def _say(demo: Demo, console: Console, context: RequestContext, text: str) -> None:
    name = context.user_id.capitalize()
    console.print(f"[bold cyan]{name}:[/bold cyan] {escape(text)}", highlight=False)
    started = time.perf_counter()
    reply = await _reply(demo, context, text)
    elapsed = (time.perf_counter() - started) * 1000
    for tool, arguments in reply.tool_calls:
        console.print(f"  [dim]{escape(f'{tool}({arguments})')}[/dim]", highlight=False)
    console.print(f"[bold green]Agent:[/bold green] {escape(reply.text)}  [dim]{elapsed:.0f} ms[/dim]", highlight=False)


async def _reply(demo: Demo, context: RequestContext, text: str) -> Reply:
    try:
        return await demo.reply(context, text)
    except OpenAIError as error:
        # The words of a foreign error may quote the key.
        raise ConfigurationError(
            f"the model {demo.model_name} did not answer ({type(error).__name__}): check the key and the address "
            "(OPENAI_API_KEY and OPENAI_BASE_URL, or DATABRICKS_HOST and DATABRICKS_TOKEN) and the model's name "
            "(LAKEMEM_DEMO_MODEL); with none of them set, a scripted model stands in"
        ) from None


async def _show_memory(memory: AsyncMemory, console: Console) -> None:
    console.rule("What is stored")
    owners = [(name, memory.for_user(name)) for name in (ADA, BOB)]

    threads = Table("user", "thread", "last active", title="Threads", title_justify="left")
    memories = Table("user", "key", "value", "version", title="Memories", title_justify="left")
    for name, user in owners:
        for thread in await user.threads():
            threads.add_row(name, escape(thread.thread_id), f"{thread.updated_at:%H:%M:%S}")
        for record in await user.items():
            memories.add_row(name, escape(record.key), escape(str(record.value)), str(record.version))
    console.print(threads, memories)

    hits = Table("user", "memory", "score", "similarity", "dense", "lexical", "matched words")
    hits.title, hits.title_justify = f'Search: "{LONG_TERM_QUESTION}"', "left"
    for name, user in owners:
        started = time.perf_counter()
        found = await user.search(LONG_TERM_QUESTION)
        elapsed = (time.perf_counter() - started) * 1000
        for hit in found:
            scores = (hit.score, hit.similarity, hit.dense, hit.lexical)
            hits.add_row(name, escape(hit.key), *map(_number, scores), escape(", ".join(hit.matched_terms)))
        hits.caption = f"{hits.caption or ''}{name}: {len(found)} found in {elapsed:.1f} ms.  "
    console.print(hits)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _show_next_steps(console: Console, *, langgraph: bool) -> None:
    console.rule("What next")
    other = "lakemem demo" if langgraph else "lakemem demo --langgraph"
    console.print(
        f"- Try the other framework: [bold]{other}[/bold]\n"
        "- Paste one of the two programs of README.md, and put it into your agent.\n"
        "- Point it at your own Postgres: set LAKEMEM_DSN, then run [bold]lakemem migrate[/bold].",
        highlight=False,
    )

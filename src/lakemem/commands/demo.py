"""``lakemem demo``: a conversation with an agent that remembers."""

from __future__ import annotations

import argparse
import asyncio

from lakemem.errors import MissingExtraError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("demo", help="talk to an agent that remembers, and see what it stores")
    parser.add_argument("--langgraph", action="store_true", help="run a LangGraph graph in place of the Agents SDK")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    try:
        from lakemem.demo.conversation import run_demo
    except ImportError as error:
        if isinstance(error, MissingExtraError):
            raise
        raise MissingExtraError("demo", "`lakemem demo`") from None
    asyncio.run(run_demo(langgraph=options.langgraph))
    return 0

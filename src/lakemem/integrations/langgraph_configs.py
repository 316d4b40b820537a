"""What a LangGraph config says: whose memory, which thread, which checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lakemem.errors import ConfigurationError, InvalidInputError, MissingExtraError
from lakemem.operations.checkpoints import Address, StoredCheckpoint
from lakemem.validation import check_limit, encode_json, without_nul
from lakemem.work_types import Retention

try:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import get_checkpoint_id
except ImportError as error:
    raise MissingExtraError("langgraph", "lakemem.integrations.langgraph") from error

MAX_METADATA_BYTES = 1024 * 1024
PAGE = 50


def user_id_of(config: RunnableConfig | None) -> str:
    """Return the user that a config names.

    Raises:
        ConfigurationError: it names none.
    """
    user_id = (config or {}).get("configurable", {}).get("user_id")
    if user_id is None:
        raise ConfigurationError(
            'this call does not say whose memory it is: put "user_id" beside "thread_id" into the config\'s '
            '"configurable", or give memory.for_user(...) in place of the memory'
        )
    return str(user_id)


def address_of(config: RunnableConfig, checkpoint_id: str) -> Address:
    configurable = config["configurable"]
    return Address(str(configurable["thread_id"]), configurable.get("checkpoint_ns", ""), checkpoint_id)


def named(config: RunnableConfig) -> tuple[str, str, str | None]:
    """Return the thread, the namespace, and the checkpoint; None for the newest."""
    configurable = config["configurable"]
    return str(configurable["thread_id"]), configurable.get("checkpoint_ns", ""), get_checkpoint_id(config)


def listed(
    config: RunnableConfig | None, filter: Mapping[str, Any] | None, before: RunnableConfig | None
) -> dict[str, Any]:
    """Return the arguments of `Checkpoints.list`."""
    configurable = (config or {}).get("configurable", {})
    thread_id = configurable.get("thread_id")
    return {
        "thread_id": None if thread_id is None else str(thread_id),
        "checkpoint_ns": configurable.get("checkpoint_ns"),
        "checkpoint_id": configurable.get("checkpoint_id"),
        "before": None if before is None else get_checkpoint_id(before),
        "filter": encode_metadata(filter or {}),
    }


def page_sizes(limit: int | None) -> Iterator[int]:
    """How many checkpoints to read at a time, until `limit` is reached: one may be as large as a conversation."""
    left = check_limit(limit)
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        yield size
        left = None if left is None else left - size


def config_of(config: RunnableConfig | None, place: Address | StoredCheckpoint, checkpoint_id: str) -> RunnableConfig:
    """Return the config that names a checkpoint, and its user where the config at hand does."""
    configurable = {
        "thread_id": place.thread_id,
        "checkpoint_ns": place.checkpoint_ns,
        "checkpoint_id": checkpoint_id,
    }
    user_id = (config or {}).get("configurable", {}).get("user_id")
    return {"configurable": configurable if user_id is None else {**configurable, "user_id": user_id}}


def kept_by(strategy: str | Retention) -> Retention | None:
    """Return what a strategy of LangGraph's `prune` keeps; None for nothing.

    Raises:
        InvalidInputError: there is no such strategy.
    """
    if isinstance(strategy, Retention):
        return strategy
    if strategy == "delete":
        return None
    if strategy == "keep_latest":
        return Retention(last=1)
    raise InvalidInputError('strategy must be "keep_latest", "delete" or a lakemem.Retention')


def encode_metadata(metadata: Mapping[str, Any]) -> str:
    return encode_json("checkpoint metadata", without_nul(dict(metadata)), limit=MAX_METADATA_BYTES)

"""The OpenAI Agents SDK: whose run it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def user_of(context: Any) -> Any:
    """Return the `user_id` of a run's context, an object or a mapping; None where it has none."""
    return context.get("user_id") if isinstance(context, Mapping) else getattr(context, "user_id", None)

"""What LangGraph's store asks for beyond the memories themselves: filters on values, times, and namespaces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from lakemem.errors import InvalidInputError
from lakemem.operations import Operation
from lakemem.types import MemoryRecord
from lakemem.validation import check_limit, encode_metadata

OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")
ANY_DEPTH = 2**31 - 1


def conditions(filter: Mapping[str, Any] | None) -> str:
    """What a filter on the fields of values asks for, for ``{matches}``.

    A field that is not there counts as null. Only numbers with numbers, and strings with strings, are more or less.

    Raises:
        InvalidInputError: the filter is not JSON, or an operator is not known.
    """
    encode_metadata({} if filter is None else filter)
    return json.dumps(list(_conditions(filter or {}, ())))


def created(owner: str, records: Iterable[MemoryRecord]) -> Operation[dict[tuple[tuple[str, ...], str], datetime]]:
    """(namespace, key) -> when it was first saved."""
    addresses = [{"namespace": record.namespace, "key": record.key} for record in records]
    return Operation(
        statement="store.created",
        owner=owner,
        parameters={"owner": owner, "addresses": json.dumps(addresses)},
        parse=lambda rows: {(tuple(namespace), key): at for namespace, key, at in rows},
        fallback={},
    )


def namespaces(
    owner: str, patterns: Sequence[tuple[Sequence[str], bool]], *, depth: int | None, limit: int | None, offset: int
) -> Operation[list[tuple[str, ...]]]:
    """The namespaces that fit every pattern: (labels, whether they are the last ones)."""
    if depth is not None and depth < 1:
        raise InvalidInputError(f"max_depth must be at least 1, not {depth}")
    return Operation(
        statement="store.namespaces",
        owner=owner,
        parameters={
            "owner": owner,
            "patterns": json.dumps([{"labels": list(labels), "at_end": at_end} for labels, at_end in patterns]),
            "depth": ANY_DEPTH if depth is None else depth,
            "limit": check_limit(limit),
            "offset": check_limit(offset),
        },
        parse=lambda rows: [tuple(namespace) for (namespace,) in rows],
        fallback=[],
    )


def _conditions(filter: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for name, wanted in filter.items():
        field = (*path, name)
        if not isinstance(wanted, Mapping):
            yield {"path": field, "operator": "$eq", "operand": wanted}
        elif any(key.startswith("$") for key in wanted):
            for operator, operand in wanted.items():
                if operator not in OPERATORS:
                    raise InvalidInputError(f"a filter knows {', '.join(OPERATORS)}, not {operator!r}")
                yield {"path": field, "operator": operator, "operand": operand}
        else:
            yield {"path": field, "operator": "is object"}
            yield from _conditions(wanted, field)

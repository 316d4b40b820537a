"""Secrets in scopes.

Source: https://docs.databricks.com/api/workspace/secrets
"""

from __future__ import annotations

import base64
from typing import Any

from lakemem.testing.emulator.app import Call, Endpoint
from lakemem.testing.emulator.state import ApiError, exists, invalid

ROOT = "/api/2.0/secrets"


class Secrets:
    """Keeps secrets for as long as the emulator runs."""

    def __init__(self) -> None:
        self._scopes: dict[str, dict[str, str]] = {}

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("POST", f"{ROOT}/scopes/create", self._create_scope),
            Endpoint("POST", f"{ROOT}/put", self._put),
            Endpoint("GET", f"{ROOT}/get", self._get),
        ]

    def _create_scope(self, call: Call) -> dict[str, Any]:
        if (name := call.body.get("scope", "")) in self._scopes:
            raise exists(f"scope {name}")
        self._scopes[name] = {}
        return {}

    def _put(self, call: Call) -> dict[str, Any]:
        text = call.body.get("string_value")
        if text is None:
            raise invalid("string_value is missing")
        self._scope(call.body)[call.body["key"]] = base64.b64encode(text.encode()).decode()
        return {}

    def _get(self, call: Call) -> dict[str, Any]:
        key = call.query.get("key", "")
        if key not in (scope := self._scope(call.query)):
            raise _missing(f"secret {key}")
        return {"key": key, "value": scope[key]}

    def _scope(self, asked: dict[str, Any]) -> dict[str, str]:
        if (name := asked.get("scope", "")) not in self._scopes:
            raise _missing(f"scope {name}")
        return self._scopes[name]


def _missing(what: str) -> ApiError:
    return ApiError(404, "RESOURCE_DOES_NOT_EXIST", f"{what} does not exist")

"""The switches over HTTP, for an emulator that runs in another process. No token is needed: it listens on loopback.

====== ============================== =====================================================================
method path                           body
====== ============================== =====================================================================
GET    /emulator                      none; what to set in the environment
GET    /emulator/requests?route=      none; what was asked
DELETE /emulator/requests             none
GET    /emulator/faults               none; what is switched on
POST   /emulator/faults               ``{"kind": "rate_limit", "route": "POST */credentials", "times": 3, ...}``
DELETE /emulator/faults               none
POST   /emulator/suspend              ``{"name": "agent-memory"}``: scale to zero
POST   /emulator/close-connections    ``{"name": "agent-memory"}``: as a failover does
POST   /emulator/revoke               ``{"identity": "ada@example.com", "logins": false}``
POST   /emulator/users                ``{"email": "ada@example.com", "admit": true}``: answers with a bearer token
POST   /emulator/chat                 ``{"replies": ["a text", {"content": "a message"}]}``
====== ============================== =====================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lakemem.testing.emulator.app import CONTROL, Call, Endpoint
from lakemem.testing.emulator.faults import EVERYTHING, Fault
from lakemem.testing.emulator.state import invalid, not_found

if TYPE_CHECKING:
    from lakemem.testing.emulator.emulator import LakebaseEmulator

KINDS = ("rate_limit", "error", "slow", "refuse", "drop", "unresolvable")


class Control:
    """What the methods of an emulator do, over HTTP."""

    def __init__(self, emulator: LakebaseEmulator) -> None:
        self._emulator = emulator

    def endpoints(self) -> list[Endpoint]:
        routes: list[tuple[str, str, Callable[[Call], Any]]] = [
            ("GET", "", lambda call: {"environment": self._emulator.environment()}),
            ("GET", "/requests", self._requests),
            ("DELETE", "/requests", lambda call: self._emulator.requests.clear()),
            ("GET", "/faults", lambda call: {"faults": self._emulator.faults.active()}),
            ("POST", "/faults", self._fault),
            ("DELETE", "/faults", lambda call: self._emulator.faults.clear()),
            ("POST", "/suspend", lambda call: {"closed": self._emulator.suspend(self._name(call))}),
            ("POST", "/close-connections", self._close_connections),
            ("POST", "/revoke", self._revoke),
            ("POST", "/users", self._user),
            ("POST", "/chat", lambda call: self._emulator.chat.reply(*call.body.get("replies", []))),
        ]
        return [Endpoint(method, CONTROL + path, handler, open=True) for method, path, handler in routes]

    def _requests(self, call: Call) -> dict[str, Any]:
        found = self._emulator.requests.matching(call.query.get("route", EVERYTHING))
        return {
            "requests": [
                {"route": request.route, "status": request.status, "identity": request.identity} for request in found
            ]
        }

    def _fault(self, call: Call) -> dict[str, Any]:
        body = call.body
        if body.get("kind") not in KINDS:
            raise invalid(f"kind is one of {', '.join(KINDS)}")
        faults, kind, times = self._emulator.faults, body["kind"], body.get("times")
        route = {"route": body["route"]} if "route" in body else {}
        seconds = float(body.get("seconds", 1))
        made: Fault = {
            "rate_limit": lambda: faults.rate_limit(**route, retry_after=seconds, times=times),
            "error": lambda: faults.error(**route, status=int(body.get("status", 500)), times=times),
            "slow": lambda: faults.slow(**route, seconds=seconds, times=times),
            "refuse": lambda: faults.refuse(**route, times=times),
            "drop": lambda: faults.drop(**route, after=float(body.get("seconds", 0)), times=times),
            "unresolvable": lambda: faults.unresolvable(body.get("route", "*"), times=times),
        }[kind]()
        return {"kind": made.kind, "route": made.route, "times": made.times}

    def _close_connections(self, call: Call) -> dict[str, Any]:
        return {"closed": self._emulator.close_connections(name=self._name(call))}

    def _revoke(self, call: Call) -> dict[str, Any]:
        name = call.body.get("identity") or self._emulator.app.name
        if name not in self._emulator.workspace.identities:
            raise not_found(f"identity {name}")
        return {"revoked": self._emulator.revoke(name, logins=bool(call.body.get("logins")))}

    def _user(self, call: Call) -> dict[str, Any]:
        email = call.body.get("email")
        if not email:
            raise invalid("email is missing")
        user = self._emulator.workspace.identities.get(email) or self._emulator.add_user(email)
        if call.body.get("admit"):
            self._emulator.admit(user, create=False)
        return {"email": email, "token": self._emulator.login(user)}

    def _name(self, call: Call) -> str:
        return str(call.body.get("name") or self._emulator.instance)

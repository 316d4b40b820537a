"""One attempt at a run: what its agent gives goes into the run's events, and in the end its answer into the run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

from lakemem.errors import IdentityError, InvalidInputError, RunError, StorageError
from lakemem.run_context import Agent, Observer, RunContext, entered, untraced
from lakemem.run_types import Run, RunStatus
from lakemem.running.attempt import Attempt
from lakemem.server.answers import Answer, standing

logger = logging.getLogger("lakemem")

COME_AGAIN = (
    "the agent acts for its user, whose access token is not stored, and another process goes on with the run than the "
    "one that had it: send the request again"
)


class AgentHandler:
    """Answers runs with an agent.

    Args:
        agent: whom to ask.
        headers: of the requests that this process took, by the id of their run; left out when it ends.
        observe: is around each attempt.
    """

    def __init__(
        self,
        agent: Agent,
        headers: MutableMapping[str, Mapping[str, str]] | None = None,
        observe: Observer = untraced,
    ) -> None:
        self._agent = agent
        self._observe = observe
        self._headers = {} if headers is None else headers

    async def __call__(self, attempt: Attempt) -> None:
        """Work on one attempt.

        Raises:
            RunError: the agent failed, or the request is none that it can answer. It is not asked once more.
            StorageError: the database was away; another attempt goes on.
        """
        run_id = attempt.run.run_id
        headers = self._headers.get(run_id)
        working = _Working(attempt, headers or {})
        try:
            await working.through(self._agent, self._observe)
        except StorageError:
            raise
        except RunError:
            self._headers.pop(run_id, None)
            raise
        except IdentityError as error:
            if headers is None:
                raise RunError(COME_AGAIN, code="user_token_required") from error
            raise RunError(str(error), code="invalid_request") from error
        except InvalidInputError as error:
            raise RunError(str(error), code="invalid_request") from error
        except Exception as error:
            logger.error("the agent failed in run %s: %s", attempt.run.run_id, type(error).__name__, exc_info=error)
            raise RunError(f"the agent failed ({type(error).__name__})", code="server_error") from error
        else:
            self._headers.pop(run_id, None)


class _Working:
    """What is under way in an attempt."""

    def __init__(self, attempt: Attempt, headers: Mapping[str, str]) -> None:
        self._attempt = attempt
        self._headers = headers
        self._answer: Answer | None = None
        self._standing: list[tuple[int, Any]] = []
        self._context: RunContext | None = None

    async def through(self, agent: Agent, observe: Observer) -> None:
        run = self._attempt.run
        if run.attempt > 1:
            self._standing = standing([event async for event in self._attempt.previous])
        context = self._context = RunContext(
            run,
            memory=self._attempt.memory,
            emit=self.give,
            headers=self._headers,
            earlier=[item for _, item in self._standing],
        )
        entered(context)
        with observe(context):
            await self._answered(agent, context)
        await self._end(await self._begun())

    async def _answered(self, agent: Agent, context: RunContext) -> None:
        async with aclosing(agent.answer(context)) as given:
            async for thing in given:
                await self.give(thing)
                if self._answer is not None and self._answer.failure is not None:
                    code, message = self._answer.failure
                    raise RunError(message, code=code)

    async def give(self, thing: Any) -> None:
        """Take what the agent gives."""
        for event in (await self._begun()).of(thing):
            await self._attempt.emit(event)

    async def _begun(self) -> Answer:
        """The answer, with its first events given: only when the agent speaks is it known what stands of before."""
        if self._answer is None:
            run, context = self._attempt.run, self._context
            kept = self._standing[: context.kept if context else 0]
            self._answer = Answer(run, [item for _, item in kept])
            is_first = run.last_sequence < 0
            for event in self._answer.opening(None if is_first else (kept[-1][0] if kept else -1)):
                await self._attempt.emit(event)
        return self._answer

    async def _end(self, answer: Answer) -> None:
        for event in answer.closing():
            await self._attempt.emit(event)
        status: Literal["waiting", "incomplete", "completed"] = (
            "waiting" if answer.waits else "incomplete" if answer.is_incomplete else "completed"
        )
        for event in answer.ending(_as_it_will_be(self._attempt.run, status, answer)):
            await self._attempt.emit(event)
        if status == "waiting":
            await self._attempt.wait_for(answer.told["custom_outputs"]["interrupts"])
        else:
            await self._attempt.complete(answer.output, status=status)


def _as_it_will_be(run: Run, status: RunStatus, answer: Answer) -> Run:
    return replace(run, status=status, output=answer.output, completed_at=datetime.now(UTC), error=None)

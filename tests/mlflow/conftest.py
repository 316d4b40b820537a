from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from agents import set_tracing_disabled
from mlflow.entities import Trace


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(autouse=True)
def experiment(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An experiment of the test's own, in a local store; traces are in it as soon as they end."""
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    set_tracing_disabled(True)  # of the Agents SDK, whose traces would go to its makers
    mlflow.set_tracking_uri(f"sqlite:///{store}/mlflow.db")
    identifier = mlflow.create_experiment(uuid.uuid4().hex, artifact_location=(store / "artifacts").as_uri())
    mlflow.set_experiment(experiment_id=identifier)
    yield identifier
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


@pytest.fixture
def traces(experiment: str) -> Traces:
    return Traces(experiment)


class Traces:
    """What was traced in the test's experiment."""

    def __init__(self, experiment: str) -> None:
        self._experiment = experiment

    def all(self) -> list[Trace]:
        found: list[Trace] = mlflow.search_traces(locations=[self._experiment], return_type="list")
        return found

    def only(self) -> Trace:
        [trace] = self.all()
        return trace

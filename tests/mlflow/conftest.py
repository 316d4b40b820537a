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
def _nothing_leaves_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is traced, unless the test has an experiment to look at; what MLflow traces, it stores at once."""
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    set_tracing_disabled(True)  # of the Agents SDK, whose traces would go to its makers
    mlflow.tracing.disable()


@pytest.fixture
def experiment(store: Path, _nothing_leaves_the_machine: None) -> Iterator[str]:
    """An experiment of the test's own, in a local store."""
    mlflow.set_tracking_uri(f"sqlite:///{store}/mlflow.db")
    identifier = mlflow.create_experiment(uuid.uuid4().hex, artifact_location=(store / "artifacts").as_uri())
    mlflow.set_experiment(experiment_id=identifier)
    mlflow.tracing.enable()
    yield identifier
    mlflow.tracing.disable()
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


@pytest.fixture
def traces(experiment: str) -> Traces:
    return Traces()


class Traces:
    """What was traced in the test's experiment."""

    def all(self) -> list[Trace]:
        found: list[Trace] = mlflow.search_traces(return_type="list")  # of the active experiment
        return found

    def only(self) -> Trace:
        [trace] = self.all()
        return trace

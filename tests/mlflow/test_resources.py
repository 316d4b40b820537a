from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

import mlflow
import pytest
from mlflow.models import Model
from mlflow.pyfunc.model import PythonModel

from lakemem import ConfigurationError, Lakebase
from lakemem.integrations.mlflow import resources


class Echo(PythonModel):
    def predict(self, context: Any, model_input: list[str], params: dict[str, Any] | None = None) -> list[str]:
        return model_input


def needs(model: str | Path) -> Any:
    """What the file MLmodel of a model says that it needs of Databricks."""
    return cast("dict[str, Any]", Model.load(str(model)).resources)["databricks"]


def test_a_logged_model_lists_its_instance_and_its_endpoints(tmp_path: Path) -> None:
    listed = resources(Lakebase.instance("agents"), endpoints=["databricks-gte-large-en", "databricks-claude-sonnet-4"])
    mlflow.pyfunc.save_model(tmp_path / "model", python_model=Echo(), resources=listed, pip_requirements=[])

    stored = needs(tmp_path / "model")
    assert stored == {
        "lakebase": [{"name": "agents"}],
        "serving_endpoint": [{"name": "databricks-gte-large-en"}, {"name": "databricks-claude-sonnet-4"}],
    }


def test_a_model_logged_in_a_store_can_be_loaded_and_says_what_it_needs(experiment: str) -> None:
    logged = mlflow.pyfunc.log_model(
        name="echo", python_model=Echo(), resources=resources(Lakebase.instance("agents")), pip_requirements=[]
    )
    assert needs(logged.model_uri) == {"lakebase": [{"name": "agents"}]}
    assert mlflow.pyfunc.load_model(logged.model_uri).predict(["hello"]) == ["hello"]


def test_an_endpoint_given_twice_is_listed_once() -> None:
    assert len(resources(Lakebase.instance("agents"), endpoints=["one", "one"])) == 2


@pytest.mark.parametrize(
    "target", [Lakebase.endpoint("projects/p/branches/b/endpoints/e"), Lakebase.branch("p", "b")], ids=str
)
def test_a_project_is_no_resource_of_mlflow_and_a_warning_says_so(
    target: Lakebase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "lakemem")
    assert [resource.name for resource in resources(target, endpoints=["model"])] == ["model"]  # type: ignore[attr-defined]
    assert target.name in caplog.text


def test_a_dns_name_is_not_the_name_of_an_instance() -> None:
    with pytest.raises(ConfigurationError, match="DNS name"):
        resources(Lakebase.instance("instance-1.database.cloud.databricks.com"))


@pytest.mark.parametrize("target", [Lakebase.dsn("postgresql://localhost/agents"), Lakebase.embedded()], ids=str)
def test_a_postgres_outside_databricks_is_no_resource(target: Lakebase, caplog: pytest.LogCaptureFixture) -> None:
    assert resources(target) == []
    assert not caplog.records

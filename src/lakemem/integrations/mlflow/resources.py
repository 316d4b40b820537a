"""What a model that is logged with MLflow will need when it is served."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mlflow.models.resources import DatabricksLakebase, DatabricksServingEndpoint, Resource

from lakemem.errors import ConfigurationError
from lakemem.target import Lakebase

logger = logging.getLogger("lakemem")


def resources(target: Lakebase, *, endpoints: Sequence[str] = ()) -> list[Resource]:
    """Return the resources of an agent for ``mlflow.pyfunc.log_model(..., resources=...)``.

    Model Serving lets the served model use what is listed here. MLflow can list a provisioned instance. It has no
    resource for an autoscaling project: for one, a warning says so, and the rights are given with grants alone.
    A Postgres outside Databricks is none of its resources.

    Args:
        target: where the memory is.
        endpoints: the serving endpoints that the agent calls, by name, such as its model's and its embedder's.

    Raises:
        ConfigurationError: the target is an instance by its DNS name; MLflow needs the name of the instance.
    """
    found: list[Resource] = [DatabricksServingEndpoint(endpoint_name=name) for name in dict.fromkeys(endpoints)]
    if target.kind == "instance":
        if "." in target.name:
            raise ConfigurationError(
                f"{target.name} is a DNS name: MLflow lists an instance by its name, as Lakebase.instance(name) does"
            )
        found.insert(0, DatabricksLakebase(database_instance_name=target.name))
    elif target.is_lakebase:
        logger.warning(
            "MLflow has no resource for %s: give the serving identity a role and grants on it yourself", target.name
        )
    return found

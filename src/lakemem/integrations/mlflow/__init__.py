"""MLflow: resources for a logged model, a function for evaluation, spans of memory and of runs (extra ``mlflow``)."""

from lakemem.errors import MissingExtraError

try:
    import mlflow as _mlflow  # noqa: F401
except ImportError as error:
    raise MissingExtraError("mlflow", "lakemem.integrations.mlflow") from error

from lakemem.integrations.mlflow.evaluation import PredictFn, make_predict_fn
from lakemem.integrations.mlflow.resources import resources
from lakemem.integrations.mlflow.serving import run_span
from lakemem.integrations.mlflow.tracing import trace

__all__ = ["resources", "make_predict_fn", "PredictFn", "trace", "run_span"]

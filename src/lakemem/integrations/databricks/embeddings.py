"""Embeddings by a model serving endpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lakemem.errors import EmbedderUnavailableError
from lakemem.lakebase import Workspace

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

DEFAULT_ENDPOINT = "databricks-gte-large-en"


class DatabricksEmbedder:
    """Vectors from a serving endpoint (extra ``databricks``).

    The SDK repeats a request that is answered by 429 or 503 when ``Retry-After`` says so. lakemem itself sends
    batches, keeps what it has seen, checks every vector, and gives up after ``embedding_deadline``: a search then
    goes by words alone.

    Source: https://docs.databricks.com/aws/en/machine-learning/model-serving/query-embedding-models

    Args:
        endpoint: its name; by default ``DATABRICKS_EMBEDDING_ENDPOINT``, else ``databricks-gte-large-en``.
        dimensions: the length of its vectors.
        workspace_client: asks; by default one for this process.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        dimensions: int = 1024,
        workspace_client: WorkspaceClient | None = None,
    ) -> None:
        self.model = endpoint or os.environ.get("DATABRICKS_EMBEDDING_ENDPOINT") or DEFAULT_ENDPOINT
        self.dimensions = dimensions
        self._workspace = Workspace(workspace_client)

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector a text.

        Raises:
            EmbedderUnavailableError: the endpoint did not answer, or not with vectors.
        """
        client = self._workspace.client
        try:
            answer = client.serving_endpoints.query(self.model, input=list(texts))
        except Exception as error:
            # The words of a foreign error may quote the texts.
            reason = getattr(error, "error_code", None) or type(error).__name__
            raise EmbedderUnavailableError(
                f"the serving endpoint {self.model} did not answer ({reason}): check that it exists, is ready, and "
                "that this identity may query it"
            ) from None
        entries = sorted(answer.data or [], key=lambda entry: entry.index or 0)
        return [entry.embedding or [] for entry in entries]

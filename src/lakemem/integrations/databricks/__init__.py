"""The Databricks side: tokens, users, grants and sizes of a Lakebase, and embeddings by a serving endpoint."""

from __future__ import annotations

from lakemem.integrations.databricks.embeddings import DatabricksEmbedder
from lakemem.integrations.databricks.secrets import master_keys
from lakemem.integrations.databricks.users import TokenIdentity, on_behalf_of, user_client
from lakemem.lakebase import LakebaseCredentials

__all__ = ["DatabricksEmbedder", "LakebaseCredentials", "TokenIdentity", "master_keys", "on_behalf_of", "user_client"]

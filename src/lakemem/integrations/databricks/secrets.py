"""Master keys from a secret scope of the workspace."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING

from lakemem.encryption import MasterKeys
from lakemem.errors import ConfigurationError
from lakemem.lakebase import Workspace

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

SECRET = "lakemem-master-keys"  # noqa: S105 - the name of one


def master_keys(scope: str, key: str = SECRET, *, workspace_client: WorkspaceClient | None = None) -> MasterKeys:
    """Read master keys from a secret that holds what ``LAKEMEM_MASTER_KEYS`` would. It asks the workspace, and blocks.

    Source: https://docs.databricks.com/aws/en/security/secrets/

    Args:
        scope: the secret scope.
        key: the secret in it.
        workspace_client: asks; by default one for this process.

    Raises:
        ConfigurationError: there is no such secret for whoever asks, or it holds something else.
        MissingExtraError: the extra `databricks` or `encryption` is not installed.
    """
    client = Workspace(workspace_client).client
    from databricks.sdk.errors.base import DatabricksError

    try:
        value = client.secrets.get_secret(scope, key).value
    except DatabricksError as error:
        raise ConfigurationError(
            f"the workspace gives no secret {key!r} of the scope {scope!r} ({type(error).__name__}): create it, "
            "and let this identity read it"
        ) from None
    return MasterKeys.from_text(b64decode(value or "").decode(), source=f"the secret {key!r} of the scope {scope!r}")

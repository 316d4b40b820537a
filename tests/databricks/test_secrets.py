"""Master keys from a secret scope, by the SDK against the emulator."""

from __future__ import annotations

import pytest

from lakemem import ConfigurationError
from lakemem.encryption import new_master_key
from lakemem.integrations.databricks import master_keys
from lakemem.testing import LakebaseEmulator


def test_master_keys_come_from_a_secret(lakebase_emulator: LakebaseEmulator) -> None:
    client = lakebase_emulator.client()
    client.secrets.create_scope("agents")
    client.secrets.put_secret("agents", "lakemem-master-keys", string_value=new_master_key("2026-11"))
    client.secrets.put_secret("agents", "other", string_value="nonsense")
    keys = master_keys("agents", workspace_client=client)
    assert keys.current == "2026-11"
    assert keys.unwrap(keys.wrap(b"key", b"c"), "2026-11", b"c") == b"key"
    with pytest.raises(ConfigurationError, match="gives no secret 'missing'"):
        master_keys("agents", "missing", workspace_client=client)
    with pytest.raises(ConfigurationError, match="has no master keys") as raised:
        master_keys("agents", "other", workspace_client=client)
    assert "nonsense" not in str(raised.value)

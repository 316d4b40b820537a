"""A Databricks workspace with a Lakebase, on this machine: real clients talk to it as they talk to the platform."""

from lakemem.testing.emulator.emulator import LakebaseEmulator as LakebaseEmulator

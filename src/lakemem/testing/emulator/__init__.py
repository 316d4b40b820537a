"""A Databricks workspace with a Lakebase, on this machine: real clients talk to it as they talk to the platform.

:class:`LakebaseEmulator` is the whole. Inside, ``state`` knows what there is, ``compute`` is the Postgres of one
Lakebase, ``front`` is the door to it, ``app`` and ``routes`` are the HTTP API, and ``faults`` are the switches.

What is real: Postgres, TLS and its verification, scram-sha-256, roles, privileges, expiry (``VALID UNTIL``, decided by
Postgres itself), embeddings, branches (copies of a running Postgres).

What is not as on the platform:

- The API is plain HTTP on loopback. All Lakebases share one port and are told apart by the name that the client
  asks for in TLS (SNI); a client that connects to an IP address without a name gets the first Lakebase. The names are
  in no DNS: use ``hostaddr``, ``PGHOSTADDR``, or :meth:`LakebaseEmulator.resolve`.
- A role in Postgres has one password, an identity may have several tokens that live. The door asks for the token in
  cleartext inside TLS, as every server must that checks tokens made elsewhere, makes it the role's password, and
  logs in with scram-sha-256 as the client. Past the door, on Postgres's own socket, the token used last works alone.
- The extension ``vector`` is there from the start, since the wheel's can be created by a superuser alone, and
  ``databricks_auth`` is one function, ``databricks_create_role``.
- Any identity of the workspace may call any route. What a role may do in Postgres is Postgres's decision.
- Nothing scales to zero by itself: :meth:`LakebaseEmulator.suspend` does it. Sizes change no resource; Postgres takes
  250 connections, whatever the capacity. There is no pooler, no high availability, no replica, no native login.
- ``claims`` are accepted, and have no effect. Synced tables, snapshots, the Data API and CDF are not there.
"""

from lakemem.testing.emulator.emulator import LakebaseEmulator as LakebaseEmulator

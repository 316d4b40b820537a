"""``lakemem emulator``: a workspace with a Lakebase on this machine, until it is interrupted."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import threading


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("emulator", help="run a Databricks workspace with a Lakebase on this machine")
    parser.add_argument("--port", type=int, default=0, help="of the workspace's API (default: any that is free)")
    parser.add_argument("--postgres-port", type=int, default=0, help="of Postgres (default: any that is free)")
    parser.add_argument("--instance", action="store_true", help="name the Lakebase as a provisioned instance")
    parser.add_argument("--token-lifetime", type=float, default=3600, metavar="S", help="of database tokens")
    parser.add_argument("--wake-delay", type=float, default=0, metavar="S", help="after scale to zero")
    parser.add_argument("--postgres-version", type=int, choices=(16, 18), default=16, help="(default: 16)")
    parser.add_argument("--json", action="store_true", help="print the environment as JSON, not as shell commands")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from lakemem.testing.emulator import LakebaseEmulator

    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with LakebaseEmulator(
        token_lifetime=options.token_lifetime,
        wake_delay=options.wake_delay,
        postgres_version=options.postgres_version,
        port=options.port,
        postgres_port=options.postgres_port,
    ) as emulator:
        environment = emulator.environment(instance=options.instance)
        if options.json:
            print(json.dumps(environment), flush=True)
        else:
            for name, value in environment.items():
                print(f"export {name}={shlex.quote(value)}")
            print(f"# faults are switched at {emulator.url}/emulator", flush=True)
            print("lakemem: the emulator runs; stop it with ^C", file=sys.stderr, flush=True)
        # In steps, since a wait without an end cannot be interrupted everywhere.
        while not stopped.wait(1.0):
            pass
    return 0

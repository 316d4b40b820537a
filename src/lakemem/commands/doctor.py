"""``lakemem doctor``: what is configured, which step fails, and what to do."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os

from lakemem.commands.targets import add_target, target_of
from lakemem.doctor import Doctor, Finding
from lakemem.protocols import Embedder
from lakemem.schema import schema_name
from lakemem.target import is_deployed

_MARKS = {"ok": "ok     ", "warning": "WARNING", "failed": "FAILED "}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "doctor",
        help="say what is configured, which step fails, and what to do",
        description="Exit code 0: memory works from here; 1: a step failed.",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument(
        "--production",
        action="store_true",
        help="fail where a deployed app would refuse to open (default: where DATABRICKS_APP_NAME is set)",
    )
    parser.add_argument("--pool-size", type=int, default=10, metavar="N", help="max_size of the app (default: 10)")
    parser.add_argument(
        "--embedding-endpoint",
        metavar="NAME",
        help="a serving endpoint to try (default: DATABRICKS_EMBEDDING_ENDPOINT)",
    )
    parser.add_argument("--embedding-dimensions", type=int, default=1024, metavar="N", help="its (default: 1024)")
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    doctor = Doctor(
        target_of(options),
        schema=schema_name(options.schema),
        pool_size=options.pool_size,
        embedder=_embedder(options.embedding_endpoint, options.embedding_dimensions),
        production=options.production or is_deployed(),
    )
    findings = []
    for finding in doctor.findings():
        findings.append(finding)
        if not options.json:
            _show(finding)
    if options.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    return int(any(finding.status == "failed" for finding in findings))


def _show(finding: Finding) -> None:
    print(f"{_MARKS[finding.status]} {finding.step}: {finding.detail}")
    if finding.remedy:
        print(f"        -> {finding.remedy}")


def _embedder(endpoint: str | None, dimensions: int) -> Embedder | None:
    endpoint = endpoint or os.environ.get("DATABRICKS_EMBEDDING_ENDPOINT")
    if not endpoint:
        return None
    from lakemem.integrations.databricks import DatabricksEmbedder

    return DatabricksEmbedder(endpoint, dimensions=dimensions)

"""``lakemem worker``: extract facts from what was remembered, and fill in vectors that came late."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lakemem._sync.memory import Memory
from lakemem.commands.objects import embedder_of, object_of
from lakemem.commands.targets import add_target, target_of
from lakemem.errors import ConfigurationError
from lakemem.protocols import Extractor
from lakemem.work_types import Worked

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "worker",
        help="extract facts from conversations, and fill in late vectors",
        description="Do the jobs of all users, until SIGTERM or Ctrl-C: then the job at hand is finished first. Any "
        "number of workers may run beside the app.",
    )
    parser.add_argument(
        "extractor",
        nargs="?",
        metavar="module:extractor",
        help="what finds facts; without it, only vectors are filled in",
    )
    parser.add_argument("--embedder", metavar="module:embedder", help="the app's embedder, for the vectors of facts")
    parser.add_argument("--once", action="store_true", help="do what is due now, and end")
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds for the extractor (default: 60)")
    parser.add_argument("--lease", type=float, default=180.0, help="seconds that a job is its worker's (default: 180)")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two looks for jobs (default: 1)")
    parser.add_argument("--max-attempts", type=int, default=8, help="attempts before a job is given up (default: 8)")
    parser.add_argument("--dead", action="store_true", help="list the jobs that were given up, and end")
    parser.add_argument("--retry-dead", action="store_true", help="queue them again first")
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    extractor = None if options.extractor is None else extractor_of(options.extractor)
    embedder = None if options.embedder is None else embedder_of(options.embedder)
    with Memory(target_of(options), embedder=embedder, schema=options.schema, migrate=False) as memory:
        worker = memory.worker(
            extractor,
            deadline=options.deadline,
            lease=options.lease,
            interval=options.interval,
            max_attempts=options.max_attempts,
        )
        if options.dead:
            for job in worker.dead():
                print(f"{job.owner} {job.kind} {job.job_id}: {job.attempts} attempts, {job.error}, {job.created_at}")
            return 0
        if options.retry_dead:
            print(f"{worker.retry_dead()} jobs are queued again", file=sys.stderr)
        with stopped_by_signals(at_once=options.once) as stop:
            print("the worker is ready", file=sys.stderr, flush=True)
            worked = worker.run_once(progress=show) if options.once else worker.run(stop, progress=show)
    print(said(worked))
    return 0


def extractor_of(name: str) -> Extractor:
    """Return the extractor that is named, or what makes one without arguments, such as a class.

    Raises:
        ConfigurationError: there is none under this name.
    """
    found = object_of(name)
    if isinstance(found, type) or (callable(found) and not isinstance(found, Extractor)):
        found = found()
    if not isinstance(found, Extractor):
        raise ConfigurationError(f"{name} is no extractor: it needs extract(turns, known)")
    return found


@contextmanager
def stopped_by_signals(*, at_once: bool) -> Iterator[threading.Event]:
    """An event that the first SIGTERM or Ctrl-C sets; the second one, or the first if `at_once`, gives the job back."""
    stop = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if at_once or stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def show(worked: Worked) -> None:
    end, begin = ("", "\r") if sys.stderr.isatty() else ("\n", "")
    print(f"{begin}{said(worked)}", end=end, file=sys.stderr, flush=True)


def said(worked: Worked) -> str:
    return (
        f"{worked.jobs} jobs done, {worked.facts} facts, {worked.dropped} dropped, {worked.vectors} vectors, "
        f"{worked.failed} failed attempts, {worked.dead} given up, {worked.lost} lost"
    )

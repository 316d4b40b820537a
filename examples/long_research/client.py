"""A client that sees every event once, whatever becomes of its connection.

python client.py http://localhost:8000 "How is Nordlys doing?"
"""

import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from itertools import cycle

from openai import APIConnectionError, APIStatusError, OpenAI

ENDS = ("response.completed", "response.failed", "response.incomplete")


def ask(urls: Sequence[str], question: str, patience: float = 60.0) -> Iterator:
    """Ask an agent for what takes long, and yield its events.

    Args:
        urls: where it is served; one is enough where a balancer is in front.
        patience: seconds to try again when nobody answers.
    """
    clients = cycle([OpenAI(base_url=url, api_key="none", max_retries=0) for url in urls])
    response_id, seen, silent_since = None, -1, time.monotonic()
    once = {"Idempotency-Key": str(uuid.uuid4())}  # asked again for want of an answer, it is the same run
    while time.monotonic() - silent_since < patience:
        client = next(clients)
        try:
            if response_id is None:
                stream = client.responses.create(input=question, background=True, stream=True, extra_headers=once)
            else:
                stream = client.responses.retrieve(response_id, stream=True, starting_after=seen)
            for event in stream:
                seen, silent_since = event.sequence_number, time.monotonic()
                if event.type == "response.created":
                    response_id = event.response.id
                yield event
                if event.type in ENDS:
                    return
        except (APIConnectionError, APIStatusError) as error:
            if isinstance(error, APIStatusError) and error.status_code < 500:
                raise
        time.sleep(0.2)
    raise TimeoutError("nobody answers")


def show(event) -> None:
    """Print what a person wants to see."""
    if event.type == "response.resumed":
        print("(another process goes on)", flush=True)
    elif event.type == "response.output_item.done":
        print(event.item.content[0].text, flush=True)


if __name__ == "__main__":
    for event in ask(sys.argv[1:-1], sys.argv[-1]):
        show(event)

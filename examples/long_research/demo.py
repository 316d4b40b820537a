"""A long piece of research whose server is killed in the middle.

    pip install "lakemem[local,server,langgraph]" openai
    python demo.py

Two servers work on one database. The client asks at the first one, which is killed while it works. The client goes on
at the second one, and so does the work: each source is read once.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from client import ask, show

from lakemem import Memory

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def serve(port: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "lakemem", "serve", "agent:graph", "--port", str(port)]
    environment = {**os.environ, "SECONDS_A_SOURCE": "0.4"}
    return subprocess.Popen(command, cwd=HERE, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{url}/health")
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(url)


def main() -> None:
    with Memory():  # the embedded Postgres runs, and has its tables
        ports = [free_port(), free_port()]
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        servers = [serve(ports[0])]
        wait_for(urls[0])
        try:
            read = 0
            for event in ask(urls, "How is Nordlys doing?"):
                show(event)
                read += event.type == "response.output_item.done"
                if event.type == "response.output_item.done" and read == 1:
                    servers.append(serve(ports[1]))  # from now on there are two
                if event.type == "response.output_item.done" and read == 2:
                    print("(the first server is killed)", flush=True)
                    servers[0].kill()
            print(f"events: 0 to {event.sequence_number}, status: {event.response.status}")
        finally:
            for server in servers:
                server.kill()
                server.wait()


if __name__ == "__main__":
    main()

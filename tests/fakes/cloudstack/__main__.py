"""The fake on the command line, on the loopback interface only."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from . import ADMIN, USER, Clock, Cloud, Config, Server, State, default_site


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; then the state is written, and parameters that no command has are told."""
    parser = argparse.ArgumentParser(prog="python -m fakes.cloudstack", description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="on 127.0.0.1; 0: any free one (default 8080)")
    parser.add_argument("--state", type=Path, help="a JSON file: read at the start, written at the end")
    parser.add_argument("--version", default=Config.version, help="of CloudStack, such as 4.11.3.0")
    parser.add_argument(
        "--speed", type=float, default=1.0, help="virtual seconds per second; 0: only /__fake__/advance"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--expunge", action="store_true", help="users may expunge")
    parser.add_argument("--public-ips", type=int, default=5)
    parser.add_argument("--hosts", type=int, default=2)
    given = parser.parse_args(argv)
    saved = given.state is not None and given.state.exists()
    state = (
        State.from_json(json.loads(given.state.read_text()))
        if saved
        else default_site(public_ips=given.public_ips, hosts=given.hosts)
    )
    config = Config(version=given.version, allow_user_expunge=given.expunge)
    cloud = Cloud(state, config, clock=Clock(given.speed or None), seed=given.seed)
    server = Server(cloud, given.port)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    server.start()
    for name, keys in (("user", USER), ("admin", ADMIN)):
        sys.stdout.write(f"{name}: apikey={keys.apikey} secretkey={keys.secretkey}\n")
    sys.stdout.write(f"url: {server.url}\n")
    sys.stdout.flush()
    ended.wait()
    server.close()
    if given.state is not None:
        given.state.write_text(json.dumps(cloud.snapshot().to_json(), indent=1))
    for one in cloud.violations:
        sys.stderr.write(f"{one}\n")
    return 1 if cloud.violations else 0


if __name__ == "__main__":
    sys.exit(main())

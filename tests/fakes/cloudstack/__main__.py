"""The CloudStack server on the command line, on the loopback interface only."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from . import ADMIN, USER, Clock, Cloud, Config, Hypervisor, Server, State, default_site


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fakes.cloudstack", description=__doc__)
    add = parser.add_argument
    add("--port", type=int, default=8080, help="on 127.0.0.1; 0: any free one (default 8080)")
    add("--state", type=Path, help="a JSON file: read at the start, written at the end")
    add("--version", default=Config.version, help="of CloudStack, such as 4.11.3.0")
    add("--speed", type=float, default=1.0, help="virtual seconds per second; 0: time passes by /__fake__/advance only")
    add("--seed", type=int, default=1)
    add("--delay", type=float, default=1.0, help="seconds that a job takes (default 1)")
    add("--expunge", action="store_true", help="users may expunge")
    add("--public-ips", type=int, default=5)
    add("--first-ip", default="203.0.113.10", help="the first public address; with --libvirt one of 127.0.0.0/8")
    add("--hosts", type=int, default=2)
    real = parser.add_argument_group("machines that really run, as libvirt domains of this host (needs root)")
    real.add_argument("--libvirt", metavar="PREFIX", help="of their names; nothing else of libvirt is touched")
    real.add_argument("--uri", default="qemu:///system", help="of libvirt (default qemu:///system)")
    real.add_argument("--accel", choices=("kvm", "tcg"), help="default: what is proved to work here")
    real.add_argument("--folder", type=Path, help="for their disks; QEMU must be able to read it")
    real.add_argument(
        "--disk",
        action="append",
        default=[],
        metavar="TEMPLATE=FILE",
        help="a raw or .qcow2 image, never written to; the template is made",
    )
    return parser


def _hypervisor(given: argparse.Namespace, disks: dict[str, Path], stack: ExitStack) -> Hypervisor | None:
    if given.libvirt is None:
        return None
    from .virt import LibvirtHypervisor

    return stack.enter_context(LibvirtHypervisor(given.libvirt, given.folder, disks, uri=given.uri, kind=given.accel))


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; then the state is written, and parameters that no command has are told."""
    parser = _parser()
    given = parser.parse_args(argv)
    if given.libvirt is not None and given.folder is None:
        parser.error("--libvirt needs --folder")
    disks = {name: Path(path) for name, _, path in (word.partition("=") for word in given.disk)}
    saved = given.state is not None and given.state.exists()
    state = (
        State.from_json(json.loads(given.state.read_text()))
        if saved
        else default_site(
            public_ips=given.public_ips, hosts=given.hosts, first_ip=given.first_ip, templates=list(disks)
        )
    )
    config = Config(version=given.version, allow_user_expunge=given.expunge)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with ExitStack() as stack:
        cloud = Cloud(
            state,
            config,
            clock=Clock(given.speed or None),
            seed=given.seed,
            hypervisor=_hypervisor(given, disks, stack),
            delays={"default": given.delay, "implement": given.delay},
        )
        server = Server(cloud, given.port)
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

"""A cloud's virtual router on this machine: networks whose DHCP server's address also serves user data over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv4Network


@dataclass(frozen=True)
class Segment:
    """One isolated network; its first address is the router's. hosts: the address that each MAC gets."""

    name: str
    bridge: str
    network: IPv4Network
    hosts: Mapping[str, IPv4Address]

    @property
    def router(self) -> IPv4Address:
        return self.network.network_address + 1

    def document(self) -> str:
        hosts = "".join(f"<host mac='{mac}' ip='{ip}'/>" for mac, ip in self.hosts.items())
        addresses = sorted(self.hosts.values())
        scope = f"<range start='{addresses[0]}' end='{addresses[-1]}'/>"
        return (
            f"<network><name>{self.name}</name><bridge name='{self.bridge}' stp='off' delay='0'/>"
            f"<ip address='{self.router}' netmask='{self.network.netmask}'><dhcp>{scope}{hosts}</dhcp></ip></network>"
        )


class Server(ThreadingHTTPServer):
    """Serves /latest/user-data, to each client its own by its address; *asked* are the clients that did."""

    daemon_threads = True

    def __init__(self, address: IPv4Address, data: Mapping[IPv4Address, bytes]) -> None:
        self.data = data
        self.asked: set[IPv4Address] = set()
        super().__init__((str(address), 80), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        client = IPv4Address(self.client_address[0])
        found = self.server.data.get(client) if self.path == "/latest/user-data" else None
        self.server.asked.add(client)
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(found or b"")))
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


@contextmanager
def router(
    connection: object, segments: tuple[Segment, ...], data: Mapping[IPv4Address, bytes]
) -> Iterator[list[Server]]:
    """The networks, and a server on each; all gone after the block."""
    with ExitStack() as stack:
        servers = []
        for segment in segments:
            stack.enter_context(_network(connection, segment))
            server = stack.enter_context(Server(segment.router, data))
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            servers.append(server)
        yield servers


@contextmanager
def _network(connection: object, segment: Segment) -> Iterator[None]:
    import libvirt

    with suppress(libvirt.libvirtError):  # of a run that was killed
        connection.networkLookupByName(segment.name).destroy()
    network = connection.networkCreateXML(segment.document())
    try:
        yield
    finally:
        network.destroy()

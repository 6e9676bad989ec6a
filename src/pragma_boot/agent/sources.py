"""Where a machine without /root/vc-out.xml finds its document: ConfigDrive, cloud-init's copy, a virtual router."""

from __future__ import annotations

import logging
import re
import struct
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

from pragma_boot.agent.document import LIMIT
from pragma_boot.agent.root import LiveRoot
from pragma_boot.agent.system import System
from pragma_boot.errors import GuestError
from pragma_boot.image import peek

_log = logging.getLogger(__name__)

_LABEL = "config-2"
_DRIVE = ("cloudstack/userdata/user_data.txt", "openstack/latest/user_data")
_MOUNT = "/run/pragma-guest/drive"
_COPY = "/var/lib/cloud/instance/user-data.txt"
_URL = "/latest/user-data"
_METADATA = "169.254.169.254"
_TIMEOUT = 5.0
_DEADLINE = 30.0
_ROUTER_KEY = re.compile(
    r"(?:SERVER_ADDRESS=|dhcp-server-identifier[ =]+|dhcp_server_identifier\s*=\s*|serverid=['\"]?|"
    r"<server-id>|DHCPSID=['\"]?)(\d{1,3}(?:\.\d{1,3}){3})"
)
_LEASES = (
    ("/run/systemd/netif/leases", "*"),
    ("/run/NetworkManager/devices", "*"),
    ("/var/lib/NetworkManager", "*.lease"),
    ("/var/lib/dhcp", "*.lease*"),
    ("/var/lib/dhclient", "*.lease*"),
    ("/run/udhcpc", "*.lease"),
    ("/var/lib/udhcpc", "*.lease"),
    ("/run/wicked", "lease-*"),
    ("/var/lib/wicked", "lease-*"),
)

Offer = tuple[str, Callable[[], bytes]]
"""Where user data may be, for the log, and what reads it: the bytes, or a GuestError that says why not."""


def config_drive(root: LiveRoot, system: System) -> Iterator[Offer]:
    """ConfigDrive: a CD with the label `config-2`, if there is one."""
    device = f"/dev/disk/by-label/{_LABEL}"
    if not root.exists(device):
        udev = root.exists("/dev/disk")  # whose word on labels is the last
        device = "" if udev or not system.has("blkid") else (system.output(["blkid", "-L", _LABEL]) or "").strip()
    if device:
        yield f"ConfigDrive {device}", lambda: _read_drive(root, system, device)


def _read_drive(root: LiveRoot, system: System, device: str) -> bytes:
    root.make_folder(_MOUNT)
    if not system.run(["mount", "-o", "ro,nosuid,nodev,noexec", device, root.place(_MOUNT)]):
        raise GuestError(f"{device} cannot be mounted")
    try:
        found = peek.first(root, *(f"{_MOUNT}/{name}" for name in _DRIVE))
        if not found:
            raise GuestError("it has no user data")
        return root.read(found)
    finally:
        system.run(["umount", root.place(_MOUNT)])


def cloud_init(root: LiveRoot) -> Iterator[Offer]:
    """What cloud-init has fetched before us."""
    if root.exists(_COPY):
        yield f"cloud-init's {_COPY}", lambda: root.read(_COPY)


def virtual_router(root: LiveRoot, system: System, *, metadata: bool = False, port: int = 80) -> Iterator[Offer]:
    """Each address that may be the virtual router's: DHCP servers, `data-server`, the gateway.

    metadata: also the link-local address that other clouds serve user data from.
    """
    seen = set()
    for address in (*_dhcp_servers(root, system), *system.resolve("data-server"), *gateways(root)):
        if address not in seen and _usable(address):
            seen.add(address)
            yield f"http://{address}{_URL}", _getter(address, port)
    if metadata:
        yield f"http://{_METADATA}{_URL}", _getter(_METADATA, port)


def _getter(address: str, port: int) -> Callable[[], bytes]:
    return lambda: get(address, port)


def _usable(text: str) -> bool:
    try:
        address = IPv4Address(text)
    except ValueError:
        return False
    return not (address.is_multicast or address.is_unspecified or address == IPv4Address("255.255.255.255"))


def _dhcp_servers(root: LiveRoot, system: System) -> list[str]:
    """The servers that gave leases; of several in one file (dhclient appends) the last."""
    found = []
    for folder, pattern in _LEASES:
        for path in peek.paths(root, folder, pattern):
            found += _ROUTER_KEY.findall(peek.text(root, path))[-1:]
    if not found and system.has("nmcli"):
        found = _ROUTER_KEY.findall(system.output(["nmcli", "-f", "DHCP4", "device", "show"]) or "")
    return found


def gateways(root: LiveRoot) -> list[str]:
    """The default gateways, as /proc/net/route has them."""
    found = []
    for line in peek.text(root, "/proc/net/route").splitlines()[1:]:
        words = line.split()
        if len(words) > 7 and words[1] == "00000000" and words[7] == "00000000" and words[2] != "00000000":
            found.append(str(IPv4Address(struct.pack("<I", int(words[2], 16)))))
    return found


def get(address: str, port: int = 80) -> bytes:
    """User data of the server at *address*; no proxy, no redirect, bounded in size and time. Raises GuestError."""
    from http.client import HTTPConnection, HTTPException  # noqa: PLC0415 - dear, and not always needed

    end = time.monotonic() + _DEADLINE
    connection = HTTPConnection(address, port, timeout=_TIMEOUT)
    try:
        connection.request("GET", _URL, headers={"User-Agent": "pragma-guest", "Connection": "close"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise GuestError(f"it answers with status {answer.status}")
        data = b""
        while len(data) <= LIMIT:
            if time.monotonic() > end:
                raise GuestError(f"it took more than {_DEADLINE:.0f} seconds")
            piece = answer.read1(65536)
            if not piece:
                break
            data += piece
    except (OSError, HTTPException, ValueError) as error:
        raise GuestError("it does not answer", details=str(error)) from error
    finally:
        connection.close()
    if len(data) > LIMIT:
        raise GuestError(f"it has more than {LIMIT} bytes")
    length = answer.getheader("Content-Length", "")
    if length.isdigit() and int(length) != len(data):
        raise GuestError(f"it sent {len(data)} of {length} bytes")
    return data

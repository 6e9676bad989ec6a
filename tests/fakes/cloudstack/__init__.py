"""A CloudStack server for tests: stateful, strict, with its own clock and with faults on demand.

In a test, over HTTP (the driver's own way)::

    from fakes.cloudstack import USER, Cloud, serving

    with serving() as server:                # strict: at the end, a parameter no command has fails the test
        driver(server.url, USER.apikey, USER.secretkey, sleep=server.cloud.sleep)
        server.cloud.machine("vc1").state

Its clock stands still until somebody sleeps on it (``cloud.sleep``, ``cloud.advance``, ``cloud.settle()``): jobs
of minutes take no time. ``Cloud(clock=Clock(speed=1))`` runs by itself (signatures then carry real dates; with the
standing clock use ``cloud.clock.now`` as the client's time, or any date later than it: 2026-08-21 14:00 UTC).
Without HTTP: ``cloud.request(method, target, body) -> Answer``; ``Client(cloud)`` is a minimal client.

``Cloud(state=default_site(public_ips=50, hosts=20), config=Config(version="4.11.3.0", allow_user_expunge=True),
delays={"startVirtualMachine": (1, 3), "default": 0.5})``; accounts USER, ADMIN, FOREIGN.
Faults: ``cloud.faults.add("error", "deployVirtualMachine", nth=2, code=530, text="…")``, see :mod:`.faults`.
Nothing left: ``before = cloud.snapshot(); …; assert_clean(cloud, "user", before)``; ``leftovers(...)`` to compare with
a report. Connectivity: ``can_reach(cloud, machine, "192.0.2.1", "tcp", 80)``, ``can_reach_public(cloud, ip, 22)``.
What was asked: ``cloud.log``. On the command line: ``cd tests; python -m fakes.cloudstack --port 8080``.
"""

from .clean import Leftover, assert_clean, leftovers
from .client import Client, Refused
from .clock import Clock
from .cloud import Answer, Cloud
from .config import Config
from .faults import Fault
from .http import Server, serving
from .hypervisor import Forward, Hypervisor, HypervisorError, MemoryHypervisor
from .reach import can_reach, can_reach_public, reached
from .site import ADMIN, FOREIGN, NAT_OFFERING, USER, Credentials, default_site, shared_network
from .state import State

from . import commands  # isort: skip  # makes the commands known

__all__ = [
    "ADMIN",
    "FOREIGN",
    "NAT_OFFERING",
    "USER",
    "Answer",
    "Client",
    "Clock",
    "Cloud",
    "Config",
    "Credentials",
    "Fault",
    "Forward",
    "Hypervisor",
    "HypervisorError",
    "Leftover",
    "MemoryHypervisor",
    "Refused",
    "Server",
    "State",
    "assert_clean",
    "can_reach",
    "can_reach_public",
    "commands",
    "default_site",
    "leftovers",
    "reached",
    "serving",
    "shared_network",
]

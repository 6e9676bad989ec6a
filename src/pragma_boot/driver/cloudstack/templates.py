"""Images as the cloud keeps them: which are ready, and how another gets there."""

from __future__ import annotations

import logging
import re
from typing import Any

from pragma_boot.driver.cloudstack.cloud import Cloud
from pragma_boot.driver.cloudstack.crew import done_once
from pragma_boot.errors import DriverError
from pragma_boot.model import Progress, ProgressSink, no_progress

_log = logging.getLogger(__name__)

_LIMIT = 7200.0
"""Seconds that the cloud may take to fetch an image."""
_PAUSE = 5.0
_FORMATS = {"qcow2": "QCOW2", "img": "RAW", "raw": "RAW", "vhd": "VHD", "ova": "OVA"}
_PACKED = re.compile(r"\.(gz|bz2|xz|zip)$")
_FAILED = re.compile(r"(?i)error|fail|not found|invalid|refused|timed? ?out|abandon")
_SYSTEM = re.compile(r"(?i)other.*linux.*64|linux.*64")


class CloudTemplates:
    """The contract's `Templates`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def ready(self) -> frozenset[str]:
        """As in the contract."""
        return frozenset(self._cloud.templates())

    def publish(self, name: str, url: str, checksum: str = "", progress: ProgressSink = no_progress) -> None:
        """As in the contract; a download that is under way already is waited for."""
        cloud = self._cloud
        if name in self.ready():
            _log.info("template %s is ready already", name)
            return
        found = self._own(name)
        if found is None:
            answer = done_once(
                cloud.client,
                "registerTemplate",
                lambda: self._own(name),
                name=name,
                displaytext=f"{name}, published by pragma",
                url=url,
                format=_format(url),
                hypervisor="KVM",
                zoneid=cloud.zone_id,
                ostypeid=self._system(),
                checksum=checksum or None,
                requireshvm=True,
            )
            rows = answer.get("template")
            found = rows[0] if isinstance(rows, list) and rows else answer
        self._wait(name, str(found["id"]), progress)

    def _own(self, name: str) -> dict[str, Any] | None:
        rows = self._cloud.template_rows("self", name=name)
        return next((row for row in rows if row.get("name") == name), None)

    def _system(self) -> str:
        """An operating system's id that serves any Linux: the server wants one."""
        rows = self._cloud.client.rows("listOsTypes", "ostype")
        found = next((row for row in rows if _SYSTEM.search(str(row.get("description", "")))), None)
        if found is None:
            raise DriverError(
                "the cloud knows no 64-bit Linux", resolution="register the template in the cloud's own way"
            )
        return str(found["id"])

    def _wait(self, name: str, ident: str, progress: ProgressSink) -> None:
        clock = self._cloud.client.clock
        end = clock.now() + _LIMIT
        while True:
            rows = self._cloud.template_rows("self", id=ident)
            row = next((row for row in rows if row.get("id") == ident), None)
            status = str((row or {}).get("status", ""))
            if row and str(row.get("isready")).lower() == "true":
                return
            if row is None or _FAILED.search(status) or clock.now() > end:
                raise DriverError(
                    f"the cloud did not get template {name}",
                    details=status or "it is not listed any more",
                    resolution="see that the cloud's secondary storage reaches the URL; remove the template there, then"
                    " repeat",
                )
            progress(Progress("download", name, status or "waiting for the cloud"))
            clock.pause(_PAUSE)


def _format(url: str) -> str:
    path = url.partition("?")[0].partition("#")[0].lower()
    ending = _PACKED.sub("", path).rpartition(".")[2]
    return _FORMATS.get(ending, "QCOW2")

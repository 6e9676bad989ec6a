"""From the settings to the site's driver."""

from __future__ import annotations

from pragma_boot.config.settings import Settings
from pragma_boot.driver.base import Driver
from pragma_boot.errors import NotAvailableError

AVAILABLE = ("libvirt", "qemu", "kvm_rocks", "cloudstack")
"""Drivers for sites. `memory` is there, too: for tests, it runs nothing."""


def open_driver(settings: Settings) -> Driver:
    """The driver that `site_ve_driver` names; connects to nothing yet.

    Raises NotAvailableError for one that does not exist (yet), or whose settings are missing.
    """
    name = settings.site.site_ve_driver
    if name == "memory":
        from pragma_boot.driver.memory import MemoryDriver  # noqa: PLC0415 - only the chosen driver is loaded

        return MemoryDriver(settings.site.state, settings.clusters)
    if name == "kvm_rocks" and settings.kvm_rocks:
        from pragma_boot.driver.kvm_rocks.driver import KvmRocksDriver  # noqa: PLC0415

        return KvmRocksDriver(settings.kvm_rocks, settings.site.state, settings.site.temp_directory)
    if name == "cloudstack" and settings.cloudstack:
        from pragma_boot.driver.cloudstack.driver import CloudStackDriver  # noqa: PLC0415

        return CloudStackDriver(settings.cloudstack, settings.site.state)
    state, repository = settings.site.state, settings.site.repository
    disks = settings.clusters.diskdir or state.root / "disks"
    if name == "qemu" and settings.qemu:
        from pragma_boot.driver.qemu.driver import QemuDriver  # noqa: PLC0415

        return QemuDriver(settings.qemu, state, (disks, repository.cache))
    if name != "libvirt" or settings.libvirt is None:
        raise NotAvailableError(
            f"site_ve_driver {name!r} is not available yet",
            resolution=f"set site_ve_driver in site_conf.conf to one of: {', '.join(AVAILABLE)}",
        )
    from pragma_boot.driver.libvirt.driver import LibvirtDriver  # noqa: PLC0415

    return LibvirtDriver(settings.libvirt, state, (disks, repository.directory, repository.cache))

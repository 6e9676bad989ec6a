"""Starting and stopping VMs, what the NAS does meanwhile, and virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulators.rocks.site import RocksSite


def _status(site: RocksSite, name: str) -> str:
    return site.call("list host vm", name, "status=1", "output-col=status").out.split()[1]


def _nas(site: RocksSite, name: str = "vm-myvc-0") -> None:
    assert site.call("set host vm nas", name, "nas=nas-0-0", "zpool=pragma").status == 0


def _mapped(site: RocksSite) -> list[str]:
    return [f"{volume.name} {volume.state}" for volume in site.state().volumes]


def test_a_missing_image_is_replaced_by_an_empty_disk(cluster: RocksSite) -> None:
    assert cluster.call("start host vm", "myvc").status == 0
    path = cluster.folder / "hosts/fiji/state/partition1/kvm/disks/myvc.vda"
    assert (path.stat().st_size, path.stat().st_blocks) == (36 * 10**9, 0)
    assert cluster.state().blanks == ["fiji:/state/partition1/kvm/disks/myvc.vda"]


def test_an_image_that_is_there_is_left_alone(cluster: RocksSite) -> None:
    path = cluster.folder / "hosts/fiji/state/partition1/kvm/disks/myvc.vda"
    path.parent.mkdir(parents=True)
    path.write_text("disk")
    cluster.call("start host vm", "myvc")
    assert (path.read_text(), cluster.state().blanks) == ("disk", [])


def test_a_frontend_that_is_to_install_does_so_once(cluster: RocksSite) -> None:
    cluster.call("start host vm", "myvc")
    assert cluster.state().installed == ["myvc"]
    assert cluster.call("list host boot", "myvc").out.split() == ["ACTION", "os"]


def test_a_frontend_told_to_boot_its_disk_does_so(cluster: RocksSite) -> None:
    cluster.call("set host boot", "myvc", "action=os")
    cluster.call("start host vm", "myvc")
    assert cluster.state().installed == []


@pytest.mark.parametrize(("state", "message"), [("active", "is already running."), ("paused", "is puased. You need")])
def test_what_runs_is_not_started(cluster: RocksSite, state: str, message: str) -> None:
    with cluster.change() as site:
        site.domains["fiji"] = {"myvc": state}
    assert f"Error: The host myvc {message}" in cluster.call("start host vm", "myvc").out


def test_start_and_stop_crash_when_the_container_does_not_answer(cluster: RocksSite) -> None:
    with cluster.change() as state:
        state.down = ["fiji"]
    for verb in ("start", "stop"):
        assert (
            "libvirtError: unable to connect to server at 'fiji:16509'" in cluster.call(f"{verb} host vm", "myvc").err
        )


def test_a_host_that_is_no_vm_is_refused_or_crashes(site: RocksSite) -> None:
    assert site.call("start host vm", "fiji").err.startswith("Traceback")
    with site.change() as state:
        state.img_storage = None
    assert site.call("start host vm", "fiji").out == "Error: host fiji is not a virtual host\n{host}...\n"


def test_stopping_what_does_not_run_is_no_error(cluster: RocksSite) -> None:
    assert cluster.call("stop host vm", "myvc").status == 0


def test_a_guest_asked_to_shut_down_is_gone_some_time_later(cluster: RocksSite) -> None:
    cluster.call("start host vm", "myvc")
    assert cluster.call("stop host vm", "myvc", "action=shutdown").status == 0
    assert _status(cluster, "myvc") == "active"
    cluster.advance(10)
    assert _status(cluster, "myvc") == "nostate"


def test_a_guest_may_ignore_it(cluster: RocksSite) -> None:
    with cluster.change() as state:
        state.options.shutdown_seconds = None
    cluster.call("start host vm", "myvc")
    cluster.call("stop host vm", "myvc", "action=shutdown")
    cluster.advance(1000)
    assert _status(cluster, "myvc") == "active"
    cluster.call("stop host vm", "myvc")
    assert _status(cluster, "myvc") == "nostate"


def test_a_volume_is_made_and_mapped_by_the_start(cluster: RocksSite) -> None:
    _nas(cluster)
    assert "file:/state" in cluster.call("list host vm", "vm-myvc-0", "showdisks=1").out
    assert (
        cluster.call("start host vm", "vm-myvc-0").out == "nas-0-0:vm-myvc-0-vol mapped to vm-container-0-0:/dev/sdc\n"
    )
    assert "phy:/dev/sdc,vda,virtio" in cluster.call("list host vm", "vm-myvc-0", "showdisks=1").out
    assert "dataset nas-0-0:pragma/vm-myvc-0-vol" in cluster.inventory()
    assert cluster.state().blanks == []


def test_a_mapped_device_is_the_volume_itself(cluster: RocksSite) -> None:
    zvol = cluster.add_zvol("pragma/vm-myvc-0-vol", 1 << 20)
    _nas(cluster)
    cluster.call("start host vm", "vm-myvc-0")
    device = cluster.folder / "hosts/vm-container-0-0/dev/sdc"
    assert device.samefile(zvol)
    cluster.call("stop host vm", "vm-myvc-0")
    cluster.advance(10)
    assert (device.exists(), zvol.exists()) == (False, True)


def test_unmapping_follows_the_stop_by_seconds(cluster: RocksSite) -> None:
    _nas(cluster)
    cluster.call("start host vm", "vm-myvc-0")
    cluster.call("stop host vm", "vm-myvc-0")
    assert _mapped(cluster) == ["vm-myvc-0-vol mapped"]
    cluster.advance(4)
    assert _mapped(cluster) == ["vm-myvc-0-vol unmapped"]


def test_a_vm_removed_too_soon_leaves_its_volume_mapped(cluster: RocksSite) -> None:
    _nas(cluster)
    cluster.call("start host vm", "vm-myvc-0")
    cluster.call("stop host vm", "vm-myvc-0")
    cluster.call("remove cluster", "myvc")
    cluster.advance(1000)
    assert _mapped(cluster) == ["vm-myvc-0-vol mapped"]


def test_terminate_unmaps_by_hand(cluster: RocksSite) -> None:
    _nas(cluster)
    cluster.call("start host vm", "vm-myvc-0")
    with cluster.change() as state:
        state.domains.clear()
    cluster.call("stop host vm", "vm-myvc-0", "terminate=true")
    assert _mapped(cluster) == ["vm-myvc-0-vol unmapped"]


def test_a_volume_that_is_copied_takes_its_time_both_ways(cluster: RocksSite) -> None:
    add = ("add host storagemap", "nas-0-0", "pragma", "x-vol", "fiji", "10", "img_sync=true", "remotepool=tank")
    assert cluster.call(*add).out.splitlines()[1] == "/dev/mapper/x-vol-snap"
    assert _mapped(cluster) == ["x-vol NAS->VM"]
    cluster.advance(30)
    assert _mapped(cluster) == ["x-vol mapped"]
    assert cluster.call("remove host storagemap", "nas-0-0", "x-vol").out.endswith("Success\n")
    assert _mapped(cluster) == ["x-vol NAS<-VM"]
    cluster.advance(30)
    assert _mapped(cluster) == ["x-vol unmapped"]


def test_real_time_passes_when_it_is_told_to(site: RocksSite) -> None:
    with site.change() as state:
        state.options.scale, state.options.tick = 1e6, 0
    start = site.state().now
    site.advance(0)
    site.advance(0)
    assert site.state().now > start


def test_each_call_takes_a_tick(site: RocksSite, tmp_path: Path) -> None:
    start = site.state().now
    site.call("list host")
    site.call("list host")
    assert site.state().now == start + 2


def test_a_vm_without_a_host_is_refused(cluster: RocksSite) -> None:
    cluster.call("remove host", "vm-container-0-0")
    assert "Error: host vm-myvc-0 does not have a physical host" in cluster.call("start host vm", "vm-myvc-0").out


def test_a_reset_ends_nothing(cluster: RocksSite) -> None:
    cluster.call("start host vm", "myvc")
    cluster.call("stop host vm", "myvc", "action=reset")
    assert _status(cluster, "myvc") == "active"

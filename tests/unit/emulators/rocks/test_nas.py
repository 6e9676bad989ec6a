"""Volumes on the NAS: mapping them by hand, and what the daemon refuses."""

from __future__ import annotations

import threading

import pytest

from emulators.rocks.site import RocksSite

ADD = ("add host storagemap", "nas-0-0", "pragma", "x-vol", "fiji", "10")
UNMAP = ("remove host storagemap", "nas-0-0", "x-vol")
DESTROY = ("remove host storageimg", "nas-0-0", "pragma", "x-vol")


def test_a_volume_is_not_listed_before_its_first_mapping(site: RocksSite) -> None:
    site.add_zvol("pragma/x-vol", 1 << 20)
    assert site.call("list host storagemap", "nas-0-0").out == ""
    site.call(*ADD)
    assert "x-vol" in site.call("list host storagemap", "nas-0-0").out


def test_a_known_volume_keeps_its_size(site: RocksSite) -> None:
    site.add_zvol("pragma/x-vol", 1 << 20)
    site.call(*ADD)
    assert [row.size for row in site.state().datasets] == [1 << 20]


def test_devices_are_free_letters(site: RocksSite) -> None:
    first = site.call(*ADD).out.splitlines()[1]
    second = site.call("add host storagemap", "nas-0-0", "pragma", "y-vol", "fiji", "10").out.splitlines()[1]
    elsewhere = site.call(
        "add host storagemap", "nas-0-0", "pragma", "z-vol", "vm-container-0-0", "1"
    ).out.splitlines()[1]
    assert (first, second, elsewhere) == ("/dev/sdc", "/dev/sdd", "/dev/sdc")


def test_the_daemons_refusal_is_shown_twice(site: RocksSite) -> None:
    site.call(*ADD)
    assert site.call(*ADD).out.splitlines()[:3] == [
        "mapping  nas-0-0 : pragma / x-vol  on  fiji",
        "XXX:  {u'action': u'map_zvol', u'status': u'error', u'error': u'Error when mapping zvol: already mapped'}",
        "Error: Error when mapping zvol: already mapped",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (ADD[:-1], "you must pass 5 arguments nas_name zpool volume remotehost size"),
        ((*ADD, "img_sync=1"), "img_sync was true but not remotepool was specified"),
        (UNMAP[:-1], "2 arguments are required for this command nas volume"),
        (UNMAP, "ZVol x-vol not found in database"),
        (DESTROY[:-1], "3 arguments are required for this command nas zpool volume"),
        (DESTROY, "ZVol x-vol not found in database"),
        (("list host storagemap",), "you must enter the nas name"),
    ],
)
def test_wrong_requests_are_refused(site: RocksSite, words: tuple[str, ...], message: str) -> None:
    ran = site.call(*words)
    assert (ran.status, f"Error: {message}" in ran.out.splitlines()) == (1, True)


def test_what_is_mapped_is_not_destroyed_and_what_is_not_is_not_unmapped(site: RocksSite) -> None:
    site.call(*ADD)
    assert "Error: Error deleting zvol x-vol: is mapped" in site.call(*DESTROY).out
    assert site.call(*UNMAP).out == "unmapping   nas-0-0 : x-vol\nSuccess\n"
    assert "Error: ZVol x-vol is not mapped" in site.call(*UNMAP).out
    assert site.call(*DESTROY).out == "removing   nas-0-0 : pragma / x-vol\nSuccess\n"
    assert site.inventory() == []


def test_the_snapshot_a_volume_was_cloned_from_stays(site: RocksSite) -> None:
    site.add_zvol("pragma/centos", 1 << 20)
    for words in ("snapshot pragma/centos@tmpclone-x", "clone pragma/centos@tmpclone-x pragma/x-vol"):
        assert site.run("nas-0-0", "zfs", words, program="ssh").status == 0
    site.call(*ADD)
    site.call(*UNMAP)
    site.call(*DESTROY)
    assert site.inventory() == ["dataset nas-0-0:pragma/centos", "dataset nas-0-0:pragma/centos@tmpclone-x"]


def test_a_busy_volume_makes_unmapping_wait(site: RocksSite) -> None:
    site.call(*ADD)
    with site.change() as state:
        state.volumes[0].locked = True
    done: list[str] = []
    waiting = threading.Thread(target=lambda: done.append(site.call(*UNMAP).out))
    waiting.start()
    waiting.join(0.3)
    assert not done
    with site.change() as state:
        state.volumes[0].locked = False
    waiting.join(30)
    assert done == ["unmapping   nas-0-0 : x-vol\nSuccess\n"]


def test_a_nas_that_is_down_gets_no_message(site: RocksSite) -> None:
    with site.change() as state:
        state.down = ["nas-0-0"]
    assert "Error: Message could not be delivered" in site.call("list host storagemap", "nas-0-0").out


def test_the_old_roll_has_other_columns(site: RocksSite) -> None:
    with site.change() as state:
        state.img_storage = "0.3"
    site.call(*ADD)
    assert site.call("list host storagemap", "nas-0-0").out.splitlines()[0].split() == [
        "ZVOL",
        "HOST",
        "ZPOOL",
        "TARGET",
        "STATE",
        "TIME",
    ]
    assert site.call("list host storagedev", "fiji").out.split()[:2] == ["ZVOL", "LVM"]


def test_devices_are_listed_on_their_host(site: RocksSite) -> None:
    site.call(*ADD)
    line = site.call("list host storagedev", "fiji", "output-col=volume,target,device").out.splitlines()[1]
    assert line.split() == ["volume0", "iqn.2001-04.com.nas-0-0-x-vol", "sdc"]


def test_a_host_that_is_down_gets_no_volume(site: RocksSite) -> None:
    with site.change() as state:
        state.down = ["fiji"]
    assert "Error: Compute node fiji is unavailable" in site.call(*ADD).out


def test_a_locked_volume_is_neither_mapped_nor_destroyed(site: RocksSite) -> None:
    site.call(*ADD)
    site.call(*UNMAP)
    with site.change() as state:
        state.volumes[0].locked = True
    assert "Error: ZVol x-vol is busy" in site.call(*ADD).out
    assert "Error: ZVol x-vol is busy" in site.call(*DESTROY).out


def test_a_volume_that_others_were_cloned_from_is_not_destroyed(site: RocksSite) -> None:
    site.call(*ADD)
    site.call(*UNMAP)
    for words in ("snapshot pragma/x-vol@s", "clone pragma/x-vol@s pragma/y-vol"):
        site.run("nas-0-0", "zfs", words, program="ssh")
    assert "Error: Error executing [zfs destroy -r pragma/x-vol]" in site.call(*DESTROY).out


def test_a_copied_volume_is_synchronized_again_later(site: RocksSite) -> None:
    site.call(*ADD, "img_sync=1", "remotepool=tank")
    site.advance(60)
    row = site.call("list host storagemap", "nas-0-0", "output-col=state,nextsync").out.splitlines()[1].split()
    assert (row[0], len(row)) == ("mapped", 3)

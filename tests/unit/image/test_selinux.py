"""Labels by a policy's rules."""

from __future__ import annotations

import stat

import pytest

from pragma_boot.image.selinux import Labels

RULES = rb"""
# comment
/.*                          system_u:object_r:default_t:s0
/etc/.*                      system_u:object_r:etc_t:s0
/etc/hostname           --   system_u:object_r:hostname_etc_t:s0
/root(/.*)?                  system_u:object_r:admin_home_t:s0
/root/\.ssh(/.*)?            system_u:object_r:ssh_home_t:s0
/etc/systemd/network    -d   system_u:object_r:net_dir_t:s0
/usr/lib/systemd/system(/.*)? system_u:object_r:systemd_unit_file_t:s0
/proc(/.*)?                  <<none>>
/broken[                     system_u:object_r:broken_t:s0
"""
SUBS = b"/etc/systemd/system /usr/lib/systemd/system\n"


@pytest.mark.parametrize(
    ("path", "kind", "label"),
    [
        ("/etc/hosts", stat.S_IFREG, "etc_t"),
        ("/etc/hostname", stat.S_IFREG, "hostname_etc_t"),
        ("/etc/hostname", stat.S_IFLNK, "etc_t"),
        ("/root", stat.S_IFDIR, "admin_home_t"),
        ("/root/.ssh/authorized_keys", stat.S_IFREG, "ssh_home_t"),
        ("/root/xssh", stat.S_IFREG, "admin_home_t"),
        ("/etc/systemd/network", stat.S_IFDIR, "net_dir_t"),
        ("/etc/systemd/system/a.service", stat.S_IFREG, "systemd_unit_file_t"),
        ("/srv", stat.S_IFDIR, "default_t"),
    ],
)
def test_the_last_and_most_exact_rule_wins(path: str, kind: int, label: str) -> None:
    assert Labels(RULES, SUBS).find(path, kind | 0o644) == f"system_u:object_r:{label}:s0"


def test_a_rule_may_say_that_there_is_no_label() -> None:
    assert Labels(RULES, SUBS).find("/proc/1", stat.S_IFREG) is None


def test_a_policy_without_rules_is_known_as_such() -> None:
    assert not Labels(b"", b"").known

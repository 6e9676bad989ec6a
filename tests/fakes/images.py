"""Root file systems of distributions, as far as a preparation looks at them, and a cluster to prepare them for."""

from __future__ import annotations

from functools import cache
from ipaddress import IPv4Address, IPv4Interface

from fakes.guest import FakeGuest
from pragma_boot.model import (
    PRIVATE,
    PUBLIC,
    Access,
    Allocation,
    ClusterName,
    ImageName,
    KeyPair,
    Mac,
    Nic,
    NodeAllocation,
    NodeName,
    Role,
)

Files = dict[str, str | bytes | None]

USER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVzZXIta2V5LXBsYWNlaG9sZGVyLW9ubHkAAAAA user@example.org"
_WANTS = "/etc/systemd/system/multi-user.target.wants"
_SYSTEMD: Files = {
    "/usr/lib/systemd/systemd": "",
    "/usr/lib/systemd/systemd-udevd": "",
    "/usr/lib/systemd/system/systemd-networkd.service": "",
    "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "/var/lib/systemd/random-seed": b"seed",
}
_SSHD: Files = {
    "/usr/sbin/sshd": "",
    "/usr/bin/ssh": "",
    "/etc/ssh/ssh_host_rsa_key": "old",
    "/etc/ssh/ssh_host_rsa_key.pub": "old",
}
_DROPINS: Files = {
    "/etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin no\n",
    "/etc/ssh/sshd_config.d": None,
}
_COMMON = {**_SYSTEMD, **_SSHD}
_SCRIPTS = "/etc/sysconfig/network-scripts"
_KEYFILES = "/etc/NetworkManager/system-connections"

ROOTS: dict[str, Files] = {
    "networkd": {
        **_COMMON,
        **_DROPINS,
        "/etc/os-release": 'ID=debian\nVERSION_ID="12"\n',
        f"{_WANTS}/systemd-networkd.service": "-> /usr/lib/systemd/system/systemd-networkd.service",
        "/etc/systemd/network/20-wired.network": "[Match]\nName=en*\n\n[Network]\nDHCP=yes\n",
        "/etc/systemd/network/30-bridge.network": "[Match]\nName=br0\n\n[Network]\nDHCP=no\n",
        "/usr/sbin/nft": "",
        "/etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1\tvc1\n::1\tlocalhost ip6-localhost\n10.9.9.9 storage\n",
        "/etc/resolv.conf": "nameserver 192.0.2.1\n",
    },
    "networkmanager": {
        **_COMMON,
        **_DROPINS,
        "/etc/os-release": 'ID="rocky"\nVERSION_ID="9.4"\nID_LIKE="rhel centos fedora"\n',
        "/usr/sbin/NetworkManager": "",
        f"{_WANTS}/NetworkManager.service": "-> /usr/lib/systemd/system/NetworkManager.service",
        f"{_WANTS}/firewalld.service": "-> /usr/lib/systemd/system/firewalld.service",
        f"{_KEYFILES}/ens3.nmconnection": "[connection]\ntype=ethernet\n",
        f"{_KEYFILES}/home": "[connection]\ntype=wifi\n",
        f"{_SCRIPTS}": None,
        "/usr/lib/systemd/system/sshd-keygen@.service": "",
        "/usr/sbin/nft": "",
        "/etc/selinux/config": "SELINUX=enforcing\n",
    },
    "netplan": {
        **_COMMON,
        **_DROPINS,
        "/etc/os-release": 'ID=ubuntu\nVERSION_ID="24.04"\n',
        "/usr/sbin/netplan": "",
        "/etc/netplan/50-cloud-init.yaml": "network: {version: 2}\n",
        "/etc/cloud/cloud.cfg.d/90-installer-network.cfg": "network: {}\n",
        "/usr/bin/cloud-init": "",
        "/var/lib/cloud/instance": "-> instances/i-1",
        "/var/lib/cloud/instances/i-1/obj.pkl": b"x",
        f"{_WANTS}/systemd-resolved.service": "-> /usr/lib/systemd/system/systemd-resolved.service",
        "/etc/resolv.conf": "-> ../run/systemd/resolve/stub-resolv.conf",
        "/usr/sbin/iptables": "",
        "/root/.ssh/authorized_keys": 'no-pty,command="echo \'Please login as the user "ubuntu"\'" ssh-rsa AAAA x\n'
        "ssh-rsa BBBB operator\n",
    },
    "ifupdown": {
        **_COMMON,
        "/etc/os-release": 'ID=debian\nVERSION_ID="11"\n',
        "/usr/sbin/ifup": "",
        "/etc/network/interfaces": "source /etc/network/interfaces.d/*\nauto ens3\niface ens3 inet dhcp\n",
        "/etc/network/interfaces.d/setup": "auto eth0\n",
        "/var/lib/dhcp/dhclient.ens3.leases": "lease",
        "/etc/ssh/sshd_config": "Port 22\nPermitRootLogin no\nMatch User root\n  PermitRootLogin yes\n",
        "/usr/sbin/iptables": "",
    },
    "ifcfg": {
        **_COMMON,
        "/etc/redhat-release": "CentOS Linux release 7.9.2009 (Core)\n",
        f"{_WANTS}/NetworkManager.service": "-> /usr/lib/systemd/system/NetworkManager.service",
        "/usr/sbin/NetworkManager": "",
        "/usr/sbin/ifup": "",
        f"{_SCRIPTS}/ifcfg-lo": "DEVICE=lo\n",
        f"{_SCRIPTS}/ifcfg-eth0": "DEVICE=eth0\nBOOTPROTO=dhcp\n",
        f"{_SCRIPTS}/route-eth0": "default via 192.0.2.1\n",
        f"{_SCRIPTS}/ifcfg-tun0": "DEVICE=tun0\nTYPE=Tunnel\n",
        "/etc/sysconfig/network": "NETWORKING=yes\nHOSTNAME=old\nGATEWAY=192.0.2.1\nNOZEROCONF=yes\n",
        "/etc/udev/rules.d/70-persistent-net.rules": 'ATTR{address}=="52:54:00:00:00:01", NAME="eth0"\n',
        "/etc/ssh/sshd_config": "HostKey /etc/ssh/ssh_host_rsa_key\n",
        "/usr/sbin/iptables": "",
    },
    "wicked": {
        **_COMMON,
        "/etc/os-release": 'ID="sles"\nVERSION_ID="15.5"\n',
        f"{_WANTS}/wicked.service": "-> /usr/lib/systemd/system/wicked.service",
        "/etc/sysconfig/network/ifcfg-eth0": "BOOTPROTO='dhcp'\n",
        "/etc/sysconfig/network/config": 'NETCONFIG_VERBOSE="no"\nNETCONFIG_DNS_STATIC_SERVERS=""\n',
        "/etc/ssh/sshd_config": "PermitRootLogin yes\n",
        "/usr/sbin/nft": "",
    },
    "script": {
        "/etc/os-release": "ID=other\n",
        "/etc/rc.local": "#!/bin/sh -e\necho started\nexit 0\n",
        "/usr/sbin/dropbear": "",
    },
    "busybox": {
        "/etc/os-release": "ID=tiny\n",
        "/etc/network/interfaces": "auto lo\niface lo inet loopback\n\nsource /etc/network/interfaces.d/*\n",
        "/etc/inittab": "::once:/etc/init.d/late\n",
        "/etc/init.d/late": "#!/bin/sh\n[ -x /etc/pragma/report ] && exec /etc/pragma/report\n",
        "/etc/ssh/sshd_config": "PermitRootLogin prohibit-password\n",
        "/usr/sbin/sshd": "",
        "/usr/sbin/nft": "",
    },
}  # fmt: skip


def root(name: str, **more: str | bytes | None) -> FakeGuest:
    """A fresh guest of ROOTS; *more* files by path (as ``**{"/etc/x": "…"}``)."""
    return FakeGuest.of({**ROOTS[name], **more})


def _nic(network: str, number: int, address: str, gateway: str | None = None, mtu: int = 1500) -> Nic:
    mac = Mac(f"52:54:00:4a:00:{number:02x}")
    return Nic(network, mac, IPv4Interface(address), IPv4Address(gateway) if gateway else None, mtu)


def allocation(*, overlay: bool = False, computes: int = 2) -> Allocation:
    """vc1 with its computes; *overlay*: every node is on a third network, `openflow`, too."""
    numbers = iter(range(1, 1000))

    def node(name: str, role: Role, cpus: int, last: int, *nics: tuple[str, str, str | None]) -> NodeAllocation:
        cards = [_nic(network, next(numbers), address, gateway) for network, address, gateway in nics]
        if overlay:
            cards.append(_nic("openflow", next(numbers), f"10.103.0.{last}/28", mtu=1450))
        return NodeAllocation(NodeName(name), role, cpus, 1024, "host", tuple(cards))

    nodes = [
        node("vc1", Role.FRONTEND, 1, 1, (PRIVATE, "10.1.1.1/16", None), (PUBLIC, "198.51.100.10/24", "198.51.100.1"))
    ]
    for index in range(computes):
        private = (PRIVATE, f"10.1.255.{254 - index}/16", "10.1.1.1")
        nodes.append(node(f"compute-{index}", Role.COMPUTE, 2 if index == 0 else 1, 2 + index, private))
    return Allocation(
        cluster=ClusterName("vc1"),
        image=ImageName("demo"),
        fqdn="vc1.site.example.org",
        public_ip=IPv4Address("198.51.100.10"),
        vlan=5,
        dns=(IPv4Address("198.51.100.53"), IPv4Address("8.8.8.8")),
        nodes=tuple(nodes),
    )


@cache  # OpenSSH's format has random bytes in it
def pair(number: int, comment: str) -> KeyPair:
    """An ed25519 key pair that is the same in every run; for tests only."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption())
    return KeyPair(private.decode(), f"{public} {comment}")


def access(cluster: Allocation) -> Access:
    """Fixed keys for a cluster."""
    hosts = {node.name: pair(10 + number, node.name) for number, node in enumerate(cluster.nodes)}
    return Access((USER_KEY,), pair(1, f"pragma-{cluster.cluster}"), hosts)

"""Who may log in, and whom the node believes: authorized_keys, host keys, known hosts, sshd (guest.md 8.6)."""

from __future__ import annotations

from pragma_boot.image.base import Edit, MakeFolder, Move, Symlink, Write
from pragma_boot.image.profile import SAVED, SshServer
from pragma_boot.image.render import overlay
from pragma_boot.image.render.dropbear import dropbear_key
from pragma_boot.image.render.names import names_of
from pragma_boot.image.render.target import Target, block, without_block
from pragma_boot.model import KeyPair, NodeAllocation

_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
_FORCED = 'command="echo'
"""How cloud-init's lines begin that tell root to log in as somebody else."""


def access(target: Target) -> list[Edit]:
    """All files of ssh: user and cluster keys, the node's host key, everybody's host keys."""
    authorized = "/root/.ssh/authorized_keys"
    edits: list[Edit] = [
        MakeFolder("/root/.ssh", 0o700),
        Write(authorized, _authorized(target, target.profile.text(authorized)).encode(), 0o600),
        *_known_hosts(target),
    ]
    if target.is_frontend and target.access.cluster.private:
        edits += _cluster_key(target)
    if target.own_host_key:
        edits += _host_key(target, target.own_host_key)
    return edits + (_sshd(target) if target.profile.sshd is SshServer.OPENSSH else [])


def _authorized(target: Target, old: str) -> str:
    foreign = [line for line in without_block(old).splitlines() if not (_FORCED in line and "Please login as" in line)]
    given = (*target.access.user_keys, target.access.cluster.public, *overlay.visitors(target))
    ours = [line for line in given if line]
    return "".join(f"{line}\n" for line in foreign) + block(list(dict.fromkeys(ours)))


def _cluster_key(target: Target) -> list[Edit]:
    path, pair = "/root/.ssh/id_ed25519", target.access.cluster
    edits: list[Edit] = []
    old = target.profile.text(f"{path}.pub")
    if old and " pragma-" not in old:  # the image's own key, not one of an earlier cluster
        edits = [Move(name, SAVED + name) for name in (path, f"{path}.pub")]
    edits += _pair(path, pair)
    if target.profile.sshd is SshServer.DROPBEAR:
        edits.append(Write("/root/.ssh/id_dropbear", dropbear_key(pair), 0o600))
    return edits


def _host_key(target: Target, pair: KeyPair) -> list[Edit]:
    if target.profile.sshd is SshServer.DROPBEAR:
        return [Write("/etc/dropbear/dropbear_ed25519_host_key", dropbear_key(pair), 0o600)]
    if target.profile.sshd is SshServer.NONE:
        return []
    masks = [Symlink(f"/etc/systemd/system/{unit}", "/dev/null") for unit in target.profile.slow_keygen]
    return [*_pair(_HOST_KEY, pair), *masks]


def _pair(path: str, pair: KeyPair) -> list[Edit]:
    return [Write(path, pair.private.encode(), 0o600), Write(f"{path}.pub", f"{pair.public}\n".encode())]


def _known_hosts(target: Target) -> list[Edit]:
    if not target.profile.ed25519:
        return []  # its nodes have other keys than ours
    nodes = [node for node in target.allocation.nodes if node.name in target.access.hosts]
    if not nodes:
        return []
    entries = [(_addresses(target, node), target.access.hosts[node.name].public) for node in nodes]
    path = "/etc/ssh/ssh_known_hosts"
    lines = [f"{','.join(names)} {_bare(key)}" for names, key in entries]
    edits: list[Edit] = [Write(path, (without_block(target.profile.text(path)) + block(lines)).encode())]
    if target.profile.sshd is SshServer.DROPBEAR:  # whose client knows this file only, and one name a line
        path = "/root/.ssh/known_hosts"
        lines = [f"{name} {_bare(key)}" for names, key in entries for name in names]
        edits.append(Write(path, (without_block(target.profile.text(path)) + block(lines)).encode(), 0o600))
    return edits


def _addresses(target: Target, node: NodeAllocation) -> list[str]:
    names = [node.name, *names_of(target, node), *(str(nic.address.ip) for nic in node.nics)]
    names += overlay.known_as(target, node)
    if node == target.allocation.frontend:
        names.insert(1, target.allocation.fqdn)
    return list(dict.fromkeys(names))


def _bare(public: str) -> str:
    return " ".join(public.split()[:2])


def _sshd(target: Target) -> list[Edit]:
    config, keys = target.profile.sshd_config, target.own_host_key is not None
    extra = ["AllowUsers root"] if config.restricted_users else []
    extra += ["AllowGroups root"] if config.restricted_groups else []
    if config.dropins:
        host = [f"HostKey {_HOST_KEY}"] if keys else []
        lines = ["PermitRootLogin prohibit-password", "PubkeyAuthentication yes", *host, *extra]
        return [Write("/etc/ssh/sshd_config.d/00-pragma.conf", ("\n".join(lines) + "\n").encode(), 0o600)]
    # the spelling that every version knows
    lines = ["PermitRootLogin without-password"] if config.root_forbidden else []
    lines += [f"HostKey {_HOST_KEY}"] if config.needs_host_key and keys else []
    lines += extra
    rest = without_block(config.text)
    if not lines and rest == config.text:
        return []
    text = (block(lines) if lines else "") + rest
    return [Write("/etc/ssh/sshd_config", text.encode(), 0o600)]

"""`pragma boot`: from an image's name to a cluster whose nodes are ready."""

from __future__ import annotations

import os
from pathlib import Path

from pragma_boot.cli import render
from pragma_boot.cli.args import Parameter, Positional
from pragma_boot.cli.command import Command
from pragma_boot.cli.commands.rows import JSON, WAIT
from pragma_boot.cli.session import Session
from pragma_boot.cli.values import Choice, Cpus, Ent, FileName, Image, Memory, NewCluster, Text, YesNo
from pragma_boot.model import ClusterName, ImageName

_KEY_FILES = ("id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub")
_OPTIONS = ("enable-ent", "add-iface", "enable-ipop-client", "enable-ipop-server")


def _run(
    session: Session,
    *,
    vc_name: ImageName,
    num_cpus: int,
    key: Path | None,
    name: ClusterName | None,
    mem: tuple[int | None, int | None] | None,
    wait: float | None,
    dry_run: bool,
    on_failure: str,
    json: bool,
    **options: str | None,
) -> None:
    from pragma_boot.cluster.boot import BootRequest  # noqa: PLC0415 - help does without it

    frontend, compute = mem or (None, None)
    request = BootRequest(
        image=vc_name,
        cpus=num_cpus,
        name=name,
        keys=_keys(session, key),
        frontend_memory_mib=frontend,
        compute_memory_mib=compute,
        wait=wait,
        keep_on_failure=on_failure == "keep",
        options={option: value for option in _OPTIONS if (value := options[option.replace("-", "_")])},
    )
    if dry_run:
        preview = session.site.preview(request)
        session.out(render.as_json(render.preview_json(preview)) if json else render.previewed(preview))
        return
    with session.progress() as progress:
        cluster = session.site.boot(request, progress)
    session.out(render.as_json(render.cluster_json(cluster)) if json else render.booted(cluster))


def _keys(session: Session, named: Path | None) -> tuple[str, ...]:
    """The user's public keys: of the file that was named, else of the first usual one that is there."""
    if named:
        return session.site.public_keys(named)
    folder = Path("~/.ssh").expanduser()
    found = next((path for path in map(folder.joinpath, _KEY_FILES) if _can_read(path)), None)
    if found is None:
        session.note(f"no key= given and no id_*.pub in {folder}: log in with 'pragma ssh'")
        return ()
    session.note(f"no key= given: {found} may log in")
    return session.site.public_keys(found)


def _can_read(path: Path) -> bool:
    """A home that is somebody else's (kept by sudo, say) has no keys for us."""
    return os.access(path, os.R_OK, effective_ids=True) and path.is_file()


COMMAND = Command(
    "boot",
    "Boot a virtual cluster and wait until its nodes are ready",
    _run,
    (
        Positional("vc-name", Image(), "The image to boot; 'pragma list repository' shows the names."),
        Positional("num-cpus", Cpus(), "CPUs of all compute nodes together; 0 boots a frontend alone."),
        Parameter(
            "key", FileName(), "File with the public keys (one a line) that may log in as root.",
            unsaid="the first of ~/.ssh/id_ed25519.pub, id_ecdsa.pub and id_rsa.pub",
        ),
        Parameter("name", NewCluster(), "What to call the cluster.", unsaid="the reverse DNS name, else the image's"),
        Parameter(
            "mem", Memory(), "Memory of each node in MB, or the frontend's and the computes'.",
            unsaid="the image's, else 'memory' of the site's configuration",
        ),
        WAIT,
        Parameter("dry-run", YesNo(), "Say what would be booted and change nothing.", default=False),
        Parameter(
            "on-failure", Choice(("undo", "keep")),
            "Undo everything when the boot fails, or keep what there is for a look.", default="undo",
        ),
        JSON,
        Parameter("enable-ent", Ent(), "Connect the nodes to ENT, where the site has it.", unsaid="no"),
        Parameter("add-iface", Text("network[:CIDR],..."), "Connect the nodes to further networks of the site."),
        Parameter(
            "enable-ipop-client", Text("URL"),
            "Join all nodes to the overlay whose hub publishes itself there; it is waited for.",
        ),
        Parameter(
            "enable-ipop-server", Text("URL"),
            "Found an overlay for clusters of several sites, with the frontend as its hub, and publish it there.",
        ),
    ),
    body=(
        "The CPUs are spread over compute nodes of at most 'cpus_per_node' CPUs each. Whatever fails, or an interrupt"
        " (Ctrl-C), undoes all that was begun. An option that the site's driver does not have is refused.",
    ),
    examples=(
        ("pragma boot demo 4", "a frontend and compute nodes with 4 CPUs together"),
        ("pragma boot demo 8 name=lab mem=4096:2048 key=~/keys.pub", "with a name, memory and keys of its own"),
        ("pragma boot demo 4 --dry-run", "what would be booted"),
        ("pragma boot demo 4 add-iface=openflow:10.103.0.1/28", "on a further network, the frontend at that address"),
        ("pragma boot demo 4 enable-ipop-server=file:///shared/join", "the hub of an overlay that others may join"),
    ),
    notes=(
        "`mem=0` means that nothing is said: schedulers compute the number by rounding and send 0 for small requests.",
        "A key file may hold several lines (the user's key and an operator's).",
        "On a further network computes have the addresses after the frontend's. Without a CIDR, or with a network as a"
        " whole (`10.103.0.0/28`), the first free ones in a row are taken; docs/networks.md says more.",
        "An overlay joins clusters of several sites by WireGuard; its URL is a file (`file:///PATH`) or an exchange"
        " (`http(s)://HOST/PATH?jobId=JOB`). docs/networks.md says more.",
        "The log has the INFO lines `Requesting N CPUs`, `Found available public IP IP -> FQDN`,"
        " `Allocated cluster FE with compute nodes: a, b` and `Successfully deployed frontend FE`.",
    ),
    keeps_log=True,
)  # fmt: skip

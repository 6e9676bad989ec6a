"""`pragma list cluster`: what runs, in the layout that schedulers read (guest.md 9.2)."""

from __future__ import annotations

from pragma_boot.cli import render
from pragma_boot.cli.args import Positional
from pragma_boot.cli.command import Command
from pragma_boot.cli.commands.rows import CLUSTER, JSON
from pragma_boot.cli.session import Session


def _run(session: Session, *, vc_name: str | None, json: bool) -> None:
    site = session.site
    clusters = (site.cluster(site.resolve(vc_name)),) if vc_name else site.clusters()
    if json:
        session.out(render.as_json([render.cluster_json(cluster) for cluster in clusters]))
        return
    session.out(render.cluster_table(clusters))
    for cluster in clusters:
        if cluster.note:
            session.note(f"{cluster.name}: {cluster.note}")


COMMAND = Command(
    "list cluster",
    "List the clusters: their nodes, states and addresses",
    _run,
    (Positional("vc-name", CLUSTER.value, "Only this cluster.", required=False), JSON),
    body=(
        "A node that runs is 'active', one that was shut down 'shutdown'. A cluster that is 'broken' says why on"
        " standard error; 'pragma clean' removes it.",
    ),
    examples=(
        ("pragma list cluster", "all clusters of the site"),
        ("pragma list cluster demo --json", "one cluster, for a program"),
    ),
    notes=(
        "The first line is the heading. A frontend's line begins with its name and a colon and ends with its public"
        " address, before which there is the port of its ssh server where one of the clusters has another than 22; a"
        " compute's begins with a colon and ends with 15 dashes. A node that does not run has no state that"
        " contains `active` or `Running`.",
        "An unknown cluster is an error on standard error and exit status 1.",
    ),
)

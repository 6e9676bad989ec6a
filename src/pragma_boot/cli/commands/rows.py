"""Rows that several commands share."""

from __future__ import annotations

from pragma_boot.cli.args import Parameter, Positional
from pragma_boot.cli.values import Cluster, FileName, Text, Wait, YesNo

CLUSTER = Positional(
    "vc-name",
    Cluster(),
    "The cluster, or an image that exactly one cluster runs; see 'pragma list cluster'.",
)
NODE = Positional("node", Text("node"), "The node, as 'pragma list cluster' names it.", required=False)
JSON = Parameter("json", YesNo(), "Write the result as JSON (docs/output.schema.json).", default=False)
WAIT = Parameter(
    "wait",
    Wait(),
    "Seconds until all nodes must be ready; 'no' returns as soon as they are started.",
    unsaid="'wait' of the site's configuration",
)
DATABASE = Parameter(
    "database",
    FileName(),
    "The exchange's database.",
    unsaid="exchange.db in /var/lib/pragma_boot, or in a user's own state folder",
)

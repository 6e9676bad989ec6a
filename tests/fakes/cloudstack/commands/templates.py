"""Templates: a row for each zone of each."""

from __future__ import annotations

import re
from typing import Any

from .. import views
from ..cloud import Call, Cloud
from ..errors import bad
from ..listing import listed, tagged, worded
from ..model import Template
from ..registry import PAGING, command
from . import limits

Body = dict[str, Any]
FILTERS = ("featured", "community", "self", "selfexecutable", "shared", "sharedexecutable", "executable", "all")


def _passes(template: Template, wanted: str, call: Call) -> bool:
    """Whether the filter has it, but for being ready."""
    mine, me = template.account == call.account.id, call.account.id
    return {
        "featured": template.public and template.featured,
        "community": template.public and not template.featured,
        "self": mine,
        "selfexecutable": mine,
        "shared": me in template.shared_with,
        "sharedexecutable": me in template.shared_with,
        "executable": template.public or mine,
        "all": True,
    }[wanted]


@command(
    "listTemplates",
    "templatefilter! id ids* name zoneid=zones hypervisor showunique?@4.13.2 isready?@4.21 arch@4.20 tags[] details "
    f"showremoved? templatetype {PAGING}",
)
def list_templates(cloud: Cloud, call: Call) -> Body:
    args, wanted = call.args, call.args["templatefilter"]
    if wanted not in FILTERS:
        raise bad(f"No enum constant com.cloud.template.VirtualMachineTemplate.TemplateFilter.{wanted}")
    if wanted == "all" and not call.account.admin:
        raise bad("Filter all can be specified by admin only")
    rows = []
    for one in cloud.state.templates.values():
        if (
            one.removed
            or not _passes(one, wanted, call)
            or args["id"] not in (None, one.id)
            or (args["ids"] is not None and one.id not in args["ids"])
            or args["name"] not in (None, one.name)
            or args["hypervisor"] not in (None, one.hypervisor)
            or not (tagged(call, one.id) and worded(call, one.name))
        ):
            continue
        of_zones = [views.template(cloud, one, zone) for zone in one.zones if args["zoneid"] in (None, zone)]
        rows += of_zones[:1] if args["showunique"] else of_zones
    if wanted.endswith("executable"):
        rows = [row for row in rows if row["isready"]]
    if args["isready"] is not None:
        rows = [row for row in rows if row["isready"] == args["isready"]]
    return listed(call, "template", rows)


@command(
    "registerTemplate",
    "name! url!~2048 format! hypervisor! zoneid=zones zoneids=zones* ostypeid=ostypes displaytext~4096 ispublic? "
    "isfeatured? requireshvm? passwordenabled? sshkeyenabled? checksum bits# arch@4.20 directdownload? isextractable? "
    "isdynamicallyscalable? details[] templatetag templatetype account domainid projectid",
)
def register_template(cloud: Cloud, call: Call) -> Body:
    args, state = call.args, cloud.state
    zones = [args["zoneid"]] if args["zoneid"] else args["zoneids"]
    if not zones:
        raise bad("Either zoneid or zoneids is required. Both cannot be null.")
    if args["ostypeid"] is None:
        raise bad("Please provide a guest OS type")
    if not re.match(r"https?://[^/\s]+/", args["url"]):
        raise bad(f"URL: {args['url']} validation failed on host 1")
    if args["format"].upper() not in ("QCOW2", "RAW", "VHD", "OVA", "ISO", "TAR", "VHDX"):
        raise bad("Please specify a valid format.")
    limits.require(cloud, call, template=1)
    now = cloud.clock.now()
    made = Template(
        cloud.new_id(),
        args["name"],
        call.account.id,
        dict.fromkeys(zones, now + cloud.delay("download")),
        public=bool(args["ispublic"]),
        featured=bool(args["isfeatured"]) and call.account.admin,
        hypervisor=args["hypervisor"],
        format=args["format"].upper(),
        ostypeid=args["ostypeid"],
        url=args["url"],
        displaytext=args["displaytext"] or args["name"],
        checksum=args["checksum"],
        passwordenabled=bool(args["passwordenabled"]),
        sshkeyenabled=bool(args["sshkeyenabled"]),
        created=now,
    )
    if "missing" in made.url:
        made.failure = "Failed to download: HTTP server returned 404"
    state.templates[made.id] = made
    return {"count": len(zones), "template": [views.template(cloud, made, zone) for zone in zones]}

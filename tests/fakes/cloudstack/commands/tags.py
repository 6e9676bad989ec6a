"""Tags: several in one question are alternatives; those of a public address outlive its owner."""

from __future__ import annotations

from typing import Any

from .. import views
from ..cloud import Call, Cloud
from ..errors import ApiError, bad
from ..listing import listed, worded
from ..model import Tag
from ..registry import PAGING, Task, Work, command

Body = dict[str, Any]
TABLES = {
    "uservm": ("UserVm", "machines"),
    "network": ("Network", "networks"),
    "publicipaddress": ("PublicIpAddress", "addresses"),
    "template": ("Template", "templates"),
    "portforwardingrule": ("PortForwardingRule", "rules"),
    "firewallrule": ("FirewallRule", "rules"),
}


def _resources(cloud: Cloud, call: Call) -> tuple[str, list[str]]:
    """The type as the server spells it, and the ids, all of them of objects that the caller owns."""
    given = call.args["resourcetype"]
    if given.lower() not in TABLES:
        raise bad(f"The resource type {given} doesn't support resource tags")
    kind, table = TABLES[given.lower()]
    for ident in call.args["resourceids"]:
        row = getattr(cloud.state, table).get(ident)
        if row is None or getattr(row, "removed", False):
            raise bad(f"Unable to find resource by uuid {ident} and type {kind}")
        call.own(table, ident)
    return kind, call.args["resourceids"]


@command("createTags", "resourcetype! resourceids!* tags[]! customer", form="async")
def create_tags(cloud: Cloud, call: Call) -> Task:
    kind, idents = _resources(cloud, call)
    pairs = [(one.get("key", ""), one.get("value", "")) for one in call.args.entries("tags")]
    for key, value in pairs:
        if not value:
            raise bad(f"Value for the key {key} is either null or empty")
        if len(key) > 255 or len(value) > 255:
            raise bad("Value greater than max allowed length 255 for param: tag")

    def work() -> Work:
        yield cloud.delay("createTags")
        held = {(tag.resourceid, tag.key) for tag in cloud.state.tags.values()}
        for ident in idents:
            for key, _ in pairs:
                if (ident, key) in held:
                    raise ApiError(530, f"tag {key} already on {kind} with id {ident}")
        for ident in idents:
            for key, value in pairs:
                made = Tag(cloud.new_id(), kind, ident, key, value, call.account.id)
                cloud.state.tags[made.id] = made
        return None

    return Task(work(), None, kind)


@command("deleteTags", "resourcetype! resourceids!* tags[]", form="async")
def delete_tags(cloud: Cloud, call: Call) -> Task:
    _, idents = _resources(cloud, call)
    wanted = [(one.get("key"), one.get("value")) for one in call.args.entries("tags")]

    def work() -> Work:
        yield cloud.delay("deleteTags")
        chosen = [
            tag.id
            for tag in cloud.state.tags.values()
            if tag.resourceid in idents
            and (not wanted or any(key == tag.key and value in (None, tag.value) for key, value in wanted))
        ]
        if not chosen and wanted:
            raise ApiError(530, "Unable to find any tags which conform to specified delete parameters.")
        for ident in chosen:
            del cloud.state.tags[ident]
        return None

    return Task(work(), None)


@command("listTags", f"resourcetype resourceid key value customer {PAGING}")
def list_tags(cloud: Cloud, call: Call) -> Body:
    args = call.args
    rows = [
        views.tag(cloud, one)
        for one in cloud.state.tags.values()
        if call.sees(one.account)
        and (args["resourcetype"] or one.kind).lower() == one.kind.lower()
        and args["resourceid"] in (None, one.resourceid)
        and args["key"] in (None, one.key)
        and args["value"] in (None, one.value)
        and worded(call, one.key)
    ]
    return listed(call, "tag", rows)

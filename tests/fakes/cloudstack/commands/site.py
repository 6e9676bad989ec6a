"""What a cloud offers."""

from __future__ import annotations

from typing import Any

from .. import views
from ..cloud import Call, Cloud
from ..listing import listed, worded
from ..registry import PAGING, command

Body = dict[str, Any]


@command("listCapabilities")
def list_capabilities(cloud: Cloud, call: Call) -> Body:
    config = cloud.config
    admin = call.account.admin
    shown: Body = {
        "cloudstackversion": config.version,
        "allowuserexpungerecovervm": admin or config.allow_user_expunge,
        "allowuserviewdestroyedvm": admin or config.allow_user_view_destroyed,
        "allowuserforcestopvm": config.allow_user_force_stop,
        "securitygroupsenabled": False,
        "userpublictemplateenabled": True,
        "projectinviterequired": False,
        "allowusercreateprojects": True,
        "supportELB": "false",
        "customdiskofferingminsize": 1,
        "customdiskofferingmaxsize": 1024,
        "defaultuipagesize": 20,
    }
    if config.api_limit is not None:
        shown |= {"apilimitmax": config.api_limit, "apilimitinterval": int(config.api_interval)}
    return {"capability": shown}


@command("listZones", f"id name available? networktype tags[] showcapacities? domainid {PAGING}")
def list_zones(cloud: Cloud, call: Call) -> Body:
    args = call.args
    rows = [
        one
        for one in cloud.state.zones.values()
        if args["id"] in (None, one.id)
        and args["name"] in (None, one.name)
        and args["networktype"] in (None, one.networktype)
        and worded(call, one.name)
        and (one.enabled or call.account.admin)
        and (args["available"] is not False or _inhabited(cloud, call, one.id))
    ]
    return listed(call, "zone", map(views.zone, rows))


def _inhabited(cloud: Cloud, call: Call, zoneid: str) -> bool:
    return any(one.zoneid == zoneid and call.sees(one.account) and one.present for one in cloud.state.machines.values())


@command(
    "listNetworkOfferings",
    "id name displaytext zoneid=zones state guestiptype traffictype forvpc? specifyvlan? supportedservices* "
    f"sourcenatsupported? availability isdefault? specifyipranges? istagged? tags~4096 networkid=networks {PAGING}",
)
def list_network_offerings(cloud: Cloud, call: Call) -> Body:
    args = call.args
    rows = []
    for one in cloud.state.network_offerings.values():
        same = {
            "id": one.id,
            "name": one.name,
            "state": one.state,
            "guestiptype": one.guestiptype,
            "traffictype": "Guest",
            "forvpc": one.forvpc,
            "specifyvlan": one.specifyvlan,
            "specifyipranges": one.guestiptype == "Shared",
            "sourcenatsupported": "SourceNat" in one.services,
            "availability": one.availability,
            "isdefault": one.isdefault,
            "displaytext": one.name,
        }
        wanted = {name: args[name] for name in same if args[name] is not None}
        services = args["supportedservices"] or []
        if (
            all(str(same[name]).lower() == str(value).lower() for name, value in wanted.items())
            and set(services) <= set(one.services)
            and (args["zoneid"] is None or not one.zones or args["zoneid"] in one.zones)
            and not one.system
            and not args["tags"]
            and worded(call, one.name)
        ):
            rows.append(views.network_offering(one))
    return listed(call, "networkoffering", rows)


@command(
    "listServiceOfferings",
    "id name zoneid=zones@4.13 cpunumber#@4.15 memory#@4.15 cpuspeed#@4.15 templateid=templates@4.20 state@4.18 "
    f"issystem? storagetype virtualmachineid=machines {PAGING}",
)
def list_service_offerings(cloud: Cloud, call: Call) -> Body:
    args = call.args
    rows = [
        one
        for one in cloud.state.service_offerings.values()
        if args["id"] in (None, one.id)
        and args["name"] in (None, one.name)
        and (args["state"] or "Active").lower() == one.state.lower()
        and (args["zoneid"] is None or not one.zones or args["zoneid"] in one.zones)
        and (one.cpus is None or one.cpus >= (args["cpunumber"] or 0))
        and (one.memory is None or one.memory >= (args["memory"] or 0))
        and (one.speed is None or one.speed >= (args["cpuspeed"] or 0))
        and worded(call, one.name)
    ]
    return listed(call, "serviceoffering", map(views.service_offering, rows))


@command("listOsTypes", f"id description oscategoryid {PAGING}")
def list_os_types(cloud: Cloud, call: Call) -> Body:
    args = call.args
    rows = [
        {"id": ident, "description": text, "name": text, "isuserdefined": False}
        for ident, text in cloud.state.ostypes.items()
        if args["id"] in (None, ident) and args["description"] in (None, text) and worded(call, text)
    ]
    return listed(call, "ostype", rows)

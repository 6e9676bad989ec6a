"""The fields that answers may have, typed anew from what real servers answer; apart from what makes them here.

A word per field: ``name`` (a text), ``name:int``, ``name:bool``, ``name:num`` (a number in quotes), ``name:map``,
``name:SHAPE`` (an object), ``name:[SHAPE]`` (a list of them), ``name:[text]``; ``!`` after it: always there.
"""

from __future__ import annotations

import re
from typing import Any

_OWNER = "account! domain! domainid!"
_JOB = "jobid jobstatus:int"
SHAPES = {
    "tag": f"key! value! resourcetype! resourceid! customer {_OWNER}",
    "capability": "cloudstackversion! allowuserexpungerecovervm:bool! allowuserviewdestroyedvm:bool! apilimitmax:int "
    "allowuserforcestopvm:bool apilimitinterval:int securitygroupsenabled:bool! userpublictemplateenabled:bool "
    "projectinviterequired:bool allowusercreateprojects:bool supportELB customdiskofferingminsize:int "
    "customdiskofferingmaxsize:int defaultuipagesize:int",
    "zone": "id! name! networktype! securitygroupsenabled:bool! allocationstate! guestcidraddress dns1! dns2 "
    "internaldns1! internaldns2 localstorageenabled:bool type tags:[tag] dhcpprovider zonetoken",
    "provider": "name!",
    "service": "name! provider:[provider] capability:[map]",
    "networkoffering": "id! name! displaytext! state! guestiptype! traffictype! specifyvlan:bool! "
    "specifyipranges:bool! conservemode:bool! ispersistent:bool! forvpc:bool! availability! networkmode "
    "egressdefaultpolicy:bool! service:[service]! isdefault:bool! zoneid zone domainid domain created tags "
    "networkrate:int maxconnections:int",
    "serviceoffering": "id! name! displaytext! cpunumber:int cpuspeed:int memory:int iscustomized:bool! "
    "serviceofferingdetails:map storagetype provisioningtype hosttags storagetags rootdisksize:int networkrate:int "
    "offerha:bool limitcpuuse:bool state issystem:bool! defaultuse:bool zoneid zone domainid domain created",
    "template": "id! name! displaytext! isready:bool! status zoneid! zonename! hypervisor! format! ostypeid! "
    "ostypename size:int physicalsize:int ispublic:bool! isfeatured:bool! isextractable:bool templatetype! created! "
    "passwordenabled:bool! sshkeyenabled:bool checksum crossZones:bool arch details:map url tags:[tag] userdataname "
    f"userdatapolicy {_OWNER}",
    "network": "id! name! displaytext! type! state! cidr gateway netmask zoneid! zonename! networkofferingid! "
    "networkofferingname! networkofferingdisplaytext egressdefaultpolicy:bool ispersistent:bool! canusefordeploy:bool! "
    "networkdomain dns1 dns2 broadcastdomaintype broadcasturi vlan traffictype! issystem:bool! acltype! "
    "specifyipranges:bool restartrequired:bool redundantrouter:bool created tags:[tag]! service:[service]! "
    f"{_OWNER} {_JOB}",
    "nic": "id! networkid! networkname! ipaddress netmask gateway macaddress! isdefault:bool! deviceid:num! type! "
    "traffictype! broadcasturi isolationuri secondaryip:[map] extradhcpoption:[map] publicip publicipid mtu:int",
    "membership": "id! name! type!",
    "virtualmachine": "id! name! displayname! instancename state! zoneid! zonename! templateid! templatename! "
    "serviceofferingid! serviceofferingname! cpunumber:int! cpuspeed:int! memory:int! hypervisor! created! lastupdated "
    "group groupid keypairs userdataid userdata affinitygroup:[membership]! details:map haenable:bool "
    "passwordenabled:bool deleteprotection:bool hostid hostname ipaddress publicip publicipid nic:[nic]! "
    f"securitygroup:[map] rootdevicetype rootdeviceid:int password tags:[tag]! {_OWNER} {_JOB}",
    "ipaddress": "id! ipaddress! state! issourcenat:bool! isstaticnat:bool! associatednetworkid associatednetworkname "
    "virtualmachineid virtualmachinename virtualmachinedisplayname vmipaddress zoneid! zonename! allocated networkid! "
    "vlanname isportable:bool forvirtualnetwork:bool issystem:bool tags:[tag]! account domain domainid "
    f"{_JOB}",
    "portforwardingrule": "id! protocol! publicport:num! publicendport:num! privateport:num! privateendport:num! "
    "ipaddressid! ipaddress! virtualmachineid! virtualmachinename! virtualmachinedisplayname vmguestip state! "
    f"networkid! cidrlist fordisplay:bool tags:[tag] {_JOB}",
    "firewallrule": "id! protocol! startport:int endport:int cidrlist! destcidrlist icmptype:int icmpcode:int state! "
    f"ipaddressid ipaddress networkid! fordisplay:bool tags:[tag] {_JOB}",
    "keypair": f"id! name! fingerprint! {_OWNER}",
    "userdata": f"id! name! userdata! params {_OWNER}",
    "affinitygroup": f"id! name! type! description virtualmachineIds:[text] {_OWNER}",
    "resourcelimit": "resourcetype:num! resourcetypename! max:int! account domain domainid",
    "account": "id! name! accounttype:int! rolename domain! domainid! state! "
    + " ".join(
        f"{kind}limit! {kind}total:int! {kind}available!"
        for kind in (
            *("vm", "ip", "volume", "snapshot", "template", "project"),
            *("network", "vpc", "cpu", "memory", "primarystorage", "secondarystorage"),
        )
    ),
    "capacity": "type:int! name! zoneid! zonename! capacitytotal:int! capacityused:int! percentused!",
    "ostype": "id! description! name oscategoryid isuserdefined:bool",
    "job": "accountid! account! domainid! domainpath userid! cmd! jobprocstatus:int! jobresultcode:int! jobresulttype "
    "jobresult:map jobinstancetype jobinstanceid created! completed jobid! jobstatus:int!",
}
ROWS = {"publicipaddress": "ipaddress", "sshkeypair": "keypair", "asyncjobs": "job"}
"""Shapes of lists that are called otherwise."""
_PLAIN = {
    "": lambda value: isinstance(value, str),
    "text": lambda value: isinstance(value, str),
    "num": lambda value: isinstance(value, str) and re.fullmatch(r"\d+", value) is not None,
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "map": lambda value: isinstance(value, dict),
}


def misfits(value: Any, shape: str, where: str) -> list[str]:
    """What is wrong with *value*, in words that say where."""
    if shape.startswith("["):
        if not isinstance(value, list):
            return [f"{where} is no list"]
        return [word for at, one in enumerate(value) for word in misfits(one, shape[1:-1], f"{where}[{at}]")]
    if shape in _PLAIN:
        return [] if _PLAIN[shape](value) else [f"{where} is {value!r}, not {shape or 'a text'}"]
    fields = [re.fullmatch(r"(\w+)(?::([\w\[\]]+))?(!?)", word) for word in SHAPES[shape].split()]
    known = {match[1]: match[2] or "" for match in fields if match}
    found = [f"{where}.{match[1]} is missing" for match in fields if match and match[3] and match[1] not in value]
    for name, one in value.items():
        found += misfits(one, known[name], f"{where}.{name}") if name in known else [f"{where}.{name} is unknown"]
    return found


def answer_misfits(command: str, body: dict[str, Any]) -> list[str]:
    """What is wrong with the answer (or a job's result) of *command*: lists, objects, jobs and successes."""
    if command == "queryAsyncJobResult":
        result = body.get("jobresult")
        inner = answer_misfits("result", result) if result and "errorcode" not in result else []
        return misfits(body, "job", command) + inner
    found = []
    for key, value in body.items():
        if key in ("count", "jobid", "id", "success", "displaytext"):
            plain = {"count": "int", "success": "bool"}.get(key, "text")
            found += misfits(value, plain, f"{command}.{key}")
        elif value != {}:
            shape = ROWS.get(key, key)
            found += misfits(value, f"[{shape}]" if isinstance(value, list) else shape, f"{command}.{key}")
    return found

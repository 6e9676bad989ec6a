"""Rows as answers show them. Fields that are None are left out."""

from __future__ import annotations

import ipaddress
import uuid
from typing import TYPE_CHECKING, Any

from .clock import stamp
from .model import (
    Account,
    Address,
    Machine,
    Network,
    NetworkOffering,
    Nic,
    Rule,
    ServiceOffering,
    Tag,
    Template,
    Zone,
)

if TYPE_CHECKING:
    from .cloud import Call, Cloud

Row = dict[str, Any]


def _row(**fields: Any) -> Row:
    return {name: value for name, value in fields.items() if value is not None}


def owner(cloud: Cloud, account: str | None) -> Row:
    if account is None:
        return {}
    row: Account = cloud.state.accounts[account]
    return {"account": row.name, "domain": row.domain, "domainid": row.domainid}


def tag(cloud: Cloud, row: Tag) -> Row:
    return _row(
        key=row.key, value=row.value, resourcetype=row.kind, resourceid=row.resourceid, **owner(cloud, row.account)
    )


def tags(cloud: Cloud, resourceid: str) -> list[Row]:
    return [tag(cloud, one) for one in cloud.state.tags.values() if one.resourceid == resourceid]


def pending(cloud: Cloud, ident: str) -> Row:
    """A job that works on it is shown as running, even in that job's own result."""
    job = cloud.engine.pending(ident)
    return {} if job is None else {"jobid": job, "jobstatus": 0}


def zone(row: Zone) -> Row:
    advanced = row.networktype == "Advanced"
    return _row(
        id=row.id, name=row.name, networktype=row.networktype, securitygroupsenabled=row.securitygroups,
        allocationstate="Enabled" if row.enabled else "Disabled", dns1=row.dns1, internaldns1=row.dns1,
        guestcidraddress=row.guestcidr if advanced else None, localstorageenabled=False, type="Core", tags=[],
        dhcpprovider="VirtualRouter",
    )  # fmt: skip


def network_offering(row: NetworkOffering) -> Row:
    services = [{"name": name, "provider": [{"name": "VirtualRouter"}], "capability": []} for name in row.services]
    return _row(
        id=row.id, name=row.name, displaytext=row.name, state=row.state, guestiptype=row.guestiptype,
        traffictype="Guest", specifyvlan=row.specifyvlan, specifyipranges=row.guestiptype == "Shared",
        conservemode=row.conservemode, ispersistent=row.persistent, forvpc=row.forvpc, availability=row.availability,
        networkmode=row.networkmode, egressdefaultpolicy=row.egress_allow, service=services, isdefault=row.isdefault,
        zoneid=",".join(row.zones) or None, created=stamp(row.created),
    )  # fmt: skip


def service_offering(row: ServiceOffering) -> Row:
    details = None
    if row.cpu_range and row.memory_range:
        names = ("mincpunumber", "maxcpunumber", "minmemory", "maxmemory")
        details = dict(zip(names, map(str, (*row.cpu_range, *row.memory_range)), strict=True))
    return _row(
        id=row.id, name=row.name, displaytext=row.name, cpunumber=row.cpus, cpuspeed=row.speed, memory=row.memory,
        iscustomized=row.custom, serviceofferingdetails=details, storagetype="shared", provisioningtype="thin",
        offerha=False, limitcpuuse=False, state=row.state, issystem=False, defaultuse=False, networkrate=200,
        zoneid=",".join(row.zones) or None, created=stamp(row.created),
    )  # fmt: skip


def template(cloud: Cloud, row: Template, zoneid: str) -> Row:
    ready_at = row.zones[zoneid]
    ready = ready_at is not None and ready_at <= cloud.clock.now() and row.failure is None
    mine = row.account
    return _row(
        id=row.id, name=row.name, displaytext=row.displaytext, isready=ready,
        status="Download Complete" if ready else row.failure or "37% Downloaded", zoneid=zoneid,
        zonename=cloud.state.zones[zoneid].name, hypervisor=row.hypervisor, format=row.format, ostypeid=row.ostypeid,
        ostypename=cloud.state.ostypes.get(row.ostypeid), size=row.size if ready else None,
        physicalsize=row.size if ready else None, ispublic=row.public, isfeatured=row.featured, isextractable=False,
        templatetype=row.templatetype, created=stamp(row.created), passwordenabled=row.passwordenabled,
        sshkeyenabled=row.sshkeyenabled, checksum=row.checksum, crossZones=False, arch="x86_64", details={},
        url=row.url or None, tags=tags(cloud, row.id), **owner(cloud, mine),
    )  # fmt: skip


def network(cloud: Cloud, row: Network, call: Call) -> Row:
    offering = cloud.state.network_offerings[row.offeringid]
    subnet = ipaddress.ip_network(row.cidr) if row.kind != "L2" else None
    admin = call.account.admin
    services = [{"name": name, "provider": [], "capability": []} for name in offering.services]
    return _row(
        id=row.id, name=row.name, displaytext=row.displaytext, type=row.kind, state=row.state,
        cidr=str(subnet) if subnet else None, gateway=row.gateway if subnet else None,
        netmask=str(subnet.netmask) if subnet else None, zoneid=row.zoneid,
        zonename=cloud.state.zones[row.zoneid].name, networkofferingid=offering.id, networkofferingname=offering.name,
        networkofferingdisplaytext=offering.name, egressdefaultpolicy=offering.egress_allow,
        ispersistent=offering.persistent, canusefordeploy=True, networkdomain=row.domain, dns1=row.dns1,
        broadcastdomaintype="Vlan", broadcasturi=f"vlan://{row.vlan}" if row.vlan else None,
        vlan=str(row.vlan) if row.vlan and admin else None, traffictype="Guest", issystem=False,
        acltype="Domain" if row.shared else "Account", specifyipranges=False, restartrequired=False,
        redundantrouter=False, created=stamp(row.created), tags=tags(cloud, row.id), service=services,
        **owner(cloud, row.account), **pending(cloud, row.id),
    )  # fmt: skip


def nic(cloud: Cloud, machine: Machine, row: Nic) -> Row:
    held = cloud.state.networks[row.networkid]
    subnet = ipaddress.ip_network(held.cidr) if row.ip else None
    wire = f"vlan://{held.vlan}" if held.vlan and machine.state in ("Running", "Starting") else None
    nat = _static(cloud, machine, row)
    return _row(
        id=row.id, networkid=held.id, networkname=held.name, ipaddress=row.ip,
        netmask=str(subnet.netmask) if subnet else None, gateway=held.gateway if subnet else None,
        macaddress=row.mac, isdefault=row.default, deviceid=str(row.device), type=held.kind, traffictype="Guest",
        broadcasturi=wire, isolationuri=wire, secondaryip=[], extradhcpoption=[],
        publicip=nat.ip if nat else None, publicipid=nat.id if nat else None,
    )  # fmt: skip


def group_id(row: Machine) -> str | None:
    """Groups are made on demand, per account."""
    return str(uuid.uuid5(uuid.UUID(row.account), row.group)) if row.group else None


def _static(cloud: Cloud, machine: Machine, row: Nic) -> Address | None:
    found = (one for one in cloud.state.addresses.values() if one.staticnat and one.vmid == machine.id)
    return next((one for one in found if one.networkid == row.networkid), None)


def machine(cloud: Cloud, row: Machine, call: Call, userdata: bool = False) -> Row:
    state = cloud.state
    chosen, offering = state.templates[row.templateid], state.service_offerings[row.offeringid]
    groups = [state.groups[one] for one in row.affinity if not state.groups[one].removed]
    host = state.hosts[row.hostid] if row.hostid and call.account.admin else None
    first = next((one for one in row.nics if one.default), None)
    nat = _static(cloud, row, first) if first else None
    return _row(
        id=row.id, name=row.name, displayname=row.displayname, state=row.state, zoneid=row.zoneid,
        instancename=row.instance if call.account.admin else None, zonename=state.zones[row.zoneid].name,
        templateid=chosen.id, templatename=chosen.name, serviceofferingid=offering.id,
        serviceofferingname=offering.name, cpunumber=row.cpus, cpuspeed=row.speed, memory=row.memory,
        hypervisor=row.hypervisor, created=stamp(row.created), lastupdated=stamp(row.updated) if row.updated else None,
        group=row.group, groupid=group_id(row), keypairs=",".join(row.keypairs) or None, userdataid=row.userdataid,
        userdata=row.userdata if userdata and row.userdata else None,
        affinitygroup=[{"id": one.id, "name": one.name, "type": one.kind} for one in groups],
        details=row.details, haenable=False, passwordenabled=chosen.passwordenabled,
        deleteprotection=row.delete_protection if cloud.config.since("4.20") else None,
        hostid=host.id if host else None, hostname=host.name if host else None,
        ipaddress=first.ip if first else None, publicip=nat.ip if nat else None, publicipid=nat.id if nat else None,
        nic=cloud.shuffled(nic(cloud, row, one) for one in row.nics), securitygroup=[], rootdevicetype="ROOT",
        rootdeviceid=0, tags=tags(cloud, row.id), **owner(cloud, row.account), **pending(cloud, row.id),
    )  # fmt: skip


def address(cloud: Cloud, row: Address) -> Row:
    held = cloud.state.networks.get(row.networkid or "")
    vm = cloud.state.machines.get(row.vmid or "")
    return _row(
        id=row.id, ipaddress=row.ip, state=row.state, issourcenat=row.sourcenat, isstaticnat=row.staticnat,
        associatednetworkid=held.id if held else None, associatednetworkname=held.name if held else None,
        virtualmachineid=vm.id if vm else None, virtualmachinename=vm.name if vm else None,
        virtualmachinedisplayname=vm.displayname if vm else None, vmipaddress=row.vmip, zoneid=row.zoneid,
        zonename=cloud.state.zones[row.zoneid].name, allocated=stamp(row.allocated),
        networkid=f"00000000-0000-4000-8000-{row.zoneid[-12:]}", vlanname="vlan://untagged", isportable=False,
        forvirtualnetwork=True, issystem=False, tags=tags(cloud, row.id), **owner(cloud, row.account),
        **pending(cloud, row.id),
    )  # fmt: skip


def rule(cloud: Cloud, row: Rule) -> Row:
    held = cloud.state.addresses.get(row.addressid or "")
    vm = cloud.state.machines.get(row.vmid or "")
    shared: Row = {"id": row.id, "protocol": row.protocol, "state": row.state, "networkid": row.networkid}
    shared |= {"tags": tags(cloud, row.id), "fordisplay": True} | pending(cloud, row.id)
    on = _row(ipaddressid=row.addressid, ipaddress=held.ip if held else None)
    if row.kind == "pf":
        ports = (row.start, row.end, row.private_start, row.private_end)
        names = ("publicport", "publicendport", "privateport", "privateendport")
        return shared | on | dict(zip(names, map(str, ports), strict=True)) | _row(
            virtualmachineid=row.vmid, virtualmachinename=vm.name if vm else None, vmguestip=row.vmip,
            virtualmachinedisplayname=vm.displayname if vm else None, cidrlist=",".join(row.cidrs),
        )  # fmt: skip
    kind, code = row.icmp or (None, None)
    made = (
        shared
        | on
        | _row(startport=row.start, endport=row.end, cidrlist=",".join(row.cidrs), icmptype=kind, icmpcode=code)
    )
    return made | {"destcidrlist": ",".join(row.destinations)} if row.kind == "egress" else made

"""Jobs as clients see them."""

from __future__ import annotations

from typing import Any

from ..clock import stamp
from ..cloud import Call, Cloud
from ..errors import ApiError, bad
from ..listing import listed
from ..model import Job
from ..registry import PAGING, command

Body = dict[str, Any]


def _view(cloud: Cloud, job: Job) -> Body:
    account = cloud.state.accounts[job.account]
    shown: Body = {
        "accountid": account.id,
        "account": account.name,
        "domainid": account.domainid,
        "domainpath": "ROOT",
        "userid": job.userid,
        "cmd": f"org.apache.cloudstack.api.command.user.{job.command}Cmd",
        "jobprocstatus": 0,
        "jobresultcode": 0,
        "jobid": job.id,
        "jobstatus": 0,
        "created": stamp(job.created),
    }
    if job.kind is not None:
        shown["jobinstancetype"] = job.kind
    if job.instanceid is not None:
        shown["jobinstanceid"] = job.instanceid
    seen_at = None if job.completed is None else job.completed + job.lag
    if seen_at is not None and seen_at <= cloud.clock.now():
        shown |= {"jobstatus": job.status, "jobresultcode": job.code, "completed": stamp(job.completed)}
        if job.result is not None:
            shown |= {"jobresulttype": "object", "jobresult": job.result}
    return shown


@command("queryAsyncJobResult", "jobid resourceid@4.22.1 resourcetype@4.22.1")
def query_async_job_result(cloud: Cloud, call: Call) -> Body:
    ident, resource = call.args["jobid"], call.args["resourceid"]
    if ident is None and resource is None:
        raise bad("Unable to execute API command queryasyncjobresult due to missing parameter jobid")
    if ident is not None:
        job = cloud.state.jobs.get(ident)
    else:
        job = next((one for one in reversed(cloud.state.jobs.values()) if one.instanceid == resource), None)
    if job is None:
        raise bad(
            f"Unable to execute API command queryasyncjobresult due to invalid value. Invalid parameter jobid "
            f"value={ident} due to incorrect long value format, or entity does not exist or due to incorrect parameter "
            "annotation for the field in api cmd class."
        )
    if job.account != call.account.id and not call.account.admin:
        number = list(cloud.state.jobs).index(job.id) + 1
        raise ApiError(531, f"Account <{call.account.name}> is not authorized to see job id={number}")
    return _view(cloud, job)


@command("listAsyncJobs", f"startdate resourceid@4.22.1 resourcetype@4.22.1 {PAGING}")
def list_async_jobs(cloud: Cloud, call: Call) -> Body:
    rows = [
        _view(cloud, one)
        for one in cloud.state.jobs.values()
        if call.sees(one.account) and call.args["resourceid"] in (None, one.instanceid)
    ]
    return listed(call, "asyncjobs", rows)

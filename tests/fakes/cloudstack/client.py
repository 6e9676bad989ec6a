"""The plainest client there can be, for tests of the fake itself and for looking around in one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from .cloud import Answer, Cloud
from .site import USER, Credentials
from .wire import sign


class Refused(Exception):  # noqa: N818 - as tests read it
    """An answer that is an error: code, text, cserrorcode, and the key that it came under."""

    def __init__(self, code: int, text: str, cserror: int | None, key: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code, self.text, self.cserror, self.key = code, text, cserror, key


@dataclass
class Client:
    """Calls without a network. ``client.ok("listZones", name="zone1")`` gives what is under the single key."""

    cloud: Cloud
    keys: Credentials = USER
    method: str = "POST"

    def send(self, command: str, **params: Any) -> Answer:
        """One signed request; ``tags__0__key`` stands for ``tags[0].key``."""
        return self.raw(self.signed(command, **params))

    def signed(self, command: str, **params: Any) -> list[tuple[str, str]]:
        pairs = [("command", command), ("apikey", self.keys.apikey), ("response", "json"), ("signatureversion", "3")]
        until = datetime.fromtimestamp(self.cloud.clock.now() + 600, UTC)
        pairs.append(("expires", until.strftime("%Y-%m-%dT%H:%M:%S+0000")))
        for name, value in params.items():
            head, *rest = name.split("__")
            text = str(value).lower() if isinstance(value, bool) else str(value)
            pairs.append((f"{head}[{rest[0]}].{rest[1]}" if rest else name, text))
        return [*pairs, ("signature", sign(pairs, self.keys.secretkey))]

    def raw(self, pairs: list[tuple[str, str]]) -> Answer:
        text = urlencode(pairs)
        if self.method == "GET":
            return self.cloud.request("GET", f"/client/api?{text}")
        return self.cloud.request(self.method, "/client/api", text.encode())

    def ok(self, command: str, **params: Any) -> Any:
        """The body; Refused for an error."""
        return opened(self.send(command, **params))

    def job(self, command: str, **params: Any) -> str:
        """Submit; the id of the job."""
        return str(self.ok(command, **params)["jobid"])

    def result(self, job: str) -> dict[str, Any]:
        """The job's row as it is now."""
        found: dict[str, Any] = self.ok("queryAsyncJobResult", jobid=job)
        return found

    def done(self, command: str, **params: Any) -> Any:
        """Submit, let the time pass, the job's result; Refused for a job that failed."""
        job = self.job(command, **params)
        self.cloud.settle()
        row = self.result(job)
        if row["jobstatus"] != 1:
            result = row.get("jobresult", {})
            raise Refused(row["jobresultcode"], result.get("errortext", ""), None, "job")
        return row["jobresult"]


def opened(answer: Answer) -> Any:
    """What is under the single key; ConnectionError for an answer that never came."""
    if answer.dropped:
        raise ConnectionError("the server closed the connection")
    ((key, body),) = json.loads(answer.body).items()
    if answer.status != 200:
        raise Refused(answer.status, body["errortext"], body.get("cserrorcode"), key)
    return body

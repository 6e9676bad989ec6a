"""The real service, running in a thread of the test's own process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pragma_boot.exchange.jobs import Jobs
from pragma_boot.exchange.limits import Limits
from pragma_boot.exchange.server import Server

QUICK = Limits(look=0.02, grace=2)


class Running:
    """server: the service. jobs: its database. told: its lines."""

    def __init__(self, folder: Path, limits: Limits, options: dict[str, Any]) -> None:
        self.jobs = Jobs(folder / "exchange.db")
        self.told: list[str] = []
        self.server = Server(self.jobs, port=0, tell=self.told.append, limits=limits, **options)

    def url(self, job: str = "lab") -> str:
        """The job's URL; a new token is in its fragment."""
        return f"{self.server.url}x.php?jobId={job}#token={self.jobs.renew_token(job)}"


@contextmanager
def running_service(folder: Path, limits: Limits = QUICK, **options: Any) -> Iterator[Running]:
    """Serves while the block runs."""
    running = Running(folder, limits, options)
    thread = threading.Thread(target=running.server.serve, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.server.shutdown()
        thread.join()

"""`pragma serve exchange`: the place on the web where clusters of several sites find each other."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from pragma_boot.cli import render
from pragma_boot.cli.args import Parameter
from pragma_boot.cli.command import Command
from pragma_boot.cli.commands.rows import DATABASE, JSON
from pragma_boot.cli.session import Session
from pragma_boot.cli.values import FileName, Port, Text, YesNo
from pragma_boot.errors import UsageError

_log = logging.getLogger(__name__)
_PORT = 8437  # exchange.server.PORT, which help and completion do without


def _run(
    session: Session,
    *,
    host: str,
    port: int,
    certificate: Path | None,
    key: Path | None,
    database: Path | None,
    insecure: bool,
    json: bool,
) -> None:
    from pragma_boot.exchange.jobs import Jobs, default_database  # noqa: PLC0415 - help and completion do without it
    from pragma_boot.exchange.server import Server, tls_context  # noqa: PLC0415

    def tell(line: str) -> None:
        _log.info("%s", line)
        session.note(line)

    if key and not certificate:
        raise UsageError("there is a key without certificate=", resolution="give both, or leave the key out")
    jobs = Jobs(database or default_database())
    jobs.listed()  # a database that cannot be used is told now, not to the first client
    tls = tls_context(certificate, key) if certificate else None
    server = Server(jobs, host=host, port=port, tls=tls, insecure=insecure, tell=tell)
    place = {"url": server.url, "database": str(jobs.path), "pid": os.getpid()}
    session.out(render.as_json(place) if json else f"serving the exchange at {server.url}\n")
    try:
        server.serve()
    except KeyboardInterrupt:
        tell("ended")


COMMAND = Command(
    "serve exchange",
    "Serve an exchange, where clusters of several sites join",
    _run,
    (
        Parameter("host", Text("address"), "The address to listen at.", default="127.0.0.1"),
        Parameter("port", Port(), "The TCP port to listen at; 0 takes a free one.", default=_PORT),
        Parameter("certificate", FileName(), "Speak TLS with this certificate, PEM with its chain.",
                  unsaid="no TLS, and loopback addresses only"),
        Parameter("key", FileName(), "The certificate's private key.", unsaid="in the certificate's file"),
        DATABASE,
        Parameter("insecure", YesNo(), "Serve other machines without TLS, behind a proxy that has it.", default=False),
        JSON,
    ),
    body=("Runs until Ctrl-C or SIGTERM, and needs no configuration. 'pragma exchange token' lets a group of clusters"
          " in; docs/exchange.md tells the rest.",),
    examples=(
        ("pragma serve exchange", "for clusters that are booted on this machine"),
        ("pragma serve exchange host=0.0.0.0 certificate=x.pem key=x.key", "for other sites"),
    ),
)  # fmt: skip

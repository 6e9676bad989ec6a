"""How a command ends early."""

from __future__ import annotations


class AbortError(Exception):
    """The command refuses: ``Error: MESSAGE`` and its usage on standard output, status 1."""


class CrashError(Exception):
    """An exception that nobody caught: Python 2's traceback on standard error, status 1."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


def unreachable(host: str) -> CrashError:
    """What a command ends with that cannot open libvirt on *host*."""
    return CrashError("libvirtError", f"unable to connect to server at '{host}:16509': No route to host")

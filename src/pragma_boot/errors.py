"""Everything that may go wrong, each with its mend.

::

    PragmaError                     exit 1   a failure with a message, what was seen, and what to do next
    ├── UsageError                  exit 2   the command line is wrong
    ├── FaultsError                          several faults found in one go
    │   ├── ConfigError                      configuration files
    │   ├── PreflightError                   the site: daemons, networks, hosts, guests' tools
    │   └── JoinInformationError             what a hub published of its overlay
    ├── NotAvailableError                    an option that this driver or repository does not have
    ├── RepositoryError                      a catalog or a repository as a whole
    │   ├── ImageNotFoundError
    │   └── ImageError                       one image: its vc-in, its files, their formats
    ├── GuestError                           a node's disk cannot be inspected or edited
    ├── CapacityError                        the site has not enough free (CPUs, memory, addresses, disk)
    ├── ClusterError                         one cluster is not what the command needs
    │   ├── ClusterNotFoundError
    │   ├── ClusterExistsError
    │   ├── PendingError            exit 3   removed, but for what goes by itself later
    │   └── ClusterBusyError                 another command works on it
    ├── DriverError                          the virtualization engine refused or failed
    ├── ExchangeError                        the place where overlays' join information is published
    │   └── ExchangeAwayError                it does not answer just now
    ├── NotReadyError                        nodes that run but did not become ready in time
    └── CommandError                         a program that we started failed
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class PragmaError(Exception):
    """A failure that its reader can act on.

    message: one line, what happened, lower case, no full stop.
    details: what we saw (may be several lines), or None.
    resolution: what to do next, an imperative sentence, or None.
    """

    exit_code = 1

    def __init__(self, message: str, *, details: str | None = None, resolution: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.resolution = resolution


class UsageError(PragmaError):
    """The command line is wrong: unknown command, parameter or value."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """One of several faults: *where* (file:line key, host, check), *what* is wrong there, its *mend*."""

    where: str
    what: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.mend})" if self.mend else "")


class FaultsError(PragmaError):
    """All faults that one look found, so that they are mended in one go."""

    def __init__(self, message: str, faults: Sequence[Fault], *, resolution: str | None = None) -> None:
        super().__init__(message, details="\n".join(map(str, faults)), resolution=resolution)
        self.faults = tuple(faults)


class ConfigError(FaultsError):
    """The configuration files have faults; each names file, line, key and mend."""


class PreflightError(FaultsError):
    """The site cannot run what was asked for; found before anything was changed."""


class JoinInformationError(FaultsError):
    """The join information of an overlay has faults; none of its values is quoted."""


class NotAvailableError(PragmaError):
    """An option or value that the site's driver or repository class does not have."""


class RepositoryError(PragmaError):
    """A catalog or repository that cannot be read."""


class ImageNotFoundError(RepositoryError):
    """No image of that name in the catalog."""


class ImageError(RepositoryError):
    """One image is unusable: its vc-in document, a file of it, or a file's format."""


class GuestError(PragmaError):
    """A node's disk has no root file system that we can read, or it cannot be edited."""


class CapacityError(PragmaError):
    """The site has not enough free CPUs, memory, addresses, VLANs or disk space."""


class ClusterError(PragmaError):
    """A cluster is not in the state that the command needs."""


class ClusterNotFoundError(ClusterError):
    """No cluster of that name (and not exactly one that runs an image of that name)."""


class ClusterExistsError(ClusterError):
    """The wanted cluster name is taken."""


class PendingError(ClusterError):
    """Something is left of a cluster that nobody needs to mend: it goes later, and `clean` finishes then."""

    exit_code = 3


class ClusterBusyError(ClusterError):
    """Another command holds the cluster's lock."""


class DriverError(PragmaError):
    """The virtualization engine refused, failed or could not be reached."""


class ExchangeError(PragmaError):
    """An exchange refused, has no join information, or cannot do what is asked of it."""


class ExchangeAwayError(ExchangeError):
    """An exchange does not answer just now; later it may."""


class NotReadyError(PragmaError):
    """Nodes were started but did not become ready before the deadline."""


class CommandError(PragmaError):
    """A program that we started could not be run, failed, or ran out of time."""

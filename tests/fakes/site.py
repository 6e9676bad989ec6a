"""A site in memory, as the commands see it: it keeps its clusters, and shows what it was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pragma_boot.cluster.boot import BootRequest, Preview
from pragma_boot.cluster.view import ClusterView, NodeView
from pragma_boot.errors import ClusterError, ClusterNotFoundError, Fault, ImageNotFoundError, PragmaError
from pragma_boot.model import Catalog, CatalogEntry, ClusterName, ImageName, Progress, ProgressSink, Role
from pragma_boot.repository.base import ImageOutcome, SyncReport


def cluster_view(
    name: str, computes: int = 1, *, state: str = "active", image: str = "demo", note: str = ""
) -> ClusterView:
    """A cluster whose nodes are all in *state*."""
    nodes = [NodeView(name, Role.FRONTEND, state, "10.1.1.1", 1, 1024, "local")]
    nodes += [
        NodeView(f"compute-{number}", Role.COMPUTE, state, f"10.1.255.{254 - number}", 2, 1024, "local")
        for number in range(computes)
    ]
    return ClusterView(
        name, image, state, f"{name}.example.org", "198.51.100.10", "2026-01-31T12:00:00Z", "root", tuple(nodes), note
    )


class FakeSite:
    """Implements cli.site.SiteAccess. fails: raised by the next step that changes something."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.known: dict[str, ClusterView] = {}
        self.removed: set[str] = set()
        self.images = ["demo", "Rocks-7.0"]
        self.warnings: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.faults: tuple[Fault, ...] = ()
        self.outcomes: tuple[ImageOutcome, ...] = ()
        self.fails: BaseException | None = None
        self.requests: list[BootRequest] = []
        self.waits: list[float | None] = []
        self.built: list[tuple[object, ...]] = []
        self.published: list[tuple[object, ...]] = []

    def add(self, view: ClusterView) -> ClusterView:
        """Have a cluster."""
        self.known[view.name] = view
        return view

    def log_directory(self) -> Path:
        return self.root / "log"

    def boot(self, request: BootRequest, progress: ProgressSink) -> ClusterView:
        view = self._planned(request, "active")
        for node in view.nodes:
            progress(Progress("prepare", node.name, "cloning the disk"))
        self._fail()
        for node in view.nodes:
            progress(Progress("ready", node.name, "ready in 2.0 s"))
        return self.add(view)

    def preview(self, request: BootRequest) -> Preview:
        view = self._planned(request, "planned")
        return Preview(view.name, view.image, view.fqdn, view.public_ip, view.nodes)

    def shutdown(self, name: ClusterName, progress: ProgressSink) -> None:
        self._fail()
        if name in self.known:
            progress(Progress("boot", name, "shutting down"))
            self._set(name, "shutdown")

    def start(self, name: ClusterName, wait: float | None, progress: ProgressSink) -> ClusterView:
        self._fail()
        self.waits.append(wait)
        progress(Progress("ready", name, "ready in 1.0 s"))
        return self._set(name, "active")

    def clean(self, name: ClusterName) -> None:
        self._fail()
        if name in self.known and self.known[name].state == "active":
            raise ClusterError(f"cluster {name} is active", resolution=f"shut it down first: pragma shutdown {name}")
        self.known.pop(name, None)
        self.removed.add(name)

    def clusters(self) -> tuple[ClusterView, ...]:
        return tuple(self.known[name] for name in sorted(self.known))

    def cluster(self, name: ClusterName) -> ClusterView:
        if name not in self.known:
            raise ClusterNotFoundError(
                f"there is no cluster {name!r}", resolution="'pragma list cluster' shows all clusters"
            )
        return self.known[name]

    def resolve(self, text: str, *, gone: bool = False) -> ClusterName:
        if text in self.known or (gone and text in self.removed):
            return ClusterName(text)
        running = [view.name for view in self.clusters() if view.image == text]
        if len(running) == 1:
            return ClusterName(running[0])
        return ClusterName(self.cluster(ClusterName(text)).name)

    def cluster_folder(self, name: ClusterName) -> Path:
        return self.root / "clusters" / name

    def console_log(self, name: ClusterName, node: str) -> Path | None:
        return self.cluster_folder(name) / "console" / f"{node}.log"

    def catalog(self) -> Catalog:
        entries = [
            CatalogEntry(ImageName(name), Path(f"/r/{name}.xml"), line) for line, name in enumerate(self.images, 1)
        ]
        return Catalog(tuple(entries), self.warnings, self.notes)

    def publish(
        self, name: ImageName, urls: Mapping[Role, str], checksum: str, progress: ProgressSink
    ) -> tuple[str, ...]:
        self._fail()
        self.published.append((name, dict(urls), checksum))
        progress(Progress("download", name, "50% Downloaded"))
        return (f"{name}-template",)

    def sync(self, *, dry_run: bool, prune: bool, progress: ProgressSink) -> SyncReport:
        if not dry_run:
            self._fail()
        return SyncReport(self.outcomes or tuple(ImageOutcome(ImageName(name), "fresh") for name in self.images))

    def check(self) -> tuple[Fault, ...]:
        return self.faults

    def facts(self) -> tuple[str, ...]:
        return ("nodes' disks are remembered",)

    def init(self, folder: Path | None, *, user: bool | None, remove: bool, force: bool) -> tuple[str, ...]:
        self._fail()
        how = f"{' (user)' if user else ''}{' (force)' if force else ''}"
        return (f"{'removed' if remove else 'wrote'} {folder or self.root}/site_conf.conf{how}",)

    def public_keys(self, path: Path) -> tuple[str, ...]:
        try:
            return tuple(path.read_text().splitlines())
        except OSError as error:
            raise PragmaError(f"cannot read {path}", details=error.strerror, resolution="name another file") from error

    def build_image(
        self, name: ImageName, flavour: str, release: str | None, size: int | None, progress: ProgressSink
    ) -> Path:
        self._fail()
        progress(Progress("prepare", name, "writing the disk"))
        self.built.append((name, flavour, release, size))
        self.images.append(name)
        return Path(f"/r/{name}/{name}.xml")

    def add_agent(self, image: ImageName, name: ImageName, progress: ProgressSink) -> Path:
        self._fail()
        if image not in self.images:
            raise ImageNotFoundError(f"no image {image} in the repository")
        progress(Progress("prepare", name, "putting the agent in"))
        self.images.append(name)
        return Path(f"/r/{name}/{name}.xml")

    def _planned(self, request: BootRequest, state: str) -> ClusterView:
        if request.image not in self.images:
            raise ImageNotFoundError(
                f"there is no image {request.image!r}", resolution="'pragma list repository' shows them"
            )
        self.requests.append(request)
        return cluster_view(request.name or "demo", (request.cpus + 1) // 2, state=state, image=request.image)

    def _set(self, name: str, state: str) -> ClusterView:
        view = self.cluster(ClusterName(name))
        nodes = tuple(replace(node, state=state) for node in view.nodes)
        return self.add(replace(view, state=state, nodes=nodes))

    def _fail(self) -> None:
        if self.fails is not None:
            raise self.fails

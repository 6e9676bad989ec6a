import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from fakes.cluster_site import FakeDisks, make_site, traces
from pragma_boot.cluster.boot import BootRequest, boot, preview
from pragma_boot.cluster.stop import clean, shutdown, start
from pragma_boot.cluster.view import cluster, clusters, resolve
from pragma_boot.driver.memory import MemoryDriver
from pragma_boot.errors import (
    CapacityError,
    ClusterBusyError,
    ClusterError,
    ClusterExistsError,
    ClusterNotFoundError,
    DriverError,
    ImageNotFoundError,
    NotAvailableError,
    NotReadyError,
)
from pragma_boot.model import ClusterName, ImageName, InUse, NodeName, NodeState

DEMO = ImageName("demo")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVzZXIta2V5LXBsYWNlaG9sZGVyLW9ubHkAAAAA user@example.org"


def request(name: str | None = None, cpus: int = 3, **more: object) -> BootRequest:
    return BootRequest(DEMO, cpus, ClusterName(name) if name else None, (KEY,), **more)  # type: ignore[arg-type]


class Interrupt(BaseException):
    pass


class Counter:
    """Raises *error* (or ends the process) before the step of that number."""

    def __init__(self, at: int = -1, error: BaseException | None = None) -> None:
        self.at, self.error, self.steps = at, error, list[str]()

    def __call__(self, step: str) -> None:
        self.steps.append(step)
        if len(self.steps) - 1 == self.at:
            if self.error is None:
                os.kill(os.getpid(), signal.SIGKILL)
            raise self.error  # type: ignore[misc]


def test_a_boot_ends_with_all_nodes_ready(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    view = boot(site, request())
    assert (view.name, view.state, view.public_ip) == ("demo", "active", "198.51.100.10")
    assert [(node.name, node.state, node.cpus, node.ip) for node in view.nodes] == [
        ("demo", "active", 1, "10.1.1.1"),
        ("compute-0", "active", 2, "10.1.255.254"),
        ("compute-1", "active", 1, "10.1.255.253"),
    ]
    assert clusters(site) == (view,)


def test_every_node_gets_its_document_and_the_users_key(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    boot(site, request())
    assert isinstance(site.disks, FakeDisks)
    for node in ("demo", "compute-0", "compute-1"):
        guest = site.disks.guests[node]
        assert KEY in guest.read("/root/.ssh/authorized_keys").decode()
        kept = (site.settings.site.state.cluster("demo") / "vc-out" / f"{node}.xml").read_bytes()
        assert guest.read("/root/vc-out.xml") == kept


def test_secrets_of_a_cluster_are_private(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    boot(site, request())
    folder = site.settings.site.state.cluster("demo")
    assert (folder / "key").stat().st_mode & 0o777 == 0o600
    assert (folder / "vc-out").stat().st_mode & 0o777 == 0o700


def test_schedulers_find_their_lines_in_the_log(tmp_path: Path, logged: list[str]) -> None:
    boot(make_site(tmp_path), request())
    assert [line for line in logged if line.startswith(("Requesting", "Found", "Allocated", "Successfully"))] == [
        "Requesting 3 CPUs",
        "Found available public IP 198.51.100.10 -> demo.internal",
        "Allocated cluster demo with compute nodes: compute-0, compute-1",
        "Successfully deployed frontend demo",
    ]


def test_zero_cpus_is_a_frontend_alone(tmp_path: Path) -> None:
    assert [node.role for node in boot(make_site(tmp_path), request(cpus=0)).nodes] == ["frontend"]


def test_the_second_cluster_takes_the_next_of_everything(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    first, second = boot(site, request()), boot(site, request())
    assert (second.name, second.public_ip) == ("demo-2", "198.51.100.11")
    assert first.public_ip != second.public_ip
    used = site.store.in_use(InUse())
    assert len(used.macs) == 8
    assert len(used.vlans) == 2


def test_a_preview_changes_nothing(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    seen = preview(site, request())
    assert (seen.cluster, seen.public_ip, len(seen.nodes)) == ("demo", "198.51.100.10", 3)
    assert traces(tmp_path) == set()
    assert not site.store.folder.database.exists()


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        (BootRequest(ImageName("nope"), 1), ImageNotFoundError),
        (request(cpus=1000), CapacityError),
        (request(options={"add-iface": "openflow"}), NotAvailableError),
        (request(frontend_memory_mib=10**7), CapacityError),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_changes(
    tmp_path: Path, wish: BootRequest, error: type[Exception]
) -> None:
    site = make_site(tmp_path)
    for call in (preview, boot):
        with pytest.raises(error):
            call(site, wish)
    assert traces(tmp_path) == set()
    assert clusters(site) == ()


def test_a_taken_name_is_refused_and_its_owner_is_untouched(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    before = boot(site, request("mine"))
    with pytest.raises(ClusterExistsError, match="mine exists already"):
        boot(site, request("mine"))
    assert clusters(site) == (before,)


def test_an_empty_pool_says_so(tmp_path: Path) -> None:
    site = make_site(tmp_path, addresses=1)
    boot(site, request())
    with pytest.raises(CapacityError, match="all 1 public addresses"):
        boot(site, request())
    assert len(clusters(site)) == 1


def steps_of_a_boot(root: Path) -> list[str]:
    counter = Counter()
    boot(make_site(root, before_step=counter), request())
    return counter.steps


STEPS = 12


def test_the_number_of_steps_below_is_right(tmp_path: Path) -> None:
    assert len(steps_of_a_boot(tmp_path)) == STEPS


@pytest.mark.parametrize("error", [DriverError("it failed"), Interrupt()], ids=["failure", "interruption"])
@pytest.mark.parametrize("step", range(STEPS))
def test_a_boot_that_fails_at_any_step_undoes_itself(tmp_path: Path, step: int, error: BaseException) -> None:
    site = make_site(tmp_path, before_step=Counter(step, error))
    with pytest.raises(type(error)):
        boot(site, request())
    assert clusters(site) == ()
    assert traces(tmp_path) == set()
    assert site.store.in_use(site.driver.in_use()) == InUse()


def _boot_and_die(root: Path, step: int) -> None:
    boot(make_site(root, before_step=Counter(step)), request())


@pytest.mark.parametrize("step", range(STEPS))
def test_a_boot_that_is_killed_at_any_step_lists_as_broken_and_can_be_cleaned(tmp_path: Path, step: int) -> None:
    process = multiprocessing.get_context("fork").Process(target=_boot_and_die, args=(tmp_path, step))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    site = make_site(tmp_path)
    assert [(view.name, view.state) for view in clusters(site)] == [("demo", "broken")]
    assert boot(site, request()).name == "demo-2"
    clean(site, ClusterName("demo"))
    clean(site, ClusterName("demo"))
    shutdown(site, ClusterName("demo-2"))
    clean(site, ClusterName("demo-2"))
    assert clusters(site) == ()
    assert traces(tmp_path) == set()
    assert site.store.in_use(site.driver.in_use()) == InUse()


def test_an_undo_that_fails_leaves_a_listed_cluster_that_clean_finishes(tmp_path: Path) -> None:
    def hook(step: str) -> None:
        if step.startswith(("deploy", "release")):
            raise DriverError(f"no {step}")

    site = make_site(tmp_path, before_step=hook)
    with pytest.raises(DriverError):
        boot(site, request())
    (view,) = clusters(site)
    assert view.state == "broken"
    assert "no release" in view.note
    site = make_site(tmp_path)
    clean(site, ClusterName("demo"))
    assert traces(tmp_path) == set()


def test_a_node_that_never_gets_ready_is_named_and_all_is_undone(tmp_path: Path) -> None:
    site = make_site(tmp_path, wait=0.5, silent=frozenset({NodeName("compute-1")}))
    with pytest.raises(NotReadyError) as caught:
        boot(site, request())
    assert "compute-1" in f"{caught.value.message} {caught.value.details}"
    assert clusters(site) == ()


def test_a_failed_boot_can_be_kept_for_a_look(tmp_path: Path) -> None:
    site = make_site(tmp_path, wait=0.5, silent=frozenset({NodeName("compute-1")}))
    with pytest.raises(NotReadyError):
        boot(site, request(keep_on_failure=True))
    (view,) = clusters(site)
    assert view.state == "broken"
    assert view.note.startswith("boot failed:")
    assert not any(node.state == "active" for node in view.nodes)
    clean(site, ClusterName("demo"))
    assert traces(tmp_path) == set()


def test_nobody_waits_when_told_not_to(tmp_path: Path) -> None:
    site = make_site(tmp_path, wait=60, silent=frozenset({NodeName("demo")}))
    assert boot(site, request(wait=0)).state == "active"


def _boot_one(root: Path, number: int, results: "multiprocessing.Queue[str]") -> None:
    try:
        results.put(boot(make_site(root), request(f"vc{number}", cpus=2)).public_ip)
    except CapacityError as error:
        results.put(error.message)


def test_eight_boots_at_once_share_four_addresses(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = context.Queue()
    processes = [context.Process(target=_boot_one, args=(tmp_path, number, results)) for number in range(8)]
    for process in processes:
        process.start()
    answers = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert answers[:4] == [f"198.51.100.{last}" for last in (10, 11, 12, 13)]
    assert all("public addresses" in answer for answer in answers[4:])
    assert len(clusters(make_site(tmp_path))) == 4


class TestLife:
    def test_shut_down_started_and_cleaned(self, tmp_path: Path) -> None:
        site = make_site(tmp_path)
        name = ClusterName(boot(site, request()).name)
        with pytest.raises(ClusterError, match="demo is active"):
            clean(site, name)
        shutdown(site, name)
        shutdown(site, name)
        assert {node.state for node in cluster(site, name).nodes} == {"shutdown"}
        assert start(site, name).state == "active"
        assert start(site, name).state == "active"
        shutdown(site, name)
        clean(site, name)
        clean(site, name)
        with pytest.raises(ClusterNotFoundError):
            start(site, name)
        assert traces(tmp_path) == set()

    def test_a_start_waits_for_the_nodes_that_it_starts_only(self, tmp_path: Path) -> None:
        site = make_site(tmp_path, wait=2)
        name = ClusterName(boot(site, request()).name)
        driver = site.driver
        assert isinstance(driver, MemoryDriver)
        driver.set_state(name, NodeName("compute-0"), NodeState.SHUTDOWN)
        assert start(site, name).state == "active"  # the frontend has reported long ago, and does not again

    def test_a_cluster_that_another_command_holds_is_busy(self, tmp_path: Path) -> None:
        site = make_site(tmp_path)
        name = ClusterName(boot(site, request()).name)
        with site.store.lock(name):
            for call in (shutdown, clean, start):
                with pytest.raises(ClusterBusyError):
                    call(site, name)

    def test_a_boot_under_way_lists_as_booting(self, tmp_path: Path) -> None:
        seen: list[str] = []
        site = make_site(tmp_path)

        def hook(step: str) -> None:
            if step == "deploy demo: start compute-0":
                seen.extend(f"{view.state} {[node.state for node in view.nodes]}" for view in clusters(site))

        boot(make_site(tmp_path, before_step=hook), request())
        assert seen == ["booting ['booting', 'shutdown', 'missing']"]

    def test_a_dead_node_breaks_its_cluster(self, tmp_path: Path) -> None:
        site = make_site(tmp_path)
        name = ClusterName(boot(site, request()).name)
        site.driver.set_state(name, NodeName("compute-0"), NodeState.CRASHED)  # type: ignore[attr-defined]
        view = cluster(site, name)
        assert (view.state, view.note) == ("broken", "compute-0 is crashed")

    def test_a_cluster_whose_record_is_lost_still_lists_stops_and_cleans(self, tmp_path: Path) -> None:
        site = make_site(tmp_path)
        name = ClusterName(boot(site, request()).name)
        site.store.folder.database.unlink()
        (view,) = clusters(site)
        assert (view.name, view.state, view.public_ip) == ("demo", "active", "198.51.100.10")
        assert boot(site, request()).public_ip == "198.51.100.11"
        with pytest.raises(ClusterError):
            clean(site, name)
        shutdown(site, name)
        clean(site, name)
        assert [view.name for view in clusters(site)] == ["demo-2"]


class TestNames:
    def test_a_cluster_is_meant_before_an_image(self, tmp_path: Path) -> None:
        site = make_site(tmp_path)
        boot(site, request("other"))
        boot(site, request("demo"))
        assert resolve(site, "demo") == "demo"

    def test_the_one_cluster_of_an_image_is_meant(self, tmp_path: Path) -> None:
        site = make_site(tmp_path)
        boot(site, request("other"))
        assert resolve(site, "demo") == "other"

    def test_several_clusters_of_an_image_are_listed(self, tmp_path: Path) -> None:
        site = make_site(tmp_path)
        boot(site, request("one"))
        boot(site, request("two"))
        with pytest.raises(ClusterError) as caught:
            resolve(site, "demo")
        assert str(caught.value.details).split() == ["one", "two"]

    def test_what_is_gone_never_means_another_cluster_to_a_command_that_removes(self, tmp_path: Path) -> None:
        site = make_site(tmp_path)
        boot(site, request("demo"))
        shutdown(site, ClusterName("demo"))
        clean(site, ClusterName("demo"))
        boot(site, request("other"))
        assert resolve(site, "demo", gone=True) == "demo"
        assert resolve(site, "demo") == "other"

    def test_an_unknown_name_names_the_nearest(self, tmp_path: Path) -> None:
        site = make_site(tmp_path)
        boot(site, request("biolinux"))
        with pytest.raises(ClusterNotFoundError) as caught:
            resolve(site, "biolinx")
        assert "did you mean biolinux?" in str(caught.value.resolution)

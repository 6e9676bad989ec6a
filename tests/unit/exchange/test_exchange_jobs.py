import os
import signal
import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fakes.overlay import join_information
from pragma_boot.errors import CapacityError, PragmaError, UsageError
from pragma_boot.exchange.jobs import Jobs, NothingPublishedError

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])}
HOLDERS = st.sampled_from(["a@1", "b@2", "c@3"])


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    jobs = Jobs(tmp_path / "state" / "exchange.db", lambda: datetime(2026, 1, 2, tzinfo=UTC))
    jobs.renew_token("lab")
    return jobs


def test_a_token_opens_its_own_job_until_it_is_renewed(jobs: Jobs) -> None:
    first, other = jobs.renew_token("lab"), jobs.renew_token("other")
    assert jobs.admits("lab", first)
    assert not jobs.admits("lab", other)
    assert not jobs.admits("none", first)
    assert not jobs.admits("none", "")
    assert not jobs.admits("lab", "\udcff")
    second = jobs.renew_token("lab")
    assert not jobs.admits("lab", first)
    assert jobs.admits("lab", second)
    assert len(second) >= 43


def test_neither_tokens_nor_what_was_withdrawn_are_in_the_file(jobs: Jobs) -> None:
    token, whole = jobs.renew_token("lab"), join_information()
    jobs.put("lab", whole.pairs())
    assert whole.preshared.encode() in jobs.path.read_bytes()
    jobs.withdraw("lab", whole.hub_key)
    data = jobs.path.read_bytes()
    assert whole.preshared.encode() not in data
    assert token.encode() not in data
    assert jobs.get("lab") == {}


def test_the_database_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Jobs(tmp_path / "x.db").renew_token("lab")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.db").stat().st_mode) == 0o600


def test_jobs_are_listed_without_secrets_and_removed(jobs: Jobs) -> None:
    jobs.renew_token("empty")
    jobs.put("lab", join_information(slots=5).pairs())
    jobs.claim("lab", "a", ["", ""])
    (empty, lab) = jobs.listed()
    assert (empty.name, empty.published, empty.slots, empty.claimed) == ("empty", "", None, 0)
    assert (lab.name, lab.published, lab.slots, lab.claimed) == ("lab", "2026-01-02T00:00:00+00:00", 5, 2)
    assert jobs.remove("lab")
    assert not jobs.remove("lab")
    jobs.renew_token("lab")  # another one of that name has nothing of the first
    assert jobs.get("lab") == {}
    assert jobs.members("lab").members == {}


def test_another_hub_voids_claims_the_same_one_keeps_them(jobs: Jobs) -> None:
    jobs.put("lab", join_information(0).pairs())
    jobs.claim("lab", "a", ["x"])
    jobs.put("lab", join_information(0).pairs())
    assert jobs.members("lab").of("a") == (1,)
    jobs.withdraw("lab", join_information(1).hub_key)
    assert jobs.members("lab").of("a") == (1,)
    jobs.put("lab", join_information(1).pairs())
    assert jobs.members("lab").of("a") == ()


@pytest.mark.parametrize("pairs", [{}, {"xmpp_host": "192.0.2.1"}, {"slot_count": "many"}, {"slot_count": "-1"}])
def test_no_slots_where_none_are_published(jobs: Jobs, pairs: dict[str, str]) -> None:
    jobs.put("lab", pairs)
    with pytest.raises(NothingPublishedError):
        jobs.claim("lab", "a", ["x"])


@pytest.mark.parametrize("name", ["", "a b", "../x", "é", "x" * 65, ".x", "a\n"])
def test_what_cannot_name_a_job(jobs: Jobs, name: str) -> None:
    with pytest.raises(UsageError):
        jobs.renew_token(name)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database " * 100)
    with pytest.raises(PragmaError, match="cannot use the exchange's database") as caught:
        Jobs(tmp_path / "x.db").listed()
    assert caught.value.resolution
    with pytest.raises(PragmaError):
        Jobs(tmp_path / "x.db" / "y.db").listed()


class Database(RuleBasedStateMachine):
    """Clusters of two jobs come and go in any order; hubs publish, withdraw and give way to others."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(f"/dev/shm/pragma-test-{os.getpid()}-{id(self)}.db")
        self.jobs = Jobs(self.path)
        self.hubs: dict[str, int | None] = {"x": None, "y": None}
        self.wanted: dict[str, dict[str, int]] = {"x": {}, "y": {}}
        for job in self.hubs:
            self.jobs.renew_token(job)

    @rule(job=st.sampled_from("xy"), hub=st.integers(0, 1))
    def publish(self, job: str, hub: int) -> None:
        self.jobs.put(job, join_information(hub).pairs())
        if self.hubs[job] != hub:
            self.wanted[job] = {}
        self.hubs[job] = hub

    @rule(job=st.sampled_from("xy"), hub=st.integers(0, 1))
    def withdraw(self, job: str, hub: int) -> None:
        self.jobs.withdraw(job, join_information(hub).hub_key)
        if self.hubs[job] == hub:
            self.hubs[job], self.wanted[job] = None, {}

    @rule(job=st.sampled_from("xy"), holder=HOLDERS, count=st.integers(1, 8))
    def claim(self, job: str, holder: str, count: int) -> None:
        others = sum(number for other, number in self.wanted[job].items() if other != holder)
        try:
            slots = self.jobs.claim(job, holder, [""] * count)
        except NothingPublishedError:
            assert self.hubs[job] is None
            return
        except CapacityError:
            assert others + count > 8
            return
        assert len(set(slots)) == count
        self.wanted[job][holder] = count

    @rule(job=st.sampled_from("xy"), holder=HOLDERS)
    def release(self, job: str, holder: str) -> None:
        self.jobs.release(job, holder)
        self.wanted[job].pop(holder, None)

    @invariant()
    def each_cluster_has_its_slots_and_nobody_else_has_them(self) -> None:
        for job, wanted in self.wanted.items():
            members = self.jobs.members(job).members
            assert all(1 <= slot <= 8 for slot in members)
            held = [member.holder for member in members.values()]
            assert {holder: held.count(holder) for holder in held} == wanted

    def teardown(self) -> None:
        self.path.unlink(missing_ok=True)


test_many_clusters_of_many_hubs = Database.TestCase
test_many_clusters_of_many_hubs.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_a_process_that_is_killed_while_it_publishes_leaves_the_old_or_the_new(jobs: Jobs) -> None:
    both = [join_information(0).pairs(), join_information(1).pairs()]
    jobs.put("lab", both[0])
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from fakes.overlay import join_information\n"
        "from pragma_boot.exchange.jobs import Jobs\n"
        "jobs, both = Jobs(Path(sys.argv[1])), [join_information(0).pairs(), join_information(1).pairs()]\n"
        "print('begun', flush=True)\n"
        "while True:\n"
        "    for one in both: jobs.put('lab', one); time.sleep(0.005)\n"
    )
    for _ in range(2):
        argv = [sys.executable, "-c", code, str(jobs.path)]
        process = subprocess.Popen(argv, env=ENVIRONMENT, stdout=subprocess.PIPE)
        assert process.stdout
        with process.stdout:
            assert process.stdout.readline() == b"begun\n"
        for _ in range(20):
            assert jobs.get("lab") in both
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert jobs.get("lab") in both
        jobs.claim("lab", "after", ["x"])
    with sqlite3.connect(jobs.path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_claims_of_many_processes_never_meet(jobs: Jobs) -> None:
    jobs.put("lab", join_information(slots=24).pairs())
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pragma_boot.exchange.jobs import Jobs\n"
        "jobs = Jobs(Path(sys.argv[1]))\n"
        "for n in range(4):\n"
        "    jobs.claim('lab', f'{sys.argv[2]}-{n}', ['', ''])\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(jobs.path), name], env=ENVIRONMENT) for name in "abc"]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    members = jobs.members("lab").members
    assert sorted(members) == list(range(1, 25))
    assert all(len(jobs.members("lab").of(f"{name}-{n}")) == 2 for name in "abc" for n in range(4))

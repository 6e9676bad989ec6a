"""The service as strangers, careless clients and old programs meet it."""

import contextlib
import http.client
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.exchange_service import QUICK, Running, running_service
from fakes.nginx import make_certificates
from fakes.overlay import join_information
from pragma_boot.errors import PragmaError, UsageError
from pragma_boot.exchange.jobs import Jobs
from pragma_boot.exchange.limits import Limits, Rate
from pragma_boot.exchange.server import Server, tls_context
from pragma_boot.network.overlay.information import parse
from pragma_boot.network.overlay.opening import open_exchange

WHOLE = join_information()
REQUESTS = st.from_regex(rb"(GET|POST) /[?&=%a-z0-9]{0,60} HTTP/1\.[01]\r\n\r\n", fullmatch=True)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    with running_service(tmp_path) as running:
        yield running


def get(service: Running, query: str, method: str = "GET", body: str | None = None, **headers: str) -> tuple[int, str]:
    host, port = service.server.server_address[:2]
    connection = http.client.HTTPConnection(str(host), int(port), timeout=10)
    try:
        connection.request(method, f"/ipop/exchange.php?{query}", body=body, headers=headers)
        reply = connection.getresponse()
        assert reply.headers["Cache-Control"] == "no-store"
        return reply.status, reply.read().decode()
    finally:
        connection.close()


def raw(service: Running, data: bytes, *, end: bool = True) -> bytes:
    """What comes back for bytes that are sent as they are."""
    host, port = service.server.server_address[:2]
    with socket.create_connection((str(host), int(port)), timeout=10) as connection:
        connection.sendall(data)
        if end:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


def test_the_old_programs_clients_are_served(service: Running) -> None:
    """Its own words: a URL that contains a '?', pairs joined with '&', an empty body while nothing is there."""
    url = f"jobId=lab&token={service.jobs.renew_token('lab')}"
    assert get(service, f"{url}&action=get") == (200, "")
    pairs = "xmpp_username=ipopuser@ejabberd&xmpp_password=a1B2c3D4&xmpp_host=192.0.2.1"
    assert get(service, f"{url}&action=put&{pairs}") == (200, "")
    assert get(service, f"{url}&action=get") == (200, pairs.replace("&", "\n") + "\n")
    assert get(service, f"{url.replace('jobId', 'jobid')}&action=get")[0] == 200


def test_claims_may_be_asked_for_by_hand(service: Running) -> None:
    url = f"jobId=lab&token={service.jobs.renew_token('lab')}"
    assert get(service, f"{url}&action=claim&n=2&holder=a")[0] == 409
    assert get(service, f"{url}&action=put&{urlencode(WHOLE.pairs())}")[0] == 200
    assert parse(get(service, f"{url}&action=get")[1], "x") == WHOLE
    assert get(service, f"{url}&action=claim&n=2&holder=a") == (200, "slots=1,2\n")
    assert get(service, f"{url}&action=claim&n=1&holder=b&names=n1") == (200, "slots=3\n")
    assert get(service, f"{url}&action=members") == (200, "1=a/\n2=a/\n3=b/n1\n")
    status, text = get(service, f"{url}&action=claim&n=6&holder=c")
    assert (status, text.splitlines()[0], text.splitlines()[2:]) == (409, "error=full", ["wanted=6", "free=5"])


@pytest.mark.parametrize(
    "words",
    ["", "action=", "action=drop", "action=put", "action=claim&n=0&holder=a", "action=claim&holder=a",
     "action=claim&n=2", "action=claim&n=2&holder=a&names=x", "action=claim&n=99999&holder=a", "action=release",
     "action=claim&n=1&holder=a%20b", "action=put&a=%00", "action=put&a%0Ab=1", "action=withdraw",
     "action=get&action=get", pytest.param("action=put&" + "&".join(f"k{n}=1" for n in range(65)), id="pairs")],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(service: Running, words: str) -> None:
    status, text = get(service, f"jobId=lab&token={service.jobs.renew_token('lab')}&{words}")
    assert status == 400
    assert text.startswith("error=")
    assert service.jobs.get("lab") == {}


@pytest.mark.parametrize("query", ["", "action=get", "jobId=..%2Fx&action=get", "jobId=" + "x" * 99, "jobId=%FF"])
def test_without_a_job_nothing_is_done(service: Running, query: str) -> None:
    assert get(service, query)[0] == 400


def test_half_of_a_put_is_never_kept(service: Running) -> None:
    """What is left of a client that was killed while it wrote, at each byte."""
    token = service.jobs.renew_token("lab")
    line = f"GET /?jobId=lab&token={token}&action=put&slot_count=64&psk=abcdef HTTP/1.0\r\n".encode()
    for length in range(line.index(b"put"), len(line) - 2):
        assert b"error=" in raw(service, line[:length])
    body = urlencode(WHOLE.pairs()).encode()
    head = f"POST /?jobId=lab&token={token}&action=put HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for length in range(0, len(body), 40):
        assert b" 400 " in raw(service, head + body[:length]).splitlines()[0]
    assert service.jobs.get("lab") == {}
    assert b" 200 " in raw(service, head + body).splitlines()[0]
    assert service.jobs.get("lab") == WHOLE.pairs()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=200)
    | st.from_regex(rb"(GET|POST) /[?&=%a-z0-9]{0,60} HTTP/1\.[01]\r\n\r\n", fullmatch=True)
)
def test_any_bytes_end_in_an_answer_or_in_nothing(service: Running, data: bytes) -> None:
    answer = raw(service, data)
    assert not answer or b"error=" in answer
    assert not any("unexpected" in line for line in service.told)


def test_bodies_are_bounded(service: Running) -> None:
    url = f"jobId=lab&token={service.jobs.renew_token('lab')}&action=put"
    assert get(service, url, "POST", "a=1") == (200, "")
    assert b" 413 " in raw(service, f"POST /?{url} HTTP/1.0\r\nContent-Length: 1048577\r\n\r\n".encode())
    assert get(service, url, "POST", "a=" + "x" * 300_000)[0] == 400
    assert b" 413 " in raw(service, f"POST /?{url} HTTP/1.0\r\nContent-Length: 999999999999\r\n\r\n".encode())
    assert b" 411 " in raw(service, f"POST /?{url} HTTP/1.0\r\n\r\n".encode())
    assert b" 411 " in raw(service, f"POST /?{url} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=1\r\n".encode())
    assert b" 414 " in raw(service, b"GET /?" + b"x" * 70000 + b" HTTP/1.0\r\n\r\n")
    assert b" 501 " in raw(service, f"DELETE /?{url} HTTP/1.0\r\n\r\n".encode())
    assert get(service, f"{url}&a=2", "POST", "a=1")[0] == 400  # twice
    assert service.jobs.get("lab") == {"a": "1"}


def test_who_sends_nothing_is_cut_off_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    with running_service(tmp_path, Limits(seconds=0.5, look=0.02, connections=3)) as service:
        start = time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            slow = [pool.submit(raw, service, b"GET /?jobId=lab", end=False) for _ in range(2)]
            time.sleep(0.1)
            assert get(service, "jobId=lab&action=get")[0] == 403
            for one in slow:
                assert b" 200 " not in one.result(10)
        assert 0.4 < time.monotonic() - start < 5


def test_there_are_not_more_connections_than_allowed(tmp_path: Path) -> None:
    with running_service(tmp_path, Limits(seconds=30, look=0.02, connections=2)) as service:
        host, port = service.server.server_address[:2]
        held = [socket.create_connection((str(host), int(port))) for _ in range(2)]
        deadline = time.monotonic() + 10
        while "127.0.0.1 - - too many connections" not in service.told:
            assert time.monotonic() < deadline
            with socket.create_connection((str(host), int(port)), timeout=0.2) as one:
                try:
                    assert one.recv(1) == b""
                except TimeoutError:
                    continue
        for one in held:
            one.close()
        while time.monotonic() < deadline:
            try:
                assert get(service, "jobId=lab&action=get")[0] == 403
                return
            except (ConnectionError, http.client.HTTPException):
                time.sleep(0.02)
        raise AssertionError("it serves no more")


def test_one_address_cannot_have_all_connections(tmp_path: Path) -> None:
    with running_service(tmp_path, Limits(seconds=30, look=0.02, connections=3, each=2)) as service:
        host, port = service.server.server_address[:2]
        with contextlib.ExitStack() as held:
            for _ in range(2):
                held.enter_context(socket.create_connection((str(host), int(port))))
            refused = socket.create_connection((str(host), int(port)), timeout=10)
            assert held.enter_context(refused).recv(1) == b""
            assert service.told == ["127.0.0.1 - - too many connections"]
            other = socket.create_connection((str(host), int(port)), timeout=10, source_address=("127.0.0.2", 0))
            with other:
                other.sendall(b"GET /?jobId=lab&action=get HTTP/1.0\r\n\r\n")
                assert b" 403 " in other.recv(65536)


def test_a_connection_that_is_cut_never_goes_on_unencrypted(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    tls = tls_context(tmp_path / "server.crt", tmp_path / "server.key")
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    ours, theirs = socket.socketpair()
    with ThreadPoolExecutor(1) as pool, Server(Jobs(tmp_path / "exchange.db"), port=0, tls=tls) as server:
        client = pool.submit(context.wrap_socket, theirs, server_hostname="127.0.0.1")
        with tls.wrap_socket(ours, server_side=True) as secure, client.result(10) as other:
            server._open[secure] = (time.monotonic(), secure)
            server._cut(0)
            assert secure.version()  # what its thread sends just now goes through TLS, or nowhere
            with pytest.raises(OSError):
                secure.send(b"psk=")
            with contextlib.suppress(OSError):
                assert other.recv(10) == b""
            server.shutdown_request(secure)


def test_one_address_cannot_ask_without_end(tmp_path: Path) -> None:
    with running_service(tmp_path, Limits(rate=5, look=0.02)) as service:
        statuses = [get(service, "jobId=lab&action=get")[0] for _ in range(7)]
    assert statuses[:5] == [403] * 5
    assert 429 in statuses[5:]


def test_unused_requests_come_back_with_time_but_do_not_pile_up() -> None:
    now = [0.0]
    rate = Rate(60, lambda: now[0])
    assert [rate.admits("a") for _ in range(61)] == [True] * 60 + [False]
    assert rate.admits("b")
    now[0] = 2.5
    assert [rate.admits("a") for _ in range(3)] == [True, True, False]
    now[0] = 10_000
    assert sum(rate.admits("a") for _ in range(100)) == 60
    for number in range(10_002):
        rate.admits(str(number))
    now[0] = 20_000
    assert rate.admits("c")
    assert len(rate._left) == 1  # who was silent is forgotten


def test_no_secret_is_told_or_logged(service: Running, caplog: pytest.LogCaptureFixture) -> None:
    token = service.jobs.renew_token("lab")
    with caplog.at_level("DEBUG"):
        get(service, f"jobId=lab&token={token}&action=put&psk=hunter2hunter2")
        get(service, f"jobId=lab&action=put&psk=hunter2hunter2&token={token}x")
        get(service, f"jobId={token}&action=get")
        get(service, "jobId=lab&action=hunter2hunter2")
        raw(service, f"GET {token} hunter2hunter2\r\n\r\n".encode())
    told = "\n".join(service.told) + caplog.text
    assert "hunter2" not in told
    assert token not in told
    assert service.told[0] == "127.0.0.1 lab put 200"


def test_other_machines_are_served_with_tls_alone(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "x.db")
    with pytest.raises(UsageError, match="unencrypted") as caught:
        Server(jobs, host="0.0.0.0", port=0)
    assert "certificate=" in str(caught.value.resolution)
    Server(jobs, host="0.0.0.0", port=0, insecure=True).server_close()
    make_certificates(tmp_path)
    tls = tls_context(tmp_path / "server.crt", tmp_path / "server.key")
    with Server(jobs, host="0.0.0.0", port=0, tls=tls) as server:
        assert server.url.startswith("https://0.0.0.0:")
        with pytest.raises(PragmaError, match="cannot serve"):
            Server(jobs, port=server.server_address[1])
    with pytest.raises(UsageError, match="no address"):
        Server(jobs, host="no such host", port=0)
    with pytest.raises(UsageError, match="cannot serve with the certificate"):
        tls_context(tmp_path / "ca.key", None)
    with pytest.raises(UsageError, match="cannot serve with the certificate"):
        tls_context(tmp_path / "none", None)


def test_a_key_with_a_password_is_refused_without_asking(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    encrypt = ["openssl", "ec", "-in", "server.key", "-out", "locked.key", "-aes256", "-passout", "pass:hunter2"]
    subprocess.run(encrypt, cwd=tmp_path, check=True, capture_output=True)
    with pytest.raises(UsageError, match="encrypted"):
        tls_context(tmp_path / "server.crt", tmp_path / "locked.key")


def test_tls_connections_are_bounded_in_time_too(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    tls = tls_context(tmp_path / "server.crt", tmp_path / "server.key")
    with running_service(tmp_path, Limits(seconds=0.5, look=0.02, grace=1), tls=tls) as service:
        host, port = service.server.server_address[:2]
        with socket.create_connection((str(host), int(port)), timeout=10) as silent:
            assert silent.recv(1) == b""  # no handshake came
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        with (
            socket.create_connection((str(host), int(port)), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            secure.sendall(b"GET /?jobId=lab")
            with contextlib.suppress(OSError):  # it may be cut hard
                assert secure.recv(1) == b""
        assert get_tls(service, context) == 403


def test_this_machine_is_served_by_its_newer_address_too(tmp_path: Path) -> None:
    with contextlib.closing(socket.socket(socket.AF_INET6)) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    with running_service(tmp_path, host="::1") as service:
        assert service.server.url.startswith("http://[::1]:")
        assert open_exchange(service.url(), {}).fetch() is None
        assert service.told == ["::1 lab get 200"]


def get_tls(service: Running, context: ssl.SSLContext) -> int:
    host, port = service.server.server_address[:2]
    connection = http.client.HTTPSConnection(str(host), int(port), timeout=10, context=context)
    try:
        connection.request("GET", "/?jobId=lab&action=get")
        return connection.getresponse().status
    finally:
        connection.close()


def test_an_end_lets_running_requests_finish(tmp_path: Path) -> None:
    with running_service(tmp_path, QUICK) as service:
        token = service.jobs.renew_token("lab")
        host, port = service.server.server_address[:2]
        line = f"GET /?jobId=lab&token={token}&action=put&a=1 HTTP/1.0\r\n".encode()
        with socket.create_connection((str(host), int(port)), timeout=10) as connection:
            connection.sendall(line)
            deadline = time.monotonic() + 10
            while not service.server._open and time.monotonic() < deadline:
                time.sleep(0.01)
            ending = threading.Thread(target=service.server.shutdown)
            ending.start()
            ending.join()
            connection.sendall(b"\r\n")
            assert b" 200 " in connection.recv(100)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((str(host), int(port)), timeout=1)
    assert service.jobs.get("lab") == {"a": "1"}


def test_the_program_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    pragma = [sys.executable, "-m", "pragma_boot.cli.main"]
    database = f"database={tmp_path}/x.db"
    token = subprocess.run([*pragma, "exchange", "token", "lab", database], capture_output=True, text=True, check=True)
    argv = [*pragma, "serve", "exchange", "port=0", database, f"logfile={tmp_path}/log"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    url = process.stdout.readline().split()[-1]
    port = int(url.rstrip("/").rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    query = f"jobId=lab&token={quote(token.stdout.strip())}&action=put&psk=hunter2hunter2"
    connection.request("GET", f"/?{query}")
    assert connection.getresponse().status == 200
    process.send_signal(signal.SIGTERM)
    out, told = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out == ""
    assert told.splitlines() == ["pragma: note: 127.0.0.1 lab put 200", "pragma: note: ended"]
    log = (tmp_path / "log").read_text()
    assert "127.0.0.1 lab put 200" in log
    assert "hunter2" not in log
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0

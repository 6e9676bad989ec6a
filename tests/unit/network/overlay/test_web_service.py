"""The client, with the service as it really runs, and with exchanges of the old program's time."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from fakes.exchange_service import Running, running_service
from fakes.nginx import make_certificates
from fakes.old_exchange import decoded, mangled, old_exchange, raw
from fakes.overlay import join_information
from pragma_boot.connect import is_open_wire
from pragma_boot.errors import ExchangeAwayError, ExchangeError, JoinInformationError, UsageError
from pragma_boot.exchange.server import tls_context
from pragma_boot.network.overlay.opening import TOKEN_VARIABLE, open_exchange
from pragma_boot.network.overlay.wait import wait_for
from pragma_boot.network.overlay.web_service import WebService

WHOLE = join_information()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    with running_service(tmp_path) as running:
        yield running


def test_no_secret_is_told_or_logged(service: Running, caplog: pytest.LogCaptureFixture) -> None:
    url = service.url()
    exchange = open_exchange(url)
    with caplog.at_level(logging.DEBUG):
        exchange.publish(WHOLE)
        exchange.claim("a@192.0.2.1", ["a"])
        exchange.withdraw(WHOLE.hub_key)
    told = unquote(caplog.text + "".join(service.told) + exchange.shown + repr(exchange))
    for secret in (url.partition("#token=")[2], WHOLE.preshared, WHOLE.seed.hex()):
        assert secret not in told
    assert "127.0.0.1 lab claim 200" in service.told
    assert exchange.shown == f"{service.server.url}x.php?jobId=lab"


def test_a_hub_that_appears_later_is_waited_for(service: Running) -> None:
    exchange = open_exchange(service.url())
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        exchange.publish(WHOLE)

    assert wait_for(exchange, lambda _: None, "demo", sleep=sleep) == WHOLE
    assert slept == [60]


def test_without_the_right_token_nothing_is_told(service: Running, tmp_path: Path) -> None:
    url = service.url().partition("#")[0]
    service.url("other")
    for wrong in (
        url,
        f"{url}#token=wrong",
        service.url("other").replace("jobId=other", "jobId=lab"),
        f"{url}x#token=x",
    ):
        with pytest.raises(ExchangeError, match="refuses") as caught:
            open_exchange(wrong, {}).fetch()
        assert "pragma exchange token" in str(caught.value.resolution)
        assert not isinstance(caught.value, ExchangeAwayError)
        assert service.told[-1] == "127.0.0.1 - get 403"
    token = service.jobs.renew_token("lab")
    (tmp_path / "token").write_text(f"{token}\n")
    (tmp_path / "token").chmod(0o600)
    assert open_exchange(f"{url}#token-file={tmp_path}/token", {}).fetch() is None
    assert open_exchange(url, {TOKEN_VARIABLE: token}).fetch() is None
    assert open_exchange(f"{url}&token={token}", {}).fetch() is None
    ticket = open_exchange(f"{url}#token-file={tmp_path}/token&first=3", {}).ticket
    (tmp_path / "token").unlink()
    assert open_exchange(ticket, {}).fetch() is None  # clean, later and elsewhere
    assert open_exchange(ticket, {}).shown.endswith("#first=3")


def test_a_token_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret-token\n")
    with pytest.raises(UsageError, match="open to others") as caught:
        open_exchange(f"http://127.0.0.1/?jobId=1#token-file={tmp_path}/token")
    assert "secret-token" not in str(caught.value)
    with pytest.raises(UsageError, match="cannot read the token file"):
        open_exchange(f"http://127.0.0.1/?jobId=1#token-file={tmp_path}/none")


def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    tls = tls_context(tmp_path / "server.crt", tmp_path / "server.key")
    with running_service(tmp_path, tls=tls) as service:
        url = service.url()
        assert url.startswith("https://")
        with pytest.raises(ExchangeError, match="not trusted") as caught:
            open_exchange(url).fetch()
        assert "#ca-file=" in str(caught.value.resolution)
        assert not isinstance(caught.value, ExchangeAwayError)
        exchange = open_exchange(f"{url}&ca-file={tmp_path}/ca.pem")
        exchange.publish(WHOLE)
        assert exchange.claim("a", ["x"]) == (1,)
        assert open_exchange(exchange.ticket).fetch() == WHOLE
        with pytest.raises(ExchangeAwayError):  # http spoken to https
            open_exchange(url.replace("https", "http")).fetch()
        assert any("broke off" in line for line in service.told)


@pytest.mark.parametrize("keep", [decoded, raw])
def test_an_old_exchange_serves_with_slots_that_were_agreed_on(keep: object) -> None:
    with old_exchange(keep) as old:  # type: ignore[arg-type]
        hub, client = open_exchange(old.url), open_exchange(f"{old.url}#first=4")
        assert client.fetch() is None
        hub.publish(WHOLE)
        assert client.fetch() == WHOLE
        assert client.claim("a", ["x", "y"]) == (4, 5)
        with pytest.raises(ExchangeError, match="keeps no claims") as caught:
            hub.claim("a", ["x"])
        assert "URL#first=17" in str(caught.value.resolution)
        assert client.members() == {}
        client.release("a")
        hub.withdraw(WHOLE.hub_key)
        assert {method for method, _ in old.asked} == {"GET"}
        assert {dict(word.split("=") for word in query.split("&"))["action"] for _, query in old.asked} == {
            "put",
            "get",
        }


def test_an_exchange_that_changes_what_was_put_is_found_out() -> None:
    information = next(one for one in map(join_information, range(99)) if "+" in one.preshared)
    with old_exchange(mangled) as old, pytest.raises((ExchangeError, JoinInformationError)):
        open_exchange(old.url).publish(information)


@pytest.mark.parametrize(("status", "away"), [(404, False), (301, False), (500, True), (503, True), (429, True)])
def test_what_refusals_mean(status: int, away: bool) -> None:
    with old_exchange() as old:
        old.status, old.location = status, "https://elsewhere.org/x?secret=1" if status == 301 else ""
        with pytest.raises(ExchangeError) as caught:
            open_exchange(old.url).fetch()
        assert isinstance(caught.value, ExchangeAwayError) == away
        assert str(status) in str(caught.value.details)
        assert "secret" not in str(caught.value.details)
        assert caught.value.resolution


def test_a_change_is_tried_again_and_again_for_a_while() -> None:
    with old_exchange() as old:
        slept: list[float] = []
        exchange = WebService(old.url, sleep=slept.append)
        old.broken_put = 2
        exchange.publish(WHOLE)
        assert slept == [1, 2]
        assert exchange.fetch() == WHOLE
        old.broken_put = 3
        with pytest.raises(ExchangeAwayError):
            exchange.publish(WHOLE)
        assert slept == [1, 2, 1, 2]


@pytest.mark.parametrize("status", [502, 503, 504, 404])
def test_a_proxys_refusal_is_not_taken_for_an_old_exchange(status: int) -> None:
    """The service behind it is restarted just now: no secret goes into a query, and nothing counts as given back."""
    with old_exchange() as proxy:
        proxy.status = status
        slept: list[float] = []
        exchange = WebService(proxy.url, sleep=slept.append)
        for change in (
            lambda: exchange.publish(WHOLE),
            lambda: exchange.claim("a", ["x"]),
            lambda: exchange.release("a"),
            lambda: exchange.withdraw(WHOLE.hub_key),
            exchange.members,
        ):
            with pytest.raises(ExchangeError) as caught:
                change()
            assert isinstance(caught.value, ExchangeAwayError) == (status != 404)
            assert str(status) in str(caught.value.details)
        assert slept == ([] if status == 404 else [1, 2] * 4)
        assert all("psk" not in query and "slot_seed" not in query for _, query in proxy.asked)


def test_nobody_there_is_borne_while_waiting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused for sure
        exchange = open_exchange(f"http://127.0.0.1:{taken.getsockname()[1]}/?jobId=1")
        with pytest.raises(ExchangeAwayError, match="cannot be reached"):
            exchange.fetch()
        with pytest.raises(ExchangeError, match="within 0 s") as caught:
            wait_for(exchange, lambda _: None, "demo", limit=0)
        assert "cannot be reached" in str(caught.value.details)


@pytest.mark.parametrize(
    "text",
    ["ftp://x/y", "http://", "http:///x", "http://[::1", "http://h:99999/", "https://h/?jobId=1#token=a&token-file=/b",
     "https://h/#token=", "https://h/#token=a%0Ab", "https://h/#ca-file=/", "https://h/#nonsense", "https://h/ x",
     "https://h/#first=0"],
)  # fmt: skip
def test_what_is_no_exchange(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_exchange(text, {})
    assert caught.value.resolution


def test_messages_name_no_query_and_no_password() -> None:
    with pytest.raises(UsageError) as caught:
        open_exchange("https://user:hunter22@h:port/?jobId=1&token=hunter33", {})
    assert "hunter" not in str(caught.value)
    exchange = open_exchange("https://user:hunter22@h/a?x=hunter33&jobId=1#token=hunter44", {})
    assert exchange.shown == "https://h/a?jobId=1"
    assert "hunter" not in repr(exchange)


def test_secrets_on_an_open_wire_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # the name's trailing dot makes it none of those that are this machine for sure
        exchange = open_exchange(f"http://localhost.:{taken.getsockname()[1]}/?jobId=1", {})
        for _ in range(2):
            with pytest.raises(ExchangeAwayError):
                exchange.fetch()
    assert caplog.text.count("is not encrypted") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.9.9.9:80"])
def test_this_machine_needs_no_encryption(host: str) -> None:
    assert not is_open_wire(f"http://{host}/x")
    assert is_open_wire("http://192.0.2.1/x")
    assert not is_open_wire("https://192.0.2.1/x")

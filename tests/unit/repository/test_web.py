import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.web import Fault, WebServer, web_server
from pragma_boot.connect import shown, without_user
from pragma_boot.errors import RepositoryError
from pragma_boot.repository.address import check_redirect, joined
from pragma_boot.repository.patience import Patience, StatusError, TransientError, retry_after
from pragma_boot.repository.web import REDIRECTS, Web
from pragma_boot.run import run

PUBLIC, PRIVATE = frozenset(["93.184.216.34"]), frozenset(["10.0.0.7"])


def to(where: str, status: int = 302) -> Fault:
    return Fault(status, headers={"Location": where})


def get(web: Web, url: str) -> bytes:
    return web.document(url, 1 << 20)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(web: Web, server: WebServer, status: int) -> None:
    server.put("/there/b", b"data")
    server.fail("/a", to("/there/b", status))
    assert get(web, f"{server.url}/a") == b"data"


def test_redirects_have_an_end(web: Web, server: WebServer) -> None:
    server.fail("/a", *[to("/a")] * (REDIRECTS + 1))
    with pytest.raises(RepositoryError, match="without end"):
        get(web, f"{server.url}/a")


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://host/x", "gopher://x", "//["])
def test_redirects_lead_to_http_only(web: Web, server: WebServer, where: str) -> None:
    server.fail("/a", to(where))
    with pytest.raises(RepositoryError, match="is redirected"):
        get(web, f"{server.url}/a")


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("http://127.0.0.1/x", "this machine or a private network"),
        ("http://[::1]/x", "this machine or a private network"),
        ("http://[::ffff:10.0.0.1]/x", "this machine or a private network"),
        ("http://169.254.169.254/latest", "this machine or a private network"),
        ("http://inside.example/x", "this machine or a private network"),
        ("file:///etc/shadow", "neither http nor https"),
    ],
)
def test_a_public_server_may_not_send_us_inside(target: str, why: str) -> None:
    names = {"public.example": PUBLIC, "inside.example": PRIVATE}
    with pytest.raises(RepositoryError) as caught:
        check_redirect("http://public.example/a", target, lambda host: names[host])
    assert why in caught.value.message


def test_a_private_server_may_and_https_stays_https() -> None:
    names = {"inside.example": PRIVATE, "public.example": PUBLIC, "other.example": PUBLIC}
    check_redirect("http://inside.example/a", "http://127.0.0.1/b", names.__getitem__)
    check_redirect("http://public.example/a", "https://other.example/b", names.__getitem__)
    with pytest.raises(RepositoryError, match="from https to plain http"):
        check_redirect("https://public.example/a", "http://public.example/a", names.__getitem__)


def test_a_redirect_from_a_public_host_to_loopback_is_refused_in_earnest(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server answers as the proxy for a public host."""
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    server.fail("/a", to(f"{server.url}/secret"))
    server.put("/secret", b"secret")
    web = Web(resolve=lambda _: PUBLIC)
    with pytest.raises(RepositoryError, match="from a public server"):
        get(web, "http://public.example/a")
    assert len(server.asked) == 1


def test_proxies_come_from_the_environment(server: WebServer, monkeypatch: pytest.MonkeyPatch, web: Web) -> None:
    monkeypatch.setenv("http_proxy", server.url.replace("http://", "http://me:pass@"))
    monkeypatch.setenv("no_proxy", "direct.example")
    server.put("/a", b"data")
    assert get(web, "http://images.example/a") == b"data"
    assert server.asked[-1].headers["whole"] == "http://images.example/a"
    assert server.asked[-1].headers["proxy-authorization"].startswith("Basic ")
    with pytest.raises(TransientError):
        get(web.hasty(), "http://direct.example/a")


def test_a_proxy_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch, web: Web) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1080")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(RepositoryError, match="is no http or https proxy"):
        get(web, "http://images.example/a")


def test_keys_go_to_their_own_server_only(web: Web, server: WebServer) -> None:
    with web_server() as other:
        other.put("/b", b"data")
        server.fail("/a", to(f"{other.url}/b"))
        get(web, server.url.replace("http://", "http://reader:pa55word@") + "/a")
        assert "authorization" in server.asked[0].headers
        assert "authorization" not in other.asked[0].headers


def test_large_documents_are_refused(web: Web, server: WebServer) -> None:
    with pytest.raises(RepositoryError, match="is larger than 1 KiB"):
        web.document(server.put("/a", bytes(5000)), 1024)


def test_a_server_that_says_nothing_is_a_matter_of_patience(pauses: list[float]) -> None:
    web = Web(patience=Patience(attempts=3, sleep=pauses.append, connect=1))
    with pytest.raises(TransientError, match=r"http://127\.0\.0\.1:9/a cannot be reached"):
        get(web, "http://127.0.0.1:9/a?Signature=secret")
    assert len(pauses) == 2


def test_the_codes_of_object_stores_are_told(web: Web, server: WebServer) -> None:
    server.fail("/a", Fault(403, body=b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"))
    with pytest.raises(StatusError) as caught:
        get(web, f"{server.url}/a")
    assert caught.value.details == "HTTP status 403 (AccessDenied)"


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after({"retry-after": "soon"}) is retry_after({}) is None


def test_urls_for_people_have_no_secrets() -> None:
    assert shown("https://u:p@host:8443/a%20b?Signature=x#y") == "https://host:8443/a%20b"
    assert without_user("https://u:p%40x@host/a?b=c") == ("https://host/a?b=c", "u:p@x")
    assert joined("http://u:p@host/top/", "a b/ü?.img") == "http://u:p@host/top/a%20b/%C3%BC%3F.img"


# ---------------------------------------------------------------------------------------------------------------- https


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a private authority's ca.pem, and server.pem that it signed for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("ca")
    make_authority(folder)
    return folder


def make_authority(folder: Path) -> None:
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    run([*new, "-subj", "/CN=Test CA", "-keyout", folder / "ca.key", "-out", folder / "ca.pem"])
    run([
        *new, "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-CA", folder / "ca.pem",
        "-CAkey", folder / "ca.key", "-keyout", folder / "server.key", "-out", folder / "server.crt",
    ])  # fmt: skip
    (folder / "server.pem").write_bytes((folder / "server.key").read_bytes() + (folder / "server.crt").read_bytes())


@pytest.fixture
def secure(authority: Path) -> Iterator[WebServer]:
    server = WebServer()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem")
    server.httpd.socket = context.wrap_socket(server.httpd.socket, server_side=True)
    server.url = server.url.replace("http:", "https:")
    thread = threading.Thread(target=server.httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.httpd.shutdown()
    server.httpd.server_close()
    thread.join()


def test_a_private_authority_is_trusted_when_it_is_named(secure: WebServer, authority: Path) -> None:
    assert get(Web(ca_file=authority / "ca.pem"), secure.put("/a", b"data")) == b"data"


def test_an_unknown_authority_is_refused_at_once(secure: WebServer, web: Web, pauses: list[float]) -> None:
    with pytest.raises(RepositoryError, match="certificate that is not trusted") as caught:
        get(web, f"{secure.url}/a")
    assert "ca_file" in (caught.value.resolution or "")
    assert pauses == []


def test_a_bad_ca_file_is_named(secure: WebServer, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    for name in ("bad.pem", "none.pem"):
        with pytest.raises(RepositoryError, match=name):
            get(Web(ca_file=tmp_path / name), f"{secure.url}/a")

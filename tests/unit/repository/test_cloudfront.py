import base64
import json
import logging
import subprocess
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fakes.publisher import TOP, Publisher, Verifier, canned, decoded, pem, rsa_key
from fakes.web import Fault, WebServer
from pragma_boot import log
from pragma_boot.errors import RepositoryError
from pragma_boot.model import image_name
from pragma_boot.repository.cloudfront import CloudFrontAccess, Signer, open_cloudfront
from pragma_boot.repository.patience import Patience, StatusError
from pragma_boot.repository.web import Web

RSA, OTHER = rsa_key(), rsa_key()
ECDSA = ec.generate_private_key(ec.SECP256R1())
URL = "https://d1.cloudfront.net/vc1/disk%20image.gz"
NOW = 1_800_000_000.0


def key_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "key.pem"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def words(url: str) -> dict[str, str]:
    return {key: value[0] for key, value in parse_qs(urlsplit(url).query).items()}


@pytest.mark.parametrize(
    ("key", "form", "hash_name"),
    [
        (RSA, "PKCS8", "sha1"), (RSA, "TraditionalOpenSSL", "sha1"), (RSA, "PKCS8", "sha256"),
        (ECDSA, "PKCS8", "sha1"), (ECDSA, "TraditionalOpenSSL", "sha256"),
    ],
)  # fmt: skip
def test_openssl_verifies_what_we_sign(
    tmp_path: Path, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, form: str, hash_name: str
) -> None:
    url = Signer("K1", key_file(tmp_path, pem(key, form)), hash_name, 600, lambda: NOW).canned(URL)
    assert url.startswith(f"{URL}?Expires=1800000600&Signature=")
    assert ("Hash-Algorithm=SHA256" in url) == (hash_name == "sha256")
    (tmp_path / "signature").write_bytes(decoded(words(url)["Signature"]))
    (tmp_path / "policy").write_bytes(canned(URL, "1800000600"))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public.pem").write_bytes(public)
    done = subprocess.run(
        ["openssl", "dgst", f"-{hash_name}", "-verify", "public.pem", "-signature", "signature", "policy"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert done.stdout == b"Verified OK\n"


def test_an_rsa_signature_is_openssls_own_to_the_bit(tmp_path: Path) -> None:
    key = key_file(tmp_path, pem(RSA))
    ours = words(Signer("K1", key, clock=lambda: NOW).canned(URL))["Signature"]
    policy = canned(URL, str(int(NOW) + 3600))
    argv = ["openssl", "dgst", "-sha1", "-sign", str(key)]
    theirs = subprocess.run(argv, input=policy, capture_output=True, check=True).stdout
    assert ours == base64.b64encode(theirs).decode().translate(str.maketrans("+=/", "-_~"))


def test_a_policy_with_wildcards_names_its_resource(tmp_path: Path) -> None:
    signer = Signer("K1", key_file(tmp_path, pem(RSA)), clock=lambda: NOW)
    url = signer.custom(f"{URL}?own=1", "https://d1.cloudfront.net/vc1/*")
    assert url.startswith(f"{URL}?own=1&Policy=")
    (statement,) = json.loads(decoded(words(url)["Policy"]))["Statement"]
    assert statement["Resource"] == "https://d1.cloudfront.net/vc1/*"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no key", "no private key in PEM form"),
        (pem(RSA, password=b"secret"), "encrypted"),
        (pem(rsa.generate_private_key(65537, 1024)), "2048 bits"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "P-256"),
    ],
)
def test_keys_that_cannot_sign_are_named(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(RepositoryError, match="cannot sign for CloudFront") as caught:
        Signer("K1", key_file(tmp_path, content)).canned(URL)
    assert why in (caught.value.details or "")
    assert caught.value.resolution


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match=r"none\.pem"):
        Signer("K1", tmp_path / "none.pem").canned(URL)


def test_a_key_that_others_may_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("pragma_boot").propagate = True
    Signer("K1", key_file(tmp_path, pem(RSA), 0o644)).canned(URL)
    assert "can be read by others: chmod 600" in caplog.text


@pytest.mark.parametrize("name", ["Expires", "Policy", "Signature", "Key-Pair-Id", "hash-algorithm"])
def test_a_url_with_a_parameter_of_cloudfronts_is_refused(tmp_path: Path, name: str) -> None:
    access = CloudFrontAccess(Signer("K1", key_file(tmp_path, pem(RSA))))
    with pytest.raises(RepositoryError, match="keeps for itself"):
        access.prepare(f"{URL}?{name}=x")


# ----------------------------------------------------------------------------------------------- a server that verifies


@pytest.fixture
def publisher(server: WebServer, tmp_path: Path) -> Publisher:
    made = Publisher(server, tmp_path)
    made.offer("demo")
    Verifier(server, K1=RSA.public_key(), K2=ECDSA.public_key())
    return made


def web_of(folder: Path, key_id: str = "K1", content: bytes = b"", **more: object) -> Web:
    clock = more.pop("clock", None)
    times = {"clock": clock} if clock else {}
    signer = Signer(key_id, key_file(folder, content or pem(RSA)), **more, **times)  # type: ignore[arg-type]
    return Web(CloudFrontAccess(signer, **times), patience=Patience(attempts=2, sleep=lambda _: None))  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", ["canned", "wildcard"])
@pytest.mark.parametrize(("key_id", "key"), [("K1", RSA), ("K2", ECDSA)])
@pytest.mark.parametrize("hash_name", ["sha1", "sha256"])
def test_a_repository_behind_the_verifying_server_is_fetched(
    publisher: Publisher, tmp_path: Path, policy: str, key_id: str, key: rsa.RSAPrivateKey, hash_name: str
) -> None:
    settings = publisher.with_settings(
        keypair_id=key_id, private_key_file=key_file(tmp_path, pem(key)), signature_hash=hash_name,
        signature_policy=policy,
    )  # fmt: skip
    repository = open_cloudfront(settings, publisher.locks)
    assert repository.fetch(repository.describe(image_name("demo"))).frontend.path.exists()
    assert all(one.path.count("Signature=") == 1 for one in publisher.server.asked)


def test_every_attempt_is_signed_anew(publisher: Publisher, tmp_path: Path) -> None:
    """A URL that was good for the first attempt may have expired at the second."""
    seconds = iter(range(int(NOW), int(NOW) + 100, 10))
    Verifier(publisher.server, K1=RSA.public_key()).now = lambda: NOW
    publisher.server.fail(f"{TOP}/vcdb.txt", Fault(503))
    web_of(tmp_path, clock=lambda: next(seconds), lifetime=3600).document(f"{publisher.url}/vcdb.txt", 1000)
    first, second = (words(one.path)["Expires"] for one in publisher.server.asked)
    assert int(second) > int(first)


def test_a_wrong_key_id_is_told_from_a_wrong_key(publisher: Publisher, tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="does not know the key pair") as caught:
        web_of(tmp_path, "K9").document(f"{publisher.url}/vcdb.txt", 1000)
    assert "keypair_id" in (caught.value.resolution or "")
    with pytest.raises(StatusError, match="cannot be had") as refused:
        web_of(tmp_path, "K1", pem(OTHER)).document(f"{publisher.url}/vcdb.txt", 1000)
    assert "AccessDenied" in (refused.value.details or "")
    assert f"{tmp_path}/key.pem) is the private key of the key pair K1" in (refused.value.resolution or "")


def test_a_skewed_clock_is_told_with_both_times(publisher: Publisher, tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="the clocks differ") as caught:
        web_of(tmp_path, clock=lambda: 1_600_000_000.0).document(f"{publisher.url}/vcdb.txt", 1000)
    assert "here it is 2020-09-13 12:26:40 UTC" in (caught.value.details or "")
    assert "ahead" in (caught.value.details or "")


@pytest.mark.parametrize(("late", "lifetime"), [(90, 60), (4000, 3600)])
def test_an_expired_policy_is_told(publisher: Publisher, tmp_path: Path, late: int, lifetime: int) -> None:
    """The server is right, and refuses by the time in the policy alone."""
    now = time.time()
    with pytest.raises(
        RepositoryError, match="the policy had expired when it arrived, for the clocks differ"
    ) as caught:
        web_of(tmp_path, clock=lambda: now - late, lifetime=lifetime).document(f"{publisher.url}/vcdb.txt", 1000)
    assert "timedatectl" in (caught.value.resolution or "")


def test_signatures_are_in_no_message_log_or_state(publisher: Publisher, tmp_path: Path) -> None:
    log.set_up(tmp_path / "log", "DEBUG")
    key = key_file(tmp_path, pem(RSA))
    settings = publisher.with_settings(keypair_id="K1", private_key_file=key)
    repository = open_cloudfront(settings, publisher.locks)
    publisher.server.fail(f"{TOP}/demo/disk.img.gz", Fault(503), Fault(404))
    assert repository.sync(dry_run=True).failed == ()
    assert repository.sync().failed
    with pytest.raises(StatusError) as caught:
        web_of(tmp_path).document(f"{publisher.url}/none", 1000)
    states = [path.read_text() for path in tmp_path.rglob(".fetch/*.json")]
    for text in ((tmp_path / "log").read_text(), caught.value.message, caught.value.details or "", *states):
        assert "Signature" not in text
        assert "Expires" not in text

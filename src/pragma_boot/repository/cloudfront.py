"""Repository class `cloudfront`: class `http` behind Amazon CloudFront, with every request signed (repositories.md 5).

Each attempt is signed anew, for it may come long after the one before. Signed URLs are in no message, log or file.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import stat
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from pragma_boot.config.settings import RepositorySettings
from pragma_boot.connect import shown, without_user
from pragma_boot.errors import PragmaError, RepositoryError
from pragma_boot.repository.http import HttpRepository, new_web
from pragma_boot.repository.web import Access, Request

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_log = logging.getLogger(__name__)

_RESERVED = ("expires", "policy", "signature", "key-pair-id", "hash-algorithm")
_SKEW = 120  # seconds that two clocks may differ without a word
_CODE = re.compile(rb"<Code>([A-Za-z]{1,64})</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]{1,300})</Message>")


class Signer:
    """Signs URLs with one key pair.

    key_id: the public key's id in CloudFront. key_file: the private key, PEM (PKCS#1, PKCS#8 or SEC1; RSA or ECDSA).
    hash_name: `sha1` or `sha256`. lifetime: seconds that a URL is good for. clock: seconds since 1970.
    """

    def __init__(
        self,
        key_id: str,
        key_file: Path,
        hash_name: str = "sha1",
        lifetime: int = 3600,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key_id, self._key_file, self._hash_name = key_id, key_file, hash_name
        self.lifetime, self._clock = lifetime, clock
        self.about = f"private_key_file ({key_file}) is the private key of the key pair {key_id}"

    def canned(self, url: str) -> str:
        """The URL signed for itself alone. Raises RepositoryError when the key cannot be used."""
        expires = int(self._clock()) + self.lifetime
        policy = _policy(url, {"DateLessThan": {"AWS:EpochTime": expires}})
        return self._signed(url, f"Expires={expires}", policy)

    def custom(self, url: str, resource: str) -> str:
        """The URL signed by a policy for *resource*, in which ``*`` and ``?`` are wildcards. Raises as `canned`."""
        policy = _policy(resource, {"DateLessThan": {"AWS:EpochTime": int(self._clock()) + self.lifetime}})
        return self._signed(url, f"Policy={_encoded(policy)}", policy)

    def sign(self, data: bytes) -> bytes:
        """The signature of *data*: PKCS#1 v1.5 for RSA, DER for ECDSA. Raises RepositoryError."""
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec, padding  # noqa: PLC0415

        algorithm = hashes.SHA256() if self._hash_name == "sha256" else hashes.SHA1()  # noqa: S303 - CloudFront's default
        key = self._key
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key.sign(data, ec.ECDSA(algorithm))
        return key.sign(data, padding.PKCS1v15(), algorithm)

    @cached_property
    def _key(self) -> RSAPrivateKey | EllipticCurvePrivateKey:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

        try:
            data = self._key_file.read_bytes()
            if self._key_file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                _log.warning("%s can be read by others: chmod 600 %s", self._key_file, self._key_file)
            key = load_pem_private_key(data, None)
        except OSError as error:
            raise self._unusable(error.strerror or str(error), "name the file as private_key_file") from error
        except TypeError as error:
            raise self._unusable("it is encrypted", "take the password away: openssl pkey -in OLD -out NEW") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise self._unusable("it is no private key in PEM form", "download it from AWS once more") from error
        small = isinstance(key, rsa.RSAPrivateKey) and key.key_size == 2048
        if not small and not (isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1"):
            raise self._unusable("CloudFront takes RSA keys of 2048 bits and ECDSA keys on P-256", "make such a key")
        assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
        return key

    def _signed(self, url: str, how: str, policy: bytes) -> str:
        words = [how, f"Signature={_encoded(self.sign(policy))}", f"Key-Pair-Id={quote(self._key_id, safe='')}"]
        if self._hash_name == "sha256":
            words.append("Hash-Algorithm=SHA256")
        return f"{url}{'&' if urlsplit(url).query else '?'}{'&'.join(words)}"

    def _unusable(self, why: str, mend: str) -> RepositoryError:
        return RepositoryError(
            f"the key {self._key_file} cannot sign for CloudFront",
            details=why,
            resolution=f"{mend}; see repository_settings in site_conf.conf",
        )


class CloudFrontAccess(Access):
    """Requests that *signer* signs: each URL for itself, or by a policy for all that match *resource* where given."""

    def __init__(self, signer: Signer, resource: str = "", clock: Callable[[], float] = time.time) -> None:
        self._signer, self._resource, self._clock = signer, resource, clock

    def prepare(self, url: str) -> Request:
        """Sign *url* for one attempt. Raises RepositoryError when that is not possible."""
        names = {word.partition("=")[0].lower() for word in urlsplit(url).query.split("&")}
        if names & set(_RESERVED):
            raise RepositoryError(
                f"{shown(url)} has a parameter that CloudFront keeps for itself",
                details=", ".join(sorted(names & set(_RESERVED))),
                resolution="write repository_url without signing parameters: each request is signed by itself",
            )
        return Request(self._signer.custom(url, self._resource) if self._resource else self._signer.canned(url))

    def judge(self, status: int, headers: Mapping[str, str], body: bytes) -> PragmaError | None:
        """What a 403 of CloudFront most likely means."""
        code = _found(_CODE, body)
        late = self._skew(headers)
        if status != 403:
            return None
        if late is not None and abs(late) > min(_SKEW, self._signer.lifetime):
            here = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self._clock()))
            where = "ahead" if late > 0 else "behind"
            expired = "the policy had expired when it arrived, for " if late >= self._signer.lifetime else ""
            return RepositoryError(
                f"CloudFront refuses the signature: {expired}the clocks differ",
                details=f"here it is {here}, the server's clock is {abs(late):.0f} s {where}",
                resolution="set this machine's clock (timedatectl set-ntp true), then repeat",
            )
        if code in ("MissingKey", "InvalidKey") or "key" in code.lower():
            return RepositoryError(
                "CloudFront does not know the key pair",
                details=f"{code}: {_found(_MESSAGE, body)}",
                resolution="mend keypair_id and private_key_file in site_conf.conf; the key must be in a trusted key"
                " group of the distribution",
            )
        return None

    def mend(self, status: int) -> str:
        """See `Access.mend`: one answer for a signature by another key, and for what is not there."""
        if status != 403:
            return ""
        return (
            f"see that {self._signer.about} (`openssl pkey -in FILE -pubout` must print the public key that CloudFront"
            " has), that the pair is in a trusted key group, and that the object is there"
        )

    def _skew(self, headers: Mapping[str, str]) -> float | None:
        """How many seconds the server's clock is ahead of ours."""
        try:
            return parsedate_to_datetime(headers.get("date", "")).timestamp() - self._clock()
        except (TypeError, ValueError):
            return None


def open_cloudfront(settings: RepositorySettings, locks: Path) -> HttpRepository:
    """The repository that these settings name; the key is read by the first request."""
    others = settings.others
    signer = Signer(
        str(others["keypair_id"]), Path(str(others["private_key_file"])),
        str(others.get("signature_hash") or "sha1"), int(str(others.get("url_lifetime") or 3600)),
    )  # fmt: skip
    top = without_user(str(others["repository_url"]))[0].rstrip("/")
    access = CloudFrontAccess(signer, f"{top}/*" if others.get("signature_policy") == "wildcard" else "")
    return HttpRepository(settings, locks, new_web(settings, access))


def _policy(resource: str, condition: Mapping[str, object]) -> bytes:
    """A policy's text; CloudFront makes the canned one itself from the request, so not a blank may differ."""
    statement = {"Statement": [{"Resource": resource, "Condition": condition}]}
    return json.dumps(statement, separators=(",", ":"), ensure_ascii=False).encode()


def _encoded(data: bytes) -> str:
    """Base64 in CloudFront's alphabet."""
    return base64.b64encode(data).decode().translate(str.maketrans("+=/", "-_~"))


def _found(pattern: re.Pattern[bytes], body: bytes) -> str:
    match = pattern.search(body)
    return match[1].decode(errors="replace") if match else ""

"""The keys of `repository_settings`: one row each."""

from __future__ import annotations

from pragma_boot.config import values
from pragma_boot.config.key import Key

REPOSITORY_CLASSES = ("local", "http", "cloudfront", "clonezilla")

_REMOTE = ("http", "cloudfront", "clonezilla")
_CLONEZILLA = ("clonezilla",)
_CLOUDFRONT = ("cloudfront",)
_ASSEMBLED = ("local", "http", "cloudfront")

REPOSITORY_KEYS: tuple[Key, ...] = (
    Key(
        "repository_class",
        values.choice(*REPOSITORY_CLASSES),
        "Where images come from: a folder of this machine, a web server, CloudFront, or Clonezilla images.",
        default="local",
        example="local",
    ),
    Key(
        "repository_dir",
        values.path,
        "The folder with the catalog and one folder per image; for remote classes, where they are kept here.",
        required=True,
        example="/var/lib/pragma_boot/images",
    ),
    Key(
        "vcdb_filename",
        values.text,
        "The catalog's file name: relative to repository_dir, or absolute.",
        default="vcdb.txt",
        example="vcdb.txt",
    ),
    Key(
        "cache_dir",
        values.optional_path,
        "Where disks that come packed or in parts are kept unpacked.",
        absent="`cache` in the state folder",
        example="/var/lib/pragma_boot/cache",
    ),
    Key(
        "cache_format",
        values.choice("raw", "qcow2"),
        "What these are kept as. Raw files are sparse; qcow2 is for file systems without holes. Qcow2 disks stay so.",
        default="raw",
        example="qcow2",
        only=_ASSEMBLED,
    ),
    Key(
        "repository_url",
        values.url,
        "Base URL of the remote repository; for clonezilla also a Google Drive folder's URL or id, or a folder here.",
        default="",
        example="https://images.example.org/pragma",
        required_by=_REMOTE,
    ),
    Key(
        "manifest",
        values.optional_text,
        "Name of the file of checksums beside the catalog, when it is not found by itself.",
        default="",
        example="SHA256SUMS",
        only=_REMOTE,
    ),
    Key(
        "manifest_signers",
        values.optional_path,
        "Who may sign the index `vcdb.json`, as ssh-keygen(1) has it under ALLOWED SIGNERS; unsigned ones are refused.",
        absent="an index need not be signed",
        example="/etc/pragma_boot/publishers",
        only=_REMOTE,
    ),
    Key(
        "ca_file",
        values.optional_path,
        "Certificates (PEM) of a private authority that signed the server's.",
        absent="the system's authorities",
        example="/etc/ssl/site-ca.pem",
        only=_REMOTE,
    ),
    Key(
        "keypair_id",
        values.text,
        "Id of the CloudFront key pair that signs URLs.",
        example="APKAEXAMPLE",
        only=_CLOUDFRONT,
        required_by=_CLOUDFRONT,
    ),
    Key(
        "private_key_file",
        values.path,
        "File with the private key of that pair, readable for its owner only.",
        example="/etc/pragma_boot/cloudfront.pem",
        only=_CLOUDFRONT,
        required_by=_CLOUDFRONT,
    ),
    Key(
        "signature_hash",
        values.choice("sha1", "sha256"),
        "Hash that URLs are signed with.",
        default="sha1",
        example="sha256",
        only=_CLOUDFRONT,
    ),
    Key(
        "signature_policy",
        values.choice("canned", "wildcard"),
        "Sign each URL for itself, or all by one policy for everything below repository_url.",
        default="canned",
        example="wildcard",
        only=_CLOUDFRONT,
    ),
    Key(
        "url_lifetime",
        values.whole(60, 7 * 86400),
        "How long a signed URL is good for, seconds.",
        default=3600,
        example=86400,
        only=_CLOUDFRONT,
    ),
    Key(
        "cziso",
        values.optional_path,
        "The cziso program, to restore Clonezilla images with it.",
        absent="images are restored by pragma itself",
        example="/opt/cziso/bin/cziso",
        only=_CLONEZILLA,
    ),
    Key(
        "local_image_url",
        values.text,
        "What images are restored to: `file://$repository_dir/$imagename` with `.raw`, `.img` or `.qcow2`, or"
        " `zfs://NAS/POOL/$imagename-vol`. `$repository_dir` is the image's own folder.",
        example="file://$repository_dir/$imagename.qcow2",
        only=_CLONEZILLA,
        required_by=_CLONEZILLA,
    ),
    Key(
        "include_images",
        values.patterns,
        "Take only images whose names match (regular expressions, anchored at the start).",
        default="",
        example="rocks-.*",
        only=_CLONEZILLA,
    ),
    Key(
        "exclude_images",
        values.patterns,
        "Leave out images whose names match, also where include_images takes them.",
        default="",
        example=".*-test",
        only=_CLONEZILLA,
    ),
    Key(
        "keep_isos",
        values.boolean,
        "Keep downloaded ISO files after they were restored.",
        default=False,
        example=True,
        only=_CLONEZILLA,
    ),
    Key(
        "google_api_key",
        values.optional_text,
        "API key to list a public Google Drive folder.",
        default="",
        example="AIzaExample",
        only=_CLONEZILLA,
        secret=True,
    ),
    Key(
        "google_credentials",
        values.optional_path,
        "JSON file with the key of a Google service account, for folders that are not public.",
        absent="the API key is used",
        example="/etc/pragma_boot/google.json",
        only=_CLONEZILLA,
    ),
    Key(
        "google_api_endpoint",
        values.web_url,
        "Where Google Drive's API is.",
        default="https://www.googleapis.com",
        example="http://127.0.0.1:8080",
        only=_CLONEZILLA,
    ),
    Key(
        "resource_keys",
        values.text_map,
        "Resource keys of old shared Google Drive folders, by folder id.",
        default={},
        example={"FOLDERID": "0-KEY"},
        only=_CLONEZILLA,
        secret=True,
    ),
)


def repository_keys(repository_class: str) -> tuple[Key, ...]:
    """The rows that a repository class has."""
    return tuple(key for key in REPOSITORY_KEYS if not key.only or repository_class in key.only)

"""User data in every wrapping."""

from __future__ import annotations

import base64
import gzip
import textwrap
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest

from pragma_boot.agent.document import LIMIT
from pragma_boot.agent.userdata import unpacked
from pragma_boot.errors import GuestError

XML = b'<?xml version="1.0" encoding="utf-8"?>\n<vc version="2.0">\n  <key>a &amp; b\nc</key>\n</vc>\n'
B64 = base64.b64encode(XML)


def mime(*parts: MIMEText | MIMEApplication) -> bytes:
    message = MIMEMultipart()
    for part in parts:
        message.attach(part)
    return message.as_bytes()


def cloud_config(entry: str) -> bytes:
    head = "#cloud-config\nusers: []\nwrite_files:\n- path: /etc/motd\n  content: hello\n"
    return (head + entry + "runcmd:\n- [true]\n").encode()


BLOCK = textwrap.indent(XML.decode(), "    ")
WRAPPED = {
    "as it is": XML,
    "with a byte order mark": b"\xef\xbb\xbf" + XML,
    "base64": B64,
    "base64 in lines": base64.encodebytes(XML),
    "gzip": gzip.compress(XML),
    "base64 of gzip": base64.b64encode(gzip.compress(XML)),
    "gzip of base64": gzip.compress(B64),
    "a MIME part": mime(MIMEText("#!/bin/sh\n", "x-shellscript"), MIMEText(XML.decode(), "xml")),
    "a MIME part in base64": mime(MIMEApplication(XML)),
    "a packed MIME part": mime(MIMEApplication(gzip.compress(XML), "gzip")),
    "gzip of MIME": gzip.compress(mime(MIMEText(XML.decode(), "xml"))),
    "cloud-config": cloud_config(f"- content: |\n{BLOCK}  path: /root/vc-out.xml\n  permissions: '0600'\n"),
    "cloud-config, path first": cloud_config(
        f"  - path: '/root/vc-out.xml'\n    content: |2\n{textwrap.indent(BLOCK, '  ')}"
    ),
    "cloud-config in base64": cloud_config(f"- path: /root/vc-out.xml\n  encoding: b64\n  content: {B64.decode()}\n"),
    "cloud-config, packed": cloud_config(
        '- encoding: gz+b64\n  path: "/root/vc-out.xml"\n  content: '
        + base64.b64encode(gzip.compress(XML)).decode()
        + "\n"
    ),
    "cloud-config in MIME": mime(
        MIMEText(cloud_config(f"- path: /root/vc-out.xml\n  content: |\n{BLOCK}").decode(), "cloud-config")
    ),
}


@pytest.mark.parametrize("case", WRAPPED)
def test_the_document_is_found(case: str) -> None:
    assert unpacked(WRAPPED[case]).split() == XML.split()


DEEP = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (level, level) for level in range(2000))
REFUSED = {
    "empty": (b"", "empty"),
    "blank": (b" \n\0", "empty"),
    "a script": (b"#!/bin/sh\necho <vc/>\n", "no vc-out"),
    "cloud-config for others": (
        b"#cloud-config\nwrite_files:\n- path: /etc/motd\n  content: x\n",
        "no /root/vc-out.xml",
    ),
    "MIME for others": (mime(MIMEText("#!/bin/sh\n", "x-shellscript")), "none of its 1 parts"),
    "cut off gzip": (gzip.compress(XML)[:-20], "cut off gzip"),
    "broken gzip": (gzip.compress(XML)[:10] + b"xxxxxxxxxxxxx", "broken gzip"),
    "a gzip bomb": (gzip.compress(b"<" + b"\0" * (64 * LIMIT)), "more than"),
    "a gzip bomb in base64": (base64.b64encode(gzip.compress(b"<" + b"\0" * (64 * LIMIT))), "more than"),
    "onions": (gzip.compress(gzip.compress(gzip.compress(gzip.compress(gzip.compress(XML))))), "wrapped too often"),
    "too much": (b"<" + b" " * LIMIT, "larger than"),
    "base64 cut off": (B64[:-3], "broken base64"),
    "blanks that might be base64": (b"A" + b" " * (LIMIT - 2) + b"!", "no vc-out"),
    "a line of cloud-config that never ends": (
        b"#cloud-config\nwrite_files:\n- path: x" + b" " * (LIMIT - 100) + b"y\n",
        "no /root/vc-out.xml",
    ),
    "a message of messages": (DEEP, "too many levels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_holds_none_is_refused(case: str) -> None:
    data, why = REFUSED[case]
    with pytest.raises(GuestError) as raised:
        unpacked(data)
    assert why in f"{raised.value.message}: {raised.value.details}"

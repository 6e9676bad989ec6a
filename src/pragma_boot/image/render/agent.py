"""Images that carry our guest agent: it must know what was prepared on the host, and leave it alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pragma_boot.image.base import Edit, Write

STATE = "/var/lib/pragma-guest"
APPLIED = f"{STATE}/applied.sha256"
"""The hash of the document that was applied last, then the paths of all files that were written for it, a line each."""


def applied_mark(vc_out: bytes, edits: Sequence[Edit]) -> Write:
    """The record that *edits* have made a node of the document *vc_out*."""
    paths = [edit.path for edit in edits if isinstance(edit, Write)]
    lines = [hashlib.sha256(vc_out).hexdigest(), *dict.fromkeys(paths)]
    return Write(APPLIED, ("\n".join(lines) + "\n").encode(), 0o600)

"""The commands, one module each; a new one is a module with a COMMAND and a line in the table below."""

from __future__ import annotations

from collections.abc import Mapping

COMMANDS: Mapping[str, str | Mapping[str, str]] = {
    "boot": "boot",
    "list": {"cluster": "list_cluster", "repository": "list_repository", "help": "list_help"},
    "ssh": "ssh",
    "console": "console",
    "shutdown": "shutdown",
    "start": "start",
    "clean": "clean",
    "sync": {"repository": "sync_repository"},
    "repository": {"index": "repository_index"},
    "image": {"build": "image_build", "agent": "image_agent", "publish": "image_publish"},
    "serve": {"exchange": "serve_exchange"},
    "exchange": {"token": "exchange_token", "list": "exchange_list", "remove": "exchange_remove"},
    "init": "init",
    "check": {"site": "check_site"},
    "completion": "completion",
    "help": "help",
    "version": "version",
}
"""Word → module, or a further table for words that lead on; in the help's order."""

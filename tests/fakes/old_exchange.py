"""An exchange of the old program's time: it knows put and get alone, and takes them by GET alone (guest.md 6.2)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

Keep = Callable[[str], str]


def decoded(query: str) -> str:
    """As a script does that keeps its language's parsed words."""
    return "".join(f"{key}={value}\n" for key, value in parse_qsl(query) if key not in ("jobId", "action"))


def raw(query: str) -> str:
    """As a script does that keeps the query's words as they came."""
    return "".join(f"{word}\n" for word in query.split("&") if not word.startswith(("jobId=", "action=")))


def mangled(query: str) -> str:
    """As a script does that decodes twice: each '+' of a key becomes a blank."""
    return unquote_plus(decoded(query))


class OldExchange:
    """jobs: what is kept, by job. asked: (method, query) of each request. status: of all answers.

    broken_put: how many puts fail, as a server does that is overloaded.
    """

    def __init__(self, keep: Keep) -> None:
        self.jobs: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.status, self.location, self.broken_put = 200, "", 0
        exchange = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                exchange.answer(self, keep)

            def do_POST(self) -> None:
                exchange.answer(self, keep)

            def log_message(self, *_: Any) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}/ipop/exchange.php?jobId=123"

    def answer(self, to: BaseHTTPRequestHandler, keep: Keep) -> None:
        query = urlsplit(to.path).query
        self.asked.append((to.command, query))
        words = dict(parse_qsl(query))
        job, action = words.get("jobId", ""), words.get("action")
        status = self.status
        if action == "put" and self.broken_put:
            status, self.broken_put = 503, self.broken_put - 1
        if status == 200 and action == "put" and to.command == "GET":
            self.jobs[job] = keep(query)
        body = self.jobs.get(job, "").encode() if action == "get" else b""
        to.send_response(status)
        if self.location:
            to.send_header("Location", self.location)
        to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        to.wfile.write(body)


@contextmanager
def old_exchange(keep: Keep = decoded) -> Iterator[OldExchange]:
    """A running one, on a port of its own."""
    exchange = OldExchange(keep)
    thread = threading.Thread(target=exchange.httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield exchange
    finally:
        exchange.httpd.shutdown()
        exchange.httpd.server_close()
        thread.join()

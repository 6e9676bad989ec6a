"""The cloud on a port of the loopback interface."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .cloud import Answer, Cloud

PATH = "/client/api"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Server:
    """port 0: any free one. It serves from :meth:`start` until :meth:`close`."""

    def __init__(self, cloud: Cloud, port: int = 0) -> None:
        self.cloud = cloud
        self._ending = threading.Event()
        handler = type("Handler", (_Handler,), {"cloud": cloud, "ending": self._ending})
        self._httpd = _Server(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self._httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.url = f"http://127.0.0.1:{self._httpd.server_address[1]}{PATH}"
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def start(self) -> None:
        self._thread.start()
        if self.cloud.clock.speed is not None:
            self._ticker.start()

    def close(self) -> None:
        self._ending.set()
        self._httpd.shutdown()
        self._httpd.server_close()
        self._thread.join()
        if self._ticker.is_alive():
            self._ticker.join()

    def _tick(self) -> None:
        """Jobs go on while nobody asks."""
        while not self._ending.wait(0.1):
            self.cloud.tick()


class _Handler(BaseHTTPRequestHandler):
    cloud: Cloud
    ending: threading.Event
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._send(Answer(405, {}, b""))

    do_DELETE = do_PUT  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path.rstrip("/")
        if path.startswith("/__fake__/"):
            return self._send(_control(self.cloud, self.command, path.removeprefix("/__fake__/"), self.path, body))
        if path != PATH:
            return self._send(Answer(404, {"Content-Type": "text/html"}, b"<html>HTTP ERROR 404 Not Found</html>"))
        answer = self.cloud.request(self.command, self.path, body)
        time.sleep(answer.delay)
        if answer.hung is not None:
            self.ending.wait(answer.hung or None)
        if answer.dropped:
            self.close_connection = True
            return None
        return self._send(answer)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        try:
            self.wfile.write(answer.body)
        except OSError:  # a client that gave up
            self.close_connection = True


def _control(cloud: Cloud, method: str, what: str, target: str, body: bytes) -> Answer:
    """For tests that are not in this process: state, log, advance?s=, and faults to POST (a JSON object each)."""
    with cloud.lock:
        made: Any
        if what == "state":
            made = cloud.snapshot().to_json()
        elif what == "log":
            made = [dataclasses.asdict(one) for one in cloud.log]
        elif what == "violations":
            made = cloud.violations
        elif what == "advance":
            cloud.advance(float(dict(parse_qsl(urlsplit(target).query)).get("s", "0")))
            made = {"now": cloud.clock.now()}
        elif what == "faults" and method == "POST":
            try:
                given = json.loads(body)
                made = dataclasses.asdict(cloud.faults.add(**given))
            except (TypeError, ValueError) as error:
                return Answer(400, {"Content-Type": "text/plain"}, str(error).encode())
        elif what == "faults":
            made = [dataclasses.asdict(one) for one in cloud.faults.rules]
        else:
            return Answer(404, {}, b"")
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(made).encode())


@contextmanager
def serving(cloud: Cloud | None = None, port: int = 0) -> Iterator[Server]:
    """*cloud* on a port; at the end of a test that went well, :meth:`Cloud.check` is asked too."""
    server = Server(cloud or Cloud(), port)
    server.start()
    try:
        yield server
    finally:
        server.close()
    server.cloud.check()

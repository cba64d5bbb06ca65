"""A proxy in front of an object store that counts the requests that reach it, and can refuse some.

An emulator of S3 or of Google's storage serves as the store: what is counted is what is asked for,
and would be paid for, whatever the store.
"""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"}
_LISTS = {"list-type", "prefix", "delimiter", "maxResults", "max-keys", "encoding-type"}


def kind_of(method: str, path: str) -> str:
    """What a request does: list, look, read, write or delete.

    `look` asks for the size of a file, its checksum or whether it is there.
    """
    asked = urlsplit(path)
    query = parse_qs(asked.query, keep_blank_values=True)
    if method == "DELETE" or "delete" in query:
        return "delete"
    if method in ("PUT", "POST"):
        return "write"
    is_google = asked.path.startswith(("/storage/v1/", "/download/"))
    if method == "HEAD" or (is_google and "/o/" in asked.path and query.get("alt") != ["media"]):
        return "look"
    return "list" if query.keys() & _LISTS or asked.path.endswith("/o") else "read"


class Counted:
    """What has been asked of a store. refuse: gives an HTTP status for a request, by its number,
    its method and its path, that is refused, and 0 for the others."""

    def __init__(self, refuse: Callable[[int, str, str], int] = lambda *_: 0) -> None:
        self.kinds: Counter[str] = Counter()
        self.refused = 0
        self.url = ""
        self._refuse = refuse
        self._lock = threading.Lock()

    def count(self, method: str, path: str) -> int:
        """Count one request; the status that it is refused with, or 0."""
        with self._lock:
            status = self._refuse(self.kinds.total() + self.refused, method, path)
            if status:
                self.refused += 1
            else:
                self.kinds[kind_of(method, path)] += 1
            return status


@contextmanager
def counted(store: str, refuse: Callable[[int, str, str], int] = lambda *_: 0) -> Iterator[Counted]:
    """Have requests to `url` of what this gives counted and passed on to a store at HOST:PORT."""
    counts = Counted(refuse)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = _body(self)
            status = counts.count(self.command, self.path)
            if status:
                _answer(self, status, [], _REFUSALS.get(status, b""))
                return
            connection = http.client.HTTPConnection(store, timeout=60)
            try:
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                headers = [
                    (name, value.replace(f"http://{store}", counts.url))
                    for name, value in answer.getheaders()
                ]
                _answer(self, answer.status, headers, answer.read())
            finally:
                connection.close()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = _pass_on

        def log_message(self, *_: Any) -> None:
            """Nothing: there are thousands."""

    with ThreadingHTTPServer(("localhost", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        counts.url = f"http://localhost:{server.server_address[1]}"
        try:
            yield counts
        finally:
            server.shutdown()


_REFUSALS = {
    403: b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
    503: b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
}
"""As S3 puts it; Google's clients look at the status."""


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if "chunked" in request.headers.get("Transfer-Encoding", ""):
        chunks = b""
        while size := int(request.rfile.readline().split(b";")[0], 16):
            chunks += request.rfile.read(size)
            request.rfile.readline()
        request.rfile.readline()
        del request.headers["Transfer-Encoding"]
        return chunks
    return request.rfile.read(int(request.headers.get("Content-Length", 0)))


def _answer(
    request: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], body: bytes
) -> None:
    request.send_response(status)
    length = str(len(body))
    for name, value in headers:
        if name.lower() not in _HOP_BY_HOP:
            request.send_header(name, value)
        elif name.lower() == "content-length" and request.command == "HEAD":
            length = value
    request.send_header("Content-Length", length)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)

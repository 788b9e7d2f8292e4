"""A proxy that stands before the real store and does to requests what networks do."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Callable, Container
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

CONDITIONS = ("if-none-match", "if-match")
FAULTS = {
    "cut": "the connection is cut before anything is forwarded",
    "torn": "half of the body is forwarded, then both connections are cut",
    "lost": "it is forwarded, and the connection is cut in place of an answer",
    "twice": "it is forwarded twice, and the second answer is returned",
    "again": "it is forwarded, and once more after `delay`, when nobody expects it",
    "slow": "it is forwarded after `delay`",
    "unavailable": "it is answered with 503",
}


class Reply(NamedTuple):
    """What is answered."""

    status: int
    headers: list[tuple[str, str]]
    data: bytes


class FaultyProxy(ThreadingHTTPServer):
    """Forwards to `target`. The client is configured with `proxy.endpoint`; Host is forwarded as it came, so that
    signatures hold. Set the attributes at any time:

    Attributes:
        drop: names of headers to drop from PUTs, such as `If-Match`. Others have signed theirs.
        lose: which conditional PUTs (1 is the first that came through this proxy) are forwarded and carried out, while
            their answers are lost; `{3}`, or `range(1, 999, 2)` for every first try.
        answer: statuses to answer the next requests with, without forwarding them.
        say: (status, headers, body) to answer every request with, without forwarding it.
        refuse: close every connection without a word.
        twist: called with the method and the path of every request, and with what forwards it; gives the answer.
        play: given a method, says what is done to one request of it, out of `FAULTS`; empty: nothing.
        delay: seconds, see `FAULTS`.
        seen: (method, path without the query) of every request forwarded.
        conditional: how many conditional PUTs came.
    """

    daemon_threads = True

    def __init__(self, target: str, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.target = target
        self.endpoint = f"127.0.0.1:{self.server_address[1]}"
        self.drop: set[str] = set()
        self.lose: Container[int] = ()
        self.answer: list[int] = []
        self.say: tuple[int, dict[str, str], bytes] | None = None
        self.refuse = False
        self.twist: Callable[[str, str, Callable[[], Reply]], Reply] = lambda method, path, forward: forward()
        self.play: Callable[[str], str] = lambda method: ""
        self.delay = 0.0
        self.seen: list[tuple[str, str]] = []
        self.conditional = 0
        self.lock = threading.Lock()

    def __enter__(self) -> FaultyProxy:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def begin_later(self, act: Callable[[], object]) -> None:
        """Do something after `delay`; what goes wrong with it is part of the play."""

        def late() -> None:
            with suppress(OSError, http.client.HTTPException):
                act()

        timer = threading.Timer(self.delay, late)
        timer.daemon = True
        timer.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silence: clients that hang up are part of the play."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FaultyProxy

    def forward(self) -> None:
        proxy = self.server
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        request = self.command, self.path  # by the time of `again` this connection may be at another one
        dropped = {name.lower() for name in proxy.drop} if self.command == "PUT" else ()
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in dropped]
        with proxy.lock:
            conditional = self.command == "PUT" and any(name in self.headers for name in CONDITIONS)
            proxy.conditional += conditional
            lost = conditional and proxy.conditional in proxy.lose
            status = proxy.answer.pop(0) if proxy.answer else None
            fault = proxy.play(self.command)
        if proxy.refuse or fault in ("cut", "torn"):
            self.close_connection = True
            if fault == "torn" and body:
                self.send(request, headers, body[: len(body) // 2]).close()
            return
        if fault == "unavailable":
            status = 503
        if proxy.say is not None:
            status, said, data = proxy.say
            return self.reply(status, list(said.items()), data)
        if status is not None:
            return self.reply(status, [], b"")
        proxy.seen.append((self.command, unquote(urlsplit(self.path).path)))
        if len(body) < length:  # the client has hung up
            self.close_connection = True
            return self.send(request, headers, body).close()
        if fault == "slow":
            time.sleep(proxy.delay)

        def forward() -> Reply:
            upstream = self.send(request, headers, body)
            try:
                answer = upstream.getresponse()
                return Reply(answer.status, answer.getheaders(), answer.read())
            finally:
                upstream.close()

        reply = proxy.twist(*request, forward)
        if fault == "twice":
            reply = forward()
        if fault == "again":
            proxy.begin_later(forward)
        if lost or fault == "lost":
            self.close_connection = True
            return
        self.reply(*reply)

    def send(self, request: tuple[str, str], headers: list[tuple[str, str]], body: bytes) -> http.client.HTTPConnection:
        upstream = http.client.HTTPConnection(self.server.target, timeout=60)
        upstream.putrequest(*request, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            upstream.putheader(name, value)
        upstream.endheaders(body)
        return upstream

    def reply(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward

    def log_message(self, *_: object) -> None:
        """Silence."""

"""The few answers of a Model Registry that a registration needs, over HTTP.

The real server is a Go program over MySQL, neither of which is here. Its requests are read, and its answers written,
by the classes that the client's authors generate from the server's OpenAPI document; those refuse what is not in it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mr_openapi import models

CREATE = {
    "registered_models": models.RegisteredModelCreate,
    "model_versions": models.ModelVersionCreate,
    "artifacts": models.Artifact,
}


class ModelRegistry:
    """What is registered, by kind, as JSON.

    Attributes:
        refuse: kind of thing -> the status that creating one is answered with.
        tokens: that came with the requests.
    """

    def __init__(self) -> None:
        self.kept: dict[str, list[dict[str, Any]]] = {kind: [] for kind in CREATE}
        self.refuse: dict[str, int] = {}
        self.tokens: set[str | None] = set()
        self.address = ""

    def find(self, kind: str, name: str, parent: str) -> dict[str, Any] | None:
        """Return the one of this name and parent."""
        return next((one for one in self.kept[kind] if (one["name"], one["parent"]) == (name, parent)), None)

    def create(self, kind: str, body: str, parent: str) -> dict[str, Any]:
        """Keep a new one; the real server refuses a second of the same name and parent, and so does this."""
        made = CREATE[kind].from_json(body).to_dict()
        made |= {"id": str(len(self.kept[kind]) + 1), "parent": made.get("registeredModelId", parent)}
        assert self.find(kind, made["name"], made["parent"]) is None
        self.kept[kind].append(made)
        return made


@contextmanager
def running() -> Iterator[ModelRegistry]:
    """Serve one on loopback."""
    registry = ModelRegistry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._note()
            url = urlsplit(self.path)
            kind = url.path.rpartition("/")[2]
            if kind == "registered_models":
                page = {"items": registry.kept[kind], "nextPageToken": "", "pageSize": 1, "size": 1}
                return self._answer(200, page)
            kinds = {"registered_model": "registered_models", "model_version": "model_versions"}
            query = parse_qs(url.query)
            parent = query.get("parentResourceId", [""])[0]
            found = registry.find(kinds.get(kind, "artifacts"), query["name"][0], parent)
            return self._answer(200, found) if found else self._answer(404, {"code": "", "message": "not found"})

        def do_POST(self) -> None:
            self._note()
            *_, parent, kind = self.path.split("/")
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if status := registry.refuse.get(kind):
                return self._answer(status, {"code": "", "message": "refused"})
            return self._answer(201, registry.create(kind, body, parent if kind == "artifacts" else ""))

        def _note(self) -> None:
            registry.tokens.add(self.headers["Authorization"])

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            data = json.dumps({name: value for name, value in document.items() if name != "parent"}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    registry.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()

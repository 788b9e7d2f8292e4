"""Hand-written answers in the shape of the APIs of Kubeflow Pipelines and Kubernetes, for their real clients."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Kubeflow(ThreadingHTTPServer):
    """Enough of Kubeflow Pipelines and Kubernetes to remember what it was told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.multi_user = False
        self.refusal: tuple[int, bytes] | None = None
        self.requests: list[tuple[str, str, dict[str, list[str]]]] = []
        self.kept: dict[str, list[dict[str, Any]]] = {
            kind: []
            for kind in (
                *("experiments", "runs", "recurringruns", "pipelines", "versions"),
                *("pods", "events", "workflows", "workloads"),
            )
        }
        self.uploads: list[bytes] = []
        self.log = ""

    def keep(self, kind: str, key: str, body: dict[str, Any], **more: Any) -> dict[str, Any]:
        record = body | {key: f"{kind}-{len(self.kept[kind])}", "created_at": "2026-11-25T06:00:00Z"} | more
        self.kept[kind].insert(0, record)
        return record


class Handler(BaseHTTPRequestHandler):
    server: Kubeflow

    def answer(self) -> None:
        kubeflow, url = self.server, urlsplit(self.path)
        query, body = parse_qs(url.query), self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kubeflow.requests.append((self.command, url.path, query))
        found = self.find(self.command, url.path, query, body)
        status = 404 if found is None else 200
        if kubeflow.refusal:
            status, found = kubeflow.refusal
        data = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = answer

    def find(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Any:
        kubeflow = self.server
        if path.startswith("/api/v1/namespaces/"):
            if path.endswith("/log"):
                return kubeflow.log.encode()
            return {"items": kubeflow.kept[path.rsplit("/", 1)[1]]}
        if path.startswith("/apis/argoproj.io/v1alpha1/namespaces/"):
            return {"items": kubeflow.kept["workflows"]}
        if path.startswith("/apis/kueue.x-k8s.io/v1beta1/namespaces/"):
            return {"items": kubeflow.kept["workloads"]}
        if path.startswith("/apis/kueue.x-k8s.io/"):
            return None  # an installation that does not know the newer version yet
        _, _, _, kind, *rest = path.split("/")
        kept = kubeflow.kept.get(kind, [])
        if kind == "healthz":
            return {"multi_user": kubeflow.multi_user}
        if kind == "pipelines" and rest and rest[0].startswith("upload"):
            kubeflow.uploads.append(body)
            name = {"display_name": query["name"][0]}
            if rest[0] == "upload":
                return kubeflow.keep("pipelines", "pipeline_id", name)
            return kubeflow.keep("versions", "pipeline_version_id", name, pipeline_id=query["pipelineid"][0])
        if kind == "pipelines" and rest[1:] == ["versions"]:
            return {"pipeline_versions": kubeflow.kept["versions"]}
        if method == "DELETE":
            kept[:] = [record for record in kept if record["recurring_run_id"] != rest[0]]
            return {}
        if rest and rest[0].endswith(":disable"):
            next(r for r in kept if r["recurring_run_id"] == rest[0].partition(":")[0])["status"] = "DISABLED"
            return {}
        key = {"experiments": "experiment_id", "runs": "run_id", "recurringruns": "recurring_run_id"}.get(kind, "")
        if method == "POST":
            more = {"runs": {"state": "PENDING"}, "recurringruns": {"status": "ENABLED"}}.get(kind, {})
            return kubeflow.keep(kind, key, json.loads(body), **more)
        if rest:
            return next(record for record in kept if record[key] == rest[0])
        return {{"recurringruns": "recurringRuns"}.get(kind, kind): kept}

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[Kubeflow]:
    """Answer for the time of a block."""
    with Kubeflow() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()

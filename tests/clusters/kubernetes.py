"""As much of Kubernetes' API as `spark-submit` speaks to: it keeps what is sent, and the schemas judge it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def api_server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address, and the objects that were created there."""
    created: list[dict[str, Any]] = []

    class Answer(BaseHTTPRequestHandler):
        def created(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body["metadata"] = {**body.get("metadata", {}), "uid": f"uid-{len(created)}", "resourceVersion": "1"}
            created.append(body)
            self.said(201, body)

        do_POST = do_PUT = do_PATCH = created  # noqa: N815

        def do_GET(self) -> None:
            self.said(
                404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound"}
            )

        def said(self, code: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{found.server_port}", created
    finally:
        found.shutdown()
        found.server_close()


def valid(created: list[dict[str, Any]]) -> dict[str, int]:
    """How many objects of each kind were sent; raises if one is not valid, or lost what a template said."""
    import kubernetes_validate

    kinds: dict[str, int] = {}
    for document in created:
        kubernetes_validate.validate(document, "1.33", strict=True)
        kinds[document["kind"]] = kinds.get(document["kind"], 0) + 1
    (driver,) = [document for document in created if document["kind"] == "Pod"]
    container = driver["spec"]["containers"][0]
    assert driver["spec"]["securityContext"]["runAsNonRoot"] is True
    assert "/etc/scoreline" in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert "local:///opt/scoreline/jobs/score_users.py" in container["args"]
    return kinds

"""Runs in LiteLLM's own environment: what it sends for each request, caught by a server on a real socket.

Reads `{"requests": [...], "models": {name: [its model, its path to our server]}}` as JSON, writes
`{name: [{"body": ...} or {"error": ...}, ...]}`.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any


class Catch(BaseHTTPRequestHandler):
    caught: Any = None

    def do_POST(self) -> None:
        Catch.caught = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(418)  # nothing it would try again
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


def sent(litellm: Any, model: str, base: str, request: dict[str, Any]) -> dict[str, Any]:
    Catch.caught = None
    try:
        reply = litellm.completion(
            **{**request, "model": model}, api_key="k", api_base=base, max_retries=0, num_retries=0
        )
        if request.get("stream"):
            list(reply)
    except Exception as error:  # noqa: BLE001
        if Catch.caught is None:
            return {"error": f"{type(error).__name__}: {error}".split("\n")[0][:300]}
    return {"body": Catch.caught}


def main() -> None:
    asked = json.load(sys.stdin)
    real = sys.stdout
    sys.stdout = sys.stderr
    litellm: Any = import_module("litellm")

    litellm.suppress_debug_info = True
    with ThreadingHTTPServer(("127.0.0.1", 0), Catch) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = {
            name: [
                sent(litellm, model, path.replace("PORT", str(server.server_port)), one)
                for one in asked["requests"]
            ]
            for name, (model, path) in asked["models"].items()
        }
        server.shutdown()
    json.dump(found, real)


main()

# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A small web server on this machine."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LoopbackWeb:
    """Serves files and redirects while it is open.

    Args:
        pages (`dict[str, bytes | str]`): By path a file, or where it has moved to.
    """

    def __init__(self, pages: dict[str, bytes | str]) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name that http.server asks for
                asked.append(self.path)
                page = pages.get(self.path)
                self.send_response(404 if page is None else 302 if isinstance(page, str) else 200)
                if isinstance(page, str):
                    self.send_header("Location", page)
                self.end_headers()
                self.wfile.write(page if isinstance(page, bytes) else b"")

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)  # also as 127.0.0.2
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "LoopbackWeb":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

"""A connection to a cluster's dashboard that breaks at a chosen request."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit


@contextmanager
def cut_off(dashboard: str, *, after: str) -> Iterator[str]:
    """Relay requests to a dashboard, except that a POST to the path `after` gets no answer. Yields the relay's URL."""

    class Relay(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"] or 0))
            upstream = http.client.HTTPConnection(urlsplit(dashboard).netloc)
            upstream.request(self.command, self.path, body, dict(self.headers))
            answer = upstream.getresponse()
            text = answer.read()
            upstream.close()
            if (self.command, self.path) == ("POST", after):
                return
            self.send_response(answer.status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_PUT = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Relay)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

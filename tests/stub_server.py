"""A small server with OpenAI's interface on this machine, with every fault a real one shows."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ["sun", "sea", "sand", "salt", "sail", "stone", "star", "storm", "END", "straw"]


def words_of(body):
    """An answer fixed by prompt and seed: {"text", "finish_reason", "n_tokens"}."""
    asked = json.dumps([body.get("messages"), body.get("prompt")])
    seed = body["seed"] if body["temperature"] else 0
    digest = hashlib.sha256(f"{seed} {asked}".encode()).digest()
    words = [WORDS[byte % len(WORDS)] for byte in digest[: 4 + digest[0] % 12]]
    text = " ".join(words[: body["max_tokens"]])
    places = [text.find(stop) for stop in body.get("stop", []) if stop in text]
    cut = text[: min(places)] if places else text
    full = len(words) > body["max_tokens"] and not places
    reason = "length" if full else "stop"
    return {"text": cut, "finish_reason": reason, "n_tokens": len(cut.split())}


class StubServer:
    """Serves ``answer(body)`` at ``url``; ``fault(number, body)`` may name what goes wrong.

    A fault is a status (or status and headers), or one of ``hang``, ``drip``, ``drip_header``,
    ``continue_for_ever``, ``half``, ``reset``, ``not_json``, ``wrong_shape``, ``null_text``,
    ``filtered``. ``bodies`` and ``headers`` hold what was asked, ``most_at_once`` the largest
    number of requests under way.
    """

    def __init__(self, answer=words_of, fault=None, models_status=200):
        self.answer, self.fault, self.models_status = answer, fault, models_status
        self.bodies, self.headers, self.paths = [], [], []
        self.under_way = self.most_at_once = 0
        self.guard, self.closing = threading.Lock(), threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def _handler(stub):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                if stub.models_status == "hang":
                    return self.hang()
                return self.plain(stub.models_status, b"{}")

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with stub.guard:
                    number = len(stub.bodies)
                    stub.bodies.append(body)
                    stub.headers.append(dict(self.headers))
                    stub.paths.append(self.path)
                    stub.under_way += 1
                    stub.most_at_once = max(stub.most_at_once, stub.under_way)
                try:
                    self.respond(number, body)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client gave up first
                finally:
                    with stub.guard:
                        stub.under_way -= 1

            def respond(self, number, body):
                fault = stub.fault(number, body) if stub.fault else None
                found = stub.answer(body) if fault is None else {}
                if isinstance(fault, (int, tuple)):
                    status, headers = fault if isinstance(fault, tuple) else (fault, {})
                    key = self.headers.get("authorization", "")
                    return self.plain(status, f"refused; you sent {key}".encode(), headers)
                whole = json.dumps(self.wrapped(body, found)).encode()
                if fault is None:
                    return self.plain(200, whole)
                return getattr(self, fault)(whole, body)

            def wrapped(self, body, found):
                text = found.get("text", "nothing")
                said = {"message": {"role": "assistant", "content": text}}
                choice = said if "messages" in body else {"text": text}
                choice["finish_reason"] = found.get("finish_reason", "stop")
                return {"choices": [choice], "usage": {"completion_tokens": found.get("n_tokens")}}

            def plain(self, status, body, headers=()):
                self.send_response(status)
                for name, value in dict(headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def hang(self, *_):
                stub.closing.wait(30)
                self.close_connection = True

            def drip(self, *_):
                self.send_response(200)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                while not stub.closing.wait(0.02):
                    self.wfile.write(b" ")
                    self.wfile.flush()
                self.close_connection = True

            def drip_header(self, *_):
                self.repeat(b"HTTP/1.1 200 OK\r\n", b"X-Patience: a virtue\r\n")

            def continue_for_ever(self, *_):
                self.repeat(b"", b"HTTP/1.1 100 Continue\r\n\r\n")

            def repeat(self, start, piece):
                self.wfile.write(start)
                while not stub.closing.wait(0.02):
                    self.wfile.write(piece)
                    self.wfile.flush()
                self.close_connection = True

            def half(self, whole, _):
                self.send_response(200)
                self.send_header("Content-Length", str(len(whole)))
                self.end_headers()
                self.wfile.write(whole[: len(whole) // 2])
                self.close_connection = True

            def reset(self, *_):
                self.close_connection = True

            def not_json(self, *_):
                self.plain(200, b"<html>busy</html>")

            def wrong_shape(self, *_):
                self.plain(200, b'{"choices": []}')

            def null_text(self, _, body):
                self.plain(200, json.dumps(self.wrapped(body, {"text": None})).encode())

            def filtered(self, _, body):
                blocked = {"text": "", "finish_reason": "content_filter"}
                self.plain(200, json.dumps(self.wrapped(body, blocked)).encode())

        return Handler


@contextmanager
def serving(*args, **kwargs):
    """A running :class:`StubServer`, closed at the end."""
    server = StubServer(*args, **kwargs)
    try:
        yield server
    finally:
        server.close()

"""A relay between an SDK and Gratis that counts the requests that really arrive.

It reads nothing but the framing of the requests (head and content-length) and passes every byte on as it came, so it
sees each retry that an SDK makes, and Gratis sees each connection that an SDK closes.
"""

import socket
import threading


class Relay:
    """Listens on a free port of the loopback interface and connects to `host:port` for every connection."""

    def __init__(self, host, port):
        self._target = (host, port)
        self._lock = threading.Lock()
        self._seen = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.origin = "http://127.0.0.1:%d" % self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def take(self):
        """The requests since the last call, each as "METHOD path"."""
        with self._lock:
            seen, self._seen = self._seen, []
        return seen

    def _accept(self):
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._connection, args=(client,), daemon=True).start()

    def _connection(self, client):
        with client, socket.create_connection(self._target) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            try:
                self._requests(client, server)
            except OSError:
                pass
            finally:
                _close(client, server)
                back.join()

    def _requests(self, client, server):
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                more = client.recv(65536)
                if not more:
                    return
                buffer += more
            head, buffer = buffer.split(b"\r\n\r\n", 1)
            method, path, length = _read_head(head)
            with self._lock:
                self._seen.append(f"{method} {path}")
            server.sendall(head + b"\r\n\r\n")
            while length > 0:
                if not buffer:
                    buffer = client.recv(65536)
                    if not buffer:
                        return
                part, buffer = buffer[:length], buffer[length:]
                server.sendall(part)
                length -= len(part)


def _read_head(head):
    lines = head.decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if "transfer-encoding" in headers:
        raise RuntimeError("the relay reads requests with a content-length only")
    return method, path, int(headers.get("content-length", "0"))


def _copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    _close(source, target)


def _close(*ends):
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

"""Receives webhooks: checks the signature with the secret that it is given, prints its port, then one line for each notice."""

import base64
import hashlib
import hmac
import http.server
import json
import sys

KEY = base64.b64decode(sys.argv[1].removeprefix("whsec_"))


class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
        wanted = "v1," + base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        well = wanted in self.headers["webhook-signature"].split()
        self.send_response(204 if well else 401)
        self.end_headers()
        if well:
            print(json.loads(body)["type"], json.loads(body)["text"].splitlines()[0], flush=True)

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Hook)
print(server.server_port, flush=True)
server.serve_forever()

"""Takes notices on a test host: `python3 receivers.py DIRECTORY`, with Debian's python3-aiosmtpd.

Mail comes by SMTP on port 2587, after STARTTLS with DIRECTORY/mail.pem and a login alone; POST comes on port 9401 with
a token alone. What came lies in DIRECTORY/mail.jsonl and DIRECTORY/posts.jsonl.
"""

import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

USER, PASSWORD, TOKEN = b"ingot", b"mail-word", "post-word"
directory = Path(sys.argv[1])


def keep(name, what):
    with (directory / name).open("a") as file:
        file.write(json.dumps(what) + "\n")


class Mail:
    async def handle_DATA(self, server, session, envelope):
        text = envelope.content.decode(errors="replace")
        keep(
            "mail.jsonl", {"from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": bool(session.ssl), "text": text}
        )
        return "250 OK"


def knows(server, session, envelope, mechanism, given):
    is_right = (getattr(given, "login", None), getattr(given, "password", None)) == (USER, PASSWORD)
    return AuthResult(success=is_right)


class Posts(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_right = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if is_right:
            keep("posts.jsonl", json.loads(body))
        self.send_response(200 if is_right else 401)
        self.end_headers()

    def log_message(self, *words):
        """Say nothing."""


context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(directory / "mail.pem", directory / "mail.key")
smtp = Controller(
    Mail(),
    hostname="0.0.0.0",
    port=2587,
    require_starttls=True,
    tls_context=context,
    auth_required=True,
    auth_require_tls=True,
    authenticator=knows,
    # Its prompts are not those of other servers.
    auth_exclude_mechanism=["LOGIN"],
)
smtp.start()
HTTPServer(("0.0.0.0", 9401), Posts).serve_forever()

"""A real mail server that keeps nothing: prints its port, then one line of JSON for each mail it takes.

With an argument it refuses that many mails first, for a while (451), as a server does that is too busy.
"""

import asyncio
import email
import email.policy
import json
import sys

from aiosmtpd.smtp import SMTP


class Sink:
    def __init__(self, refuse):
        self.refuse = refuse

    async def handle_DATA(self, server, session, envelope):
        if self.refuse > 0:
            self.refuse -= 1
            print(json.dumps({"refused": True}), flush=True)
            return "451 too busy, try again"
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        line = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "subject": mail["subject"],
            "id": mail["message-id"],
            "text": mail.get_content(),
        }
        print(json.dumps(line), flush=True)
        return "250 taken"


def main():
    refuse = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    asyncio.run(serve(Sink(refuse)))


async def serve(sink):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(sink, hostname="sink.example"), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


main()

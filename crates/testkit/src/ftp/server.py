"""An FTP server for tests: virtual users, TLS, and every habit that a test asks for. One argument: settings in JSON."""

import json
import os
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import TLS_DTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer

settings = json.loads(sys.argv[1])
authorizer = DummyAuthorizer()
authorizer.add_user(settings["user"], settings["password"], settings["root"], perm="elr")


class Data(TLS_DTPHandler):
    """Breaks off after so many bytes, each time the mark is there: then it takes the mark away."""

    sent = 0

    def handle_close(self):
        super().handle_close()

    def initiate_send(self):
        mark = settings.get("cut_mark")
        if mark and self.sent > settings["cut_after"] and os.path.exists(mark):
            os.unlink(mark)
            self.cmd_channel.close()
            self.close()
            return
        super().initiate_send()

    def send(self, data):
        count = super().send(data)
        self.sent += max(count, 0)
        if settings.get("count_to"):
            with open(settings["count_to"], "a") as log:
                log.write("%d\n" % count)
        return count


class Handler(TLS_FTPHandler):
    banner = "a server of a test"
    certfile = settings["certificate"]
    tls_control_required = True
    tls_data_required = settings.get("protects_data", True)
    dtp_handler = Data
    max_login_attempts = 1
    timeout = 60
    logged_in = set()

    def on_login(self, username):
        self.logged_in.add(self)
        if settings.get("log_to"):
            with open(settings["log_to"], "a") as log:
                log.write("%d at once\n" % len(self.logged_in))

    def on_disconnect(self):
        self.logged_in.discard(self)

    def pre_process_command(self, line, cmd, arg):
        if settings.get("log_to"):
            with open(settings["log_to"], "a") as log:
                log.write(cmd + "\n")
        if cmd in settings.get("refused", []):
            self.respond("502 Not here.")
            return
        super().pre_process_command(line, cmd, arg)

    def ftp_FEAT(self, line):
        lines = [name for name in settings.get("features", []) if name not in settings.get("refused", [])]
        if settings.get("features") is None:
            return super().ftp_FEAT(line)
        self.push("211-Features:\r\n" + "".join(" %s\r\n" % name for name in lines))
        self.respond("211 End")


if settings.get("strange_address"):
    Handler.masquerade_address = settings["strange_address"]
Handler.authorizer = authorizer
server = FTPServer(("127.0.0.1", settings["port"]), Handler)
server.max_cons_per_ip = settings.get("connections_max", 0)
server.serve_forever()

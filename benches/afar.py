"""The suite `afar`: 20,000 small files on another server, over SFTP and FTPS, beside rclone with restic behind it.

The servers run on this machine and take their share of its cores: OpenSSH, vsftpd (no MLSD, resumed TLS sessions) and
pyftpdlib (MLSD). rclone copies into a directory, which restic backs up: what people do who have no tool for both.
"""

import os
import random
import shutil
import socket
import subprocess
import time

import tools
from measure import shell, stored

FILES, FILES_PER_DIRECTORY = 20_000, 100
HERE = os.path.dirname(os.path.abspath(__file__))


def small_files(bench):
    """The directory: text of 1 to 8 KiB that compresses like logs do, ten days old."""
    path, dice = f"{bench.data.work}/prepared/small-files", random.Random(20)
    if os.path.exists(path):
        return path
    shutil.rmtree(f"{path}.new", ignore_errors=True)
    for number in range(int(FILES * bench.data.scale)):
        folder = f"{path}.new/{number // FILES_PER_DIRECTORY // 10:03}/{number // FILES_PER_DIRECTORY % 10}"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/file-{number}.log", "w") as f:
            while f.tell() < 1024 + number % 7168:
                f.write(f"{number} {dice.getrandbits(64):x} a line of a log\n")
        os.utime(f.name, (time.time() - 864_000, time.time() - 864_000))
    os.rename(f"{path}.new", path)
    return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def rclone():
    """Its path; fetched where it is missing."""
    return shell(f"{HERE}/../scripts/make-test-server.sh rclone", os.environ).strip().split("\n")[-1]


class Server:
    """A server that shows a directory; `address` for mainstay, `remote` for rclone."""

    def __init__(self, name, path, place):
        self.name, self.port, self.place = name, free_port(), f"{place}/{name}"
        os.makedirs(f"{self.place}/empty")
        more = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9", "-subj", "/CN=afar"]
        made = ["openssl", "req", "-x509", *more, "-keyout", "k.pem", "-out", "c.pem"]
        subprocess.run(made, cwd=self.place, check=True, capture_output=True)
        shell(f"cd {self.place} && cat k.pem c.pem > s.pem && ssh-keygen -q -t ed25519 -N '' -f host && ssh-keygen -q -t ed25519 -N '' -f key", os.environ)
        shown = shell(f"openssl x509 -noout -fingerprint -sha256 -in {self.place}/c.pem", os.environ)
        self.pin = shown.strip().split("=")[1]
        self.process = subprocess.Popen(getattr(self, name)(path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not answers(self.port):
            time.sleep(0.1)

    def sshd(self, path):
        os.makedirs("/run/sshd", exist_ok=True)
        with open(f"{self.place}/known_hosts", "w") as f, open(f"{self.place}/host.pub") as key:
            f.write(f"[127.0.0.1]:{self.port} {key.read()}")
        self.write(f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.place}/host\nAuthorizedKeysFile {self.place}/key.pub\n"
                   "PidFile none\nStrictModes no\nUsePAM no\nMaxStartups 100\nSubsystem sftp internal-sftp\n")
        self.address = f"sftp://root@127.0.0.1:{self.port}/{path} --directory-key {self.place}/key"
        self.more = {"MAINSTAY_SFTP_KNOWN_HOSTS": f"{self.place}/known_hosts"}
        self.remote = tools.RCLONE_SFTP.format(port=self.port, place=self.place, path=path)
        return ["/usr/sbin/sshd", "-D", "-f", f"{self.place}/conf"]

    def vsftpd(self, path):
        self.write(f"listen=YES\nlisten_address=127.0.0.1\nlisten_port={self.port}\nbackground=NO\nseccomp_sandbox=NO\n"
                   f"run_as_launching_user=YES\nsecure_chroot_dir={self.place}/empty\nanonymous_enable=YES\nanon_root={path}\n"
                   "anon_world_readable_only=NO\nlocal_enable=NO\nxferlog_enable=NO\nssl_enable=YES\nallow_anon_ssl=YES\n"
                   "force_anon_logins_ssl=YES\nforce_anon_data_ssl=YES\nrequire_ssl_reuse=YES\nssl_ciphers=HIGH\n"
                   f"rsa_cert_file={self.place}/s.pem\n")
        self.ftps("anonymous")
        return ["/usr/sbin/vsftpd", f"{self.place}/conf"]

    def pyftpdlib(self, path):
        self.ftps("backup")
        settings = f'{{"user":"backup","password":"secret","root":"{path}","port":{self.port},"certificate":"{self.place}/s.pem"}}'
        python = shell(f"{HERE}/../scripts/make-test-server.sh pyftpdlib", os.environ).strip().split("\n")[-1]
        return [python, f"{HERE}/../crates/testkit/src/ftp/server.py", settings]

    def ftps(self, user):
        self.address = f"ftps://{user}@127.0.0.1:{self.port} --directory-pin {self.pin}"
        self.more = {"MAINSTAY_FTP_PASSWORD": "secret"}
        secret = shell(f"{rclone()} obscure secret", os.environ).strip()
        self.remote = tools.RCLONE_FTPS.format(port=self.port, user=user, secret=secret)

    def write(self, text):
        with open(f"{self.place}/conf", "w") as f:
            f.write(text)

    def close(self):
        shell(f"kill $(ps -o pid= --ppid {self.process.pid}) {self.process.pid}", os.environ, quiet=True)
        self.process.wait()


def afar(bench):
    path = small_files(bench)
    expected = stored(path)
    for name in ("sshd", "vsftpd", "pyftpdlib"):
        server = Server(name, path, f"{bench.data.out}/servers-{bench.round}")
        bench.data.more = server.more
        copy = f"{bench.data.out}/copy-{name}"
        try:
            for tool in [tool for tool in bench.turns() if tool.name in ("mainstay", "restic")]:
                repo = bench.repo(tool)
                bench.init(tool, repo)
                if tool.kind == "mainstay":
                    first = again = tool.backup(repo=repo, path=server.address) + " --name small"
                    label, right = tool, None
                else:
                    pull = tools.RCLONE.format(bin=rclone(), remote=server.remote, copy=copy)
                    first, again, label = f"{pull} && {tool.backup(repo=repo, path=copy)}", pull, f"rclone, {tool.name}"
                    right = lambda: stored(copy) == expected
                bench.measure(f"first, {name}", label, first, source=path, right=right)
          
                bench.measure(f"unchanged, {name}", label, again, source=path, right=right)
                shutil.rmtree(repo)
        finally:
            bench.data.more = {}
            server.close()
            shutil.rmtree(copy, ignore_errors=True)

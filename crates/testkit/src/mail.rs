//! A mail server that keeps what it gets: aiosmtpd, with STARTTLS or TLS from the first byte, and a login.

use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use crate::certificate::Certificates;
use crate::service::{Service, free_port, made};

/// The user who may send.
pub const USER: &str = "sender";
/// Its password.
pub const MAIL_PASSWORD: &str = "CanaryMailPassword";

const SERVER: &str = r#"
import asyncio, os, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult
port, way, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder + "/server.pem")
class Keep:
    count = 0
    async def handle_DATA(self, server, session, envelope):
        Keep.count += 1
        with open(f"{folder}/mail-{Keep.count}.part", "wb") as file:
            file.write(("to: " + ", ".join(envelope.rcpt_tos) + "\n").encode() + envelope.content)
        os.rename(f"{folder}/mail-{Keep.count}.part", f"{folder}/mail-{Keep.count}")
        return "250 kept"
def login(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"sender", b"CanaryMailPassword"))
def factory():
    kinds = {"starttls": dict(tls_context=context, require_starttls=True), "plain": {}, "tls": dict(auth_require_tls=False)}
    return SMTP(Keep(), authenticator=login, auth_required=way != "plain", **kinds[way])
async def main():
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", port, ssl=context if way == "tls" else None)
    await server.serve_forever()
asyncio.run(main())
"#;

/// How it encrypts.
#[derive(Clone, Copy, Debug)]
pub enum Encryption {
    /// After STARTTLS, which it insists on.
    StartTls,
    /// From the first byte.
    FromTheFirstByte,
    /// Not at all.
    None,
}

/// A running mail server.
pub struct MailServer {
    service: Service,
    certificates: Certificates,
}

impl MailServer {
    /// Start one.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start(encryption: Encryption) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let certificates = Certificates::make();
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).expect("a writable directory");
        };
        write("server.pem", &certificates.server_pem());
        write("serve.py", SERVER);
        let way = match encryption {
            Encryption::StartTls => "starttls",
            Encryption::FromTheFirstByte => "tls",
            Encryption::None => "plain",
        };
        let port = free_port();
        let mut command = Command::new(made("mail"));
        command.arg(directory.path().join("serve.py")).arg(port.to_string()).arg(way).arg(directory.path());
        let is_up = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        Self { service: Service::start(command, directory, port, is_up), certificates }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.service.port()
    }

    /// Who vouches for it.
    pub fn authority(&self) -> std::path::PathBuf {
        self.certificates.authority()
    }

    /// What it got, in order.
    ///
    /// # Panics
    /// Where a mail cannot be read.
    pub fn mails(&self) -> Vec<String> {
        let mail =
            |number: u32| std::fs::read_to_string(self.service.path().join(format!("mail-{number}"))).ok();
        (1..).map_while(mail).collect()
    }
}

//! FTP servers for tests, with TLS: vsftpd as its makers mean it, and pyftpdlib with habits that a test chooses. Both on a
//! free port of this machine, in a temporary directory, gone with their values.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::certificate::Certificates;
use crate::procfs;
use crate::service::{Service, answers, free_port, made};

/// Debian keeps it out of the path of users.
const VSFTPD: &str = "/usr/sbin/vsftpd";
const SERVER: &str = include_str!("ftp/server.py");

/// vsftpd: no `MLSD`, and data connections have to resume the TLS session. Whoever is anonymous sees one directory.
pub struct Vsftpd {
    certificates: Certificates,
    root: PathBuf,
    port: u16,
    more: String,
    service: Option<Service>,
}

impl Vsftpd {
    /// Show `root`; `more` are lines of its configuration.
    ///
    /// # Panics
    /// Where vsftpd is not installed or does not start.
    pub fn start(root: &Path, more: &str) -> Self {
        Self::start_on(free_port(), root, more)
    }

    /// Where TLS comes before the first word, at its port; only root may have it, and only one at a time.
    ///
    /// # Panics
    /// As [`Vsftpd::start`].
    pub fn start_implicit(root: &Path) -> Self {
        Self::start_on(990, root, "implicit_ssl=YES\n")
    }

    fn start_on(port: u16, root: &Path, more: &str) -> Self {
        let certificates = Certificates::make();
        let mut server =
            Self { certificates, root: root.to_owned(), port, more: more.to_owned(), service: None };
        server.resume();
        server
    }

    /// Start it again on the same port.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn resume(&mut self) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let place = directory.path();
        fs::write(place.join("server.pem"), self.certificates.server_pem()).expect("written");
        fs::create_dir(place.join("empty")).expect("made");
        let mut text = format!(
            "listen=YES\nlisten_address=127.0.0.1\nlisten_port={}\nbackground=NO\nseccomp_sandbox=NO\n\
             run_as_launching_user=YES\nsecure_chroot_dir={}\nanonymous_enable=YES\nanon_root={}\n\
             anon_world_readable_only=NO\nlocal_enable=NO\nxferlog_enable=NO\n\
             ssl_enable=YES\nallow_anon_ssl=YES\nforce_anon_logins_ssl=YES\nforce_anon_data_ssl=YES\n\
             require_ssl_reuse=YES\nssl_ciphers=HIGH\nrsa_cert_file={}\n",
            self.port,
            place.join("empty").display(),
            self.root.display(),
            place.join("server.pem").display(),
        );
        text.push_str(&self.more);
        fs::write(place.join("vsftpd.conf"), text).expect("written");
        // It refuses a configuration of another owner, so this is ours.
        let mut command = Command::new(VSFTPD);
        command.arg(place.join("vsftpd.conf"));
        let port = self.port;
        self.service = Some(Service::start(command, directory, port, || answers(port)));
    }

    /// End the server and every connection.
    pub fn kill(&mut self) {
        self.cut_connections();
        self.service = None;
    }

    /// End the connections, and leave the server.
    pub fn cut_connections(&self) {
        for pid in self.service.iter().flat_map(|service| procfs::descendants(service.pid())) {
            end(pid);
        }
    }

    /// The address of a path on it.
    pub fn address(&self, path: &str) -> String {
        format!("ftps://anonymous@127.0.0.1:{}/{path}", self.port)
    }

    /// The authority and the server's certificate.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }
}

/// What a server is like.
#[derive(Clone, Debug, Default)]
pub struct Habits {
    /// What it says that it can, where not all.
    pub features: Option<Vec<&'static str>>,
    /// Commands that it does not know.
    pub refused: Vec<&'static str>,
    /// The address that it names for data, behind which nobody listens.
    pub strange_address: Option<&'static str>,
    /// Connections that it lets one address have; 0 is any.
    pub connections_max: u32,
    /// It cuts a data connection after so many bytes, once each time that [`Pyftpd::cut_once`] is called.
    pub cut_after: u64,
}

/// pyftpdlib with one user who has a password.
pub struct Pyftpd {
    certificates: Certificates,
    service: Service,
}

impl Pyftpd {
    /// The one user.
    pub const USER: &str = "backup";
    /// His password.
    pub const PASSWORD: &str = "CanaryFtpPassword";

    /// Show `root`.
    ///
    /// # Panics
    /// Where it cannot be made or does not start.
    pub fn start(root: &Path, habits: &Habits) -> Self {
        let python = made("pyftpdlib");
        let (certificates, port) = (Certificates::make(), free_port());
        let directory = tempfile::tempdir().expect("a temporary directory");
        let place = directory.path();
        fs::write(place.join("server.pem"), certificates.server_pem()).expect("written");
        fs::write(place.join("server.py"), SERVER).expect("written");
        let list =
            |names: &[&str]| names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(",");
        let text = |name: &str| format!("{:?}", place.join(name).display().to_string());
        let mut settings = format!(
            "{{\"user\":{:?},\"password\":{:?},\"root\":{:?},\"port\":{port},\"certificate\":{},\"log_to\":{},\
             \"cut_mark\":{},\"cut_after\":{},\"connections_max\":{},\"refused\":[{}]",
            Self::USER,
            Self::PASSWORD,
            root.display().to_string(),
            text("server.pem"),
            text("commands"),
            text("cut"),
            habits.cut_after,
            habits.connections_max,
            list(&habits.refused),
        );
        if let Some(features) = &habits.features {
            write!(settings, ",\"features\":[{}]", list(features)).expect("text");
        }
        if let Some(address) = habits.strange_address {
            write!(settings, ",\"strange_address\":{address:?}").expect("text");
        }
        settings.push('}');
        let mut command = Command::new(python);
        command.arg(place.join("server.py")).arg(settings);
        let service = Service::start(command, directory, port, || answers(port));
        Self { certificates, service }
    }

    /// The address of a path on it.
    pub fn address(&self, path: &str) -> String {
        format!("ftps://{}@127.0.0.1:{}/{path}", Self::USER, self.service.port())
    }

    /// The authority and the server's certificate.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Cut the next data connection that has sent enough.
    ///
    /// # Panics
    /// Where the mark cannot be made.
    pub fn cut_once(&self) {
        fs::write(self.service.path().join("cut"), b"").expect("a mark");
    }

    /// How often a command came so far.
    pub fn count(&self, command: &str) -> usize {
        let text = fs::read_to_string(self.service.path().join("commands")).unwrap_or_default();
        text.lines().filter(|line| *line == command).count()
    }
}

fn end(pid: u32) {
    use rustix::process::{Pid, Signal, kill_process};
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        kill_process(pid, Signal::KILL).ok();
    }
}

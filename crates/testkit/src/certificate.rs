//! An authority that nobody knows, and a server's certificate by it: for 127.0.0.1, and for no name.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::program::Program;

/// Made by openssl, gone with its value.
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Make both.
    ///
    /// # Panics
    /// Where openssl is not there.
    pub fn make() -> Self {
        let made = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let authority = ["-x509", "-days", "2", "-subj", "/CN=an authority of a test"];
        made.openssl(&[&["req"], &key[..], &authority, &["-keyout", "ca.key", "-out", "ca.pem"]].concat());
        let server = ["-subj", "/CN=a server of a test", "-keyout", "server.key", "-out", "server.csr"];
        made.openssl(&[&["req"], &key[..], &server].concat());
        fs::write(made.path("names"), "subjectAltName=IP:127.0.0.1\n").expect("a writable directory");
        let sign =
            ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
        made.openssl(&[&sign[..], &["-days", "2", "-extfile", "names", "-out", "server.crt"]].concat());
        made
    }

    /// The authority's own certificate.
    pub fn authority(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// SHA-256 of the server's certificate, as openssl prints it: `AB:CD:…`.
    pub fn fingerprint(&self) -> String {
        let shown = self.openssl(&["x509", "-noout", "-fingerprint", "-sha256", "-in", "server.crt"]);
        shown.trim().rsplit('=').next().unwrap_or_default().to_owned()
    }

    /// What the server shows and proves: its certificate and its key.
    ///
    /// # Panics
    /// Where a file is gone.
    pub fn server_pem(&self) -> String {
        let read = |name| fs::read_to_string(self.path(name)).expect("a file that was made");
        read("server.crt") + &read("server.key")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn openssl(&self, arguments: &[&str]) -> String {
        let mut command = Program::new("openssl").command(arguments);
        let output = command.current_dir(self.directory.path()).output().expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

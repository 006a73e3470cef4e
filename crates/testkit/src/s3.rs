//! S3 by other makers: Ceph's gateway, strict, and some that are strange each in its own way.

use std::path::Path;
use std::process::Command;

use crate::certificate::Certificates;
use crate::program::{Program, Ran};
use crate::service::{Service, answers, free_port, made};

/// Access key of every S3 of tests.
pub const ACCESS_KEY: &str = "MAINSTAYTESTACCESSKEY";
/// Its secret.
pub const SECRET_KEY: &str = "CanaryS3Secret0123456789";
/// Region that requests are signed for.
pub const REGION: &str = "us-east-1";

/// Key of the encryption at rest that [`S3::guarded`] has.
pub const KMS_KEY: &str = "testkey";

/// What [`S3::guarded`] has more: temporary credentials, and keys to encrypt with.
const GUARDED: &str = "rgw sts key = 0123456789abcdef
rgw s3 auth use sts = true
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = testkey=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=
";

/// An S3 with one user.
pub struct S3 {
    service: Service,
    tls: Option<(u16, Certificates)>,
}

impl S3 {
    /// Ceph's gateway of Debian sid with a cluster of one OSD in memory: signatures, conditions, versions, locks.
    ///
    /// # Panics
    /// Where it does not start; it needs root for its chroot.
    pub fn ceph() -> Self {
        Self::gateway(include_str!("s3/ceph.sh"), None)
    }

    /// The same with TLS too, with temporary credentials and with encryption at rest.
    ///
    /// # Panics
    /// As [`S3::ceph`].
    pub fn guarded() -> Self {
        Self::gateway(include_str!("s3/ceph.sh"), Some((free_port(), Certificates::make())))
    }

    /// The same gateway without a cluster: ignores `If-None-Match`, and gives wrong ranges.
    ///
    /// # Panics
    /// As [`S3::ceph`].
    pub fn dbstore() -> Self {
        Self::gateway(include_str!("s3/dbstore.sh"), None)
    }

    /// `script` runs inside the chroot, alone with its processes: they end when it does.
    fn gateway(script: &str, tls: Option<(u16, Certificates)>) -> Self {
        let root = made("ceph");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let write = |name: &str, content: &str| {
            std::fs::write(directory.path().join(name), content).expect("a writable directory");
        };
        write("serve.sh", script);
        if let Some((port, certificates)) = &tls {
            write("server.pem", &certificates.server_pem());
            let ssl = format!("ssl_endpoint=127.0.0.1:{port} ssl_certificate=/srv/server.pem");
            write("guarded.conf", &format!(" {ssl}\n{GUARDED}"));
        }
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child=KILL", "sh", "-euc"]);
        command.arg(
            "mount --bind /dev \"$ROOT/dev\"; mount -t proc proc \"$ROOT/proc\"; mount --bind \"$D\" \"$ROOT/srv\"; \
             exec chroot \"$ROOT\" sh -eu /srv/serve.sh",
        );
        command.env("ROOT", &root).env("D", directory.path()).env("PORT", port.to_string());
        command.env("MON1", free_port().to_string()).env("MON2", free_port().to_string());
        command.env("ACCESS_KEY", ACCESS_KEY).env("SECRET_KEY", SECRET_KEY);
        Self { service: Service::start(command, directory, port, || answers(port)), tls }
    }

    /// rclone's server over a directory: checks signatures, knows no conditions.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn rclone() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let mut command = Command::new(made("rclone"));
        command.args(["serve", "s3", "--addr", &format!("127.0.0.1:{port}")]);
        command.args(["--auth-key", &format!("{ACCESS_KEY},{SECRET_KEY}")]);
        command.arg(directory.path().join("buckets")).env("HOME", directory.path());
        std::fs::create_dir(directory.path().join("buckets")).expect("a writable directory");
        Self { service: Service::start(command, directory, port, || answers(port)), tls: None }
    }

    /// moto: knows conditions, checks no signature.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn moto() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let mut command = Command::new(made("moto"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        Self { service: Service::start(command, directory, port, || answers(port)), tls: None }
    }

    /// What is asked for out of an archive class is there at the so-many-th look at it; only moto can be told so.
    ///
    /// # Panics
    /// Where the server refuses.
    pub fn thaw_at_look(&self, looks: u32) {
        let url = format!("{}/moto-api/state-manager/set-transition", self.endpoint());
        let how = format!(
            "{{\"model_name\":\"s3::keyrestore\",\"transition\":{{\"progression\":\"manual\",\"times\":{looks}}}}}"
        );
        Program::new("curl")
            .run(&["-sS", "--fail-with-body", "-X", "POST", &url, "--data-binary", &how])
            .ok();
    }

    /// The server itself.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Port and certificates of its TLS.
    ///
    /// # Panics
    /// Where it has none.
    pub fn tls(&self) -> (u16, &Certificates) {
        let (port, certificates) = self.tls.as_ref().expect("a server with TLS");
        (*port, certificates)
    }

    /// Temporary credentials, as a program's variables.
    ///
    /// # Panics
    /// Where the server gives none.
    pub fn session(&self) -> [(&'static str, String); 3] {
        // moto's own Python has the client that asks for them.
        let python = Program::new(made("moto").with_file_name("python"));
        let arguments =
            ["-c", include_str!("s3/session.py"), &self.endpoint(), REGION, ACCESS_KEY, SECRET_KEY];
        let answer = python.run(&arguments).ok().text();
        let mut lines = answer.lines().map(str::to_owned);
        ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
            .map(|name| (name, lines.next().unwrap_or_default()))
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.service.port())
    }

    /// The address of a place in it, as `-r` takes it.
    pub fn url(&self, bucket: &str, prefix: &str) -> String {
        self.url_through(self.service.port(), bucket, prefix)
    }

    /// The same through a proxy at `port`.
    pub fn url_through(&self, port: u16, bucket: &str, prefix: &str) -> String {
        format!("s3://{bucket}/{prefix}?endpoint=http://127.0.0.1:{port}")
    }

    /// The same as restic writes it.
    pub fn restic_url(&self, bucket: &str, prefix: &str) -> String {
        format!("s3:{}/{bucket}/{prefix}", self.endpoint())
    }

    /// Make a bucket.
    ///
    /// # Panics
    /// Where the server refuses.
    pub fn make_bucket(&self, bucket: &str) {
        self.ask("PUT", bucket, &[], "");
    }

    /// Ask for what our stores never ask: `path` with its query, some headers, a body. Returns the answer's body.
    ///
    /// # Panics
    /// Where the server refuses.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> String {
        self.answer(method, path, headers, body).ok().text()
    }

    /// The same, where the answer may be a no; then its exit code is not 0 and its text is the server's words.
    pub fn answer(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Ran {
        let url = format!("{}/{path}", self.endpoint());
        let user = format!("{ACCESS_KEY}:{SECRET_KEY}");
        let sign = format!("aws:amz:{REGION}:s3");
        let mut all =
            vec!["-sS", "--fail-with-body", "-X", method, "--aws-sigv4", &sign, "--user", &user, &url];
        for header in headers.iter().chain(&["x-amz-content-sha256: UNSIGNED-PAYLOAD"]) {
            all.extend(["-H", header]);
        }
        if !body.is_empty() {
            all.extend(["-H", "content-type: application/xml", "--data-binary", body]);
        }
        Program::new("curl").run(&all)
    }

    /// The headers of an object, over TLS: the server says nothing of what is encrypted otherwise.
    ///
    /// # Panics
    /// Where the server refuses.
    pub fn head(&self, path: &str) -> String {
        let (port, certificates) = self.tls();
        let (ca, user) = (certificates.authority(), format!("{ACCESS_KEY}:{SECRET_KEY}"));
        let (url, sign) = (format!("https://127.0.0.1:{port}/{path}"), format!("aws:amz:{REGION}:s3"));
        let hash = "x-amz-content-sha256: UNSIGNED-PAYLOAD";
        let signed = ["-sS", "--fail", "-I", "--aws-sigv4", &sign, "--user", &user, "-H", hash, "--cacert"];
        let mut command = Program::new("curl").command(&signed);
        Ran::of(&command.arg(ca).arg(url).output().expect("curl is installed")).ok().text().to_lowercase()
    }

    /// Where it keeps its files.
    pub fn path(&self) -> &Path {
        self.service.path()
    }
}

/// `program` with the credentials in its environment.
#[must_use]
pub fn with_credentials(program: Program) -> Program {
    let program = program.with("AWS_ACCESS_KEY_ID", ACCESS_KEY).with("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    program.with("AWS_REGION", REGION)
}

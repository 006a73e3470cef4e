//! Object storage from the command line, on servers of other makers: the whole road, what is refused and how, and what
//! neither the end of the writer nor of the wire costs.

// Everything here is a test, also where clippy does not see it.
#![allow(clippy::unwrap_used)]

mod road;
mod care;
mod strange;
mod clouds;
mod fire;
mod cold;
mod kills;
mod several;
mod mirror;
mod rights;
mod guarded;
mod doctor;
mod attack;
mod locks;

use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::program::{Program, Ran};
use testkit::restic;
use testkit::s3::{S3, with_credentials};
use testkit::site::{PASSWORD, Site, assert_restores, noisy_directory};

/// The bucket of every test.
const BUCKET: &str = "acme";

/// A place in object storage, and the program that works on it.
struct Far {
    site: Site,
    program: Program,
    /// The same place as restic names it.
    restic_url: String,
}

impl Far {
    /// At `url`, with nothing in it yet; `program` gets credentials by `give`.
    fn bare(url: &str, give: impl Fn(Program) -> Program) -> Self {
        let site = Site::bare(env!("CARGO_BIN_EXE_mainstay"));
        let program = give(site.program()).with("MAINSTAY_REPOSITORY", url);
        Self { site, program, restic_url: String::new() }
    }

    /// Below `prefix` in the bucket, which is there; with a repository.
    fn on(s3: &S3, prefix: &str) -> Self {
        let far = Self::bare_on(s3, prefix);
        far.run(&["init", "--no-recovery-key"]).ok();
        far
    }

    /// The same without a repository.
    fn bare_on(s3: &S3, prefix: &str) -> Self {
        let mut far = Self::bare(&s3.url(BUCKET, prefix), with_credentials);
        far.restic_url = s3.restic_url(BUCKET, prefix);
        far
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.program.run(arguments)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        json(&self.run(&[&["--json"], arguments].concat()).ok())
    }

    fn source(&self, name: &str, mib: u32) -> PathBuf {
        noisy_directory(self.site.path(), name, mib)
    }

    fn back_up(&self, source: &Path, more: &[&str]) -> Ran {
        self.run(&[&["backup", "create", "acme", "--directory", text(source)], more].concat())
    }

    fn assert_restores(&self, id: &str, source: &Path) {
        assert_restores(&self.program, id, source);
    }

    /// Run every restic on the same place, without a lock: Ceph 20 refuses the writes of restic 0.14.
    fn by_restic(&self, arguments: &[&str]) -> Vec<Ran> {
        let run = |restic: &restic::Restic| {
            let at = restic.on(Path::new(&self.restic_url), PASSWORD);
            with_credentials(at).run(&[&["--no-cache", "--no-lock"], arguments].concat()).ok()
        };
        restic::installed().iter().map(run).collect()
    }

    /// mainstay and every restic find nothing wrong. Locks of the dead do not count.
    fn assert_sound(&self) {
        self.run(&["check", "--read-data"]).ok();
        self.by_restic(&["check", "--read-data"]);
    }

    /// The ids that are listed, newest first.
    fn ids(&self) -> Vec<String> {
        let records = self.json(&["backup", "list"])["records"].clone();
        records.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    }
}

fn json(ran: &Ran) -> Value {
    serde_json::from_slice(&ran.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A strict S3 with a bucket as the original's of H2: neither versions nor locks.
fn ceph() -> S3 {
    let s3 = S3::ceph();
    s3.make_bucket(BUCKET);
    s3
}

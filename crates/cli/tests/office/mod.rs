//! An office: a directory with a configuration and what it names.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use testkit::program::{Program, Ran};

/// A directory with a configuration and what it names.
pub(crate) struct Office {
    folder: TempDir,
    pub(crate) program: Program,
}

impl Office {
    /// With this text as `mainstay.toml`, in which `ROOT` stands for the directory.
    pub(crate) fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = Program::new(env!("CARGO_BIN_EXE_mainstay"))
            .with("HOME", folder.path())
            .with("MAINSTAY_CONFIG", folder.path().join("mainstay.toml"));
        let office = Self { folder, program };
        office.configure(text);
        office
    }

    /// Two tenants with a directory and a password each, and their repositories.
    pub(crate) fn of_two(defaults: &str) -> Self {
        let office = Self::new(&format!(
            "[repository]\nurl = \"ROOT/repositories\"\npassword = \"file:ROOT/passwords/{{tenant}}\"\n\
             [defaults]\n{defaults}\n\
             [tenants.acme.sources.papers]\ndirectory = \"ROOT/acme\"\n\
             [tenants.beta.sources.papers]\ndirectory = \"ROOT/beta\"\n"
        ));
        for tenant in ["acme", "beta"] {
            let letters = format!("Canary-of-{tenant}-");
            office.secret(&format!("passwords/{tenant}"), &letters.repeat(6));
            office.file(&format!("{tenant}/paper"), &format!("what {tenant} wrote"));
        }
        office.run(&["init", "--no-recovery-key"]).ok();
        office
    }

    pub(crate) fn configure(&self, text: &str) {
        // At once, as whoever runs at the moment should read the one or the other, and never half of it.
        self.file("mainstay.toml.new", &text.replace("ROOT", &self.path().to_string_lossy()));
        fs::rename(self.path().join("mainstay.toml.new"), self.path().join("mainstay.toml")).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn secret(&self, name: &str, text: &str) {
        self.file(name, text);
        fs::set_permissions(self.path().join(name), PermissionsExt::from_mode(0o600)).unwrap();
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.program.run(arguments)
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json"]].concat());
        serde_json::from_str(&ran.text()).unwrap_or_else(|error| panic!("{error}: {}", ran.stderr))
    }
}

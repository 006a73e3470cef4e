//! Stock restic, the judge of repositories: the one of this machine, or those that `MAINSTAY_TEST_RESTIC` names.

use std::path::{Path, PathBuf};

use crate::program::{Program, Ran};

/// Every restic to be judged by.
///
/// # Panics
/// Where there is none: then there is no judge.
pub fn installed() -> Vec<Restic> {
    let named = std::env::var_os("MAINSTAY_TEST_RESTIC").unwrap_or_else(|| "restic".into());
    let all: Vec<_> = std::env::split_paths(&named).map(|path| Restic { path }).collect();
    assert!(all.iter().all(|restic| restic.version().starts_with("restic ")), "restic is installed");
    all
}

/// One restic.
pub struct Restic {
    path: PathBuf,
}

impl Restic {
    /// Its file, or its name where it is looked for in `PATH`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it calls itself.
    pub fn version(&self) -> String {
        let ran = Program::new(&self.path).run(&["version"]);
        ran.text().trim().to_owned()
    }

    /// Its number, like `0.14.0`.
    pub fn number(&self) -> String {
        self.version().split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// It, at work on a repository.
    pub fn on(&self, repository: &Path, password: &str) -> Program {
        let program = Program::new(&self.path).with("RESTIC_REPOSITORY", repository);
        program.with("RESTIC_PASSWORD", password).with("RESTIC_CACHE_DIR", "/nonexistent").with("HOME", "/")
    }

    /// Run it on a repository, without a cache.
    pub fn run(&self, repository: &Path, password: &str, arguments: &[&str]) -> Ran {
        let mut all = vec!["--no-cache"];
        all.extend(arguments);
        self.on(repository, password).run(&all)
    }
}

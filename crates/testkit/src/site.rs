//! A place where mainstay is used: a repository in a temporary directory, its password, a server.

use std::path::{Path, PathBuf};

use pg::throwaway::SUPERUSER;
use tempfile::TempDir;

use crate::postgres::Postgres;
use crate::program::{Program, Ran};
use crate::restic::{self, Restic};
use crate::tree::fill_with_noise;

/// Password of the repositories of tests: no secret, and strong enough for no warning.
pub const PASSWORD: &str = "CanaryRepositoryPassword0123456789abcdefghijklmnopqrstuvwxyzABCD";

/// A directory with a repository, and the program that works on it.
pub struct Site {
    directory: TempDir,
    program: Program,
}

impl Site {
    /// A place for a repository that is not made yet; `program` is the path of the binary.
    ///
    /// # Panics
    /// Where there is no room for temporary files.
    pub fn bare(program: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::bare_in(program, directory)
    }

    /// The same in a directory of the test's choice.
    pub fn bare_in(program: &str, directory: TempDir) -> Self {
        let program = Program::new(program)
            .with("HOME", directory.path())
            .with("MAINSTAY_PASSWORD", PASSWORD)
            .with("MAINSTAY_REPOSITORY", directory.path().join("repository"));
        Self { directory, program }
    }

    /// A place with a repository.
    ///
    /// # Panics
    /// Where `init` fails.
    pub fn new(program: &str) -> Self {
        let site = Self::bare(program);
        site.run(&["init", "--no-recovery-key"]).ok();
        site
    }

    /// The same, where `server` is the one that is meant without flags.
    #[must_use]
    pub fn with_server(mut self, server: &Postgres) -> Self {
        self.program = at_server(self.program, server);
        self
    }

    /// The program, to be given more.
    pub fn program(&self) -> Program {
        self.program.clone()
    }

    /// Run the program.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.program.run(arguments)
    }

    /// The directory of everything.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The repository.
    pub fn repository(&self) -> PathBuf {
        self.path().join("repository")
    }

    /// Back up a database of tenant `acme`; returns the id.
    ///
    /// # Panics
    /// Where it fails.
    #[track_caller]
    pub fn back_up(&self, database: &str) -> String {
        id_of(&self.run(&["backup", "create", "acme", "--database", database]).ok())
    }

    /// The ids that `backup list` shows, newest first.
    ///
    /// # Panics
    /// Where it fails.
    #[track_caller]
    pub fn ids(&self) -> Vec<String> {
        let listed = self.run(&["backup", "list"]).ok().text();
        let first = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
        listed.lines().skip(1).map(first).collect()
    }

    /// mainstay and every restic find nothing wrong, down to the last byte.
    ///
    /// # Panics
    /// Where one of them does.
    #[track_caller]
    pub fn assert_sound(&self) {
        self.run(&["check", "--read-data"]).ok();
        for restic in restic::installed() {
            self.restic(&restic, &["check", "--read-data"]).ok();
        }
    }

    /// Run a restic on the repository.
    pub fn restic(&self, restic: &Restic, arguments: &[&str]) -> Ran {
        restic.run(&self.repository(), PASSWORD, arguments)
    }

    /// Every file of the repository with its bytes, by its path within.
    ///
    /// # Panics
    /// Where one cannot be read.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        files_below(&self.repository())
    }
}

/// Make `server` the one that is meant without flags.
pub fn at_server(program: Program, server: &Postgres) -> Program {
    program
        .with("PGHOST", "127.0.0.1")
        .with("PGPORT", server.port().to_string())
        .with("PGUSER", SUPERUSER)
        .with("PGPASSWORD", server.password())
}

/// The id of the one success line.
///
/// # Panics
/// Where there is not exactly one.
#[track_caller]
pub fn id_of(ran: &Ran) -> String {
    let lines: Vec<_> = ran.stderr.lines().filter(|line| line.starts_with("backup ok id=")).collect();
    assert_eq!(lines.len(), 1, "{}", ran.stderr);
    let id = lines[0].trim_start_matches("backup ok id=").split(' ').next();
    id.unwrap_or_default().to_owned()
}

/// Make a directory `name` in `place`, of so many MiB that nothing compresses or repeats.
pub fn noisy_directory(place: &Path, name: &str, mib: u32) -> PathBuf {
    let directory = place.join(name);
    fill_with_noise(&directory, name.len() as u64, mib);
    directory
}

/// The backup `id` comes back as the directory `source` is.
///
/// # Panics
/// Where it does not.
#[track_caller]
pub fn assert_restores(program: &Program, id: &str, source: &Path) {
    let place = tempfile::tempdir_in(source.parent().expect("a directory in a place")).expect("room");
    let target = place.path().join("back");
    program.run(&["backup", "restore", id, "--to", target.to_str().expect("UTF-8")]).ok();
    assert!(files_below(&target) == files_below(source), "{id} came back changed");
}

/// Every file below a directory with its bytes, sorted by its path within.
///
/// # Panics
/// Where one cannot be read.
pub fn files_below(root: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut files, mut folders) = (vec![], vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            files.push((name, std::fs::read(&path).expect("a readable file")));
        }
    }
    files.sort();
    files
}

//! A place with a repository that a server's user can read, and room for restored clusters.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use testkit::postgres::Postgres;
use testkit::program::{Program, Ran};
use testkit::revived::{Revived, give_to_owner_of};
use testkit::site::{PASSWORD, Site};

use crate::{load, site};

pub(crate) struct Room {
    pub(crate) site: Site,
}

impl Room {
    pub(crate) fn new() -> Self {
        let site = site();
        fs::set_permissions(site.path(), PermissionsExt::from_mode(0o755)).unwrap();
        fs::create_dir(site.path().join("home")).unwrap();
        let password = site.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        fs::set_permissions(password, PermissionsExt::from_mode(0o600)).unwrap();
        Self { site }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.site.path().join(name)
    }

    /// Run the program with the password in a file, as who restores should.
    pub(crate) fn restore(&self, server: &Postgres, arguments: &[&str]) -> Ran {
        let password = self.path("password");
        let flags = ["--password-file", password.to_str().unwrap()];
        load::program(&self.site, server).without("MAINSTAY_PASSWORD").run(&[&flags[..], arguments].concat())
    }

    /// The same as the server's user, who archives into the repository and fetches from it, too.
    pub(crate) fn run_as_server(&self, server: &Postgres, arguments: &[&str]) -> Ran {
        self.run_as_server_by(load::program(&self.site, server), server, arguments)
    }

    /// The same with another program than who is superuser in the server would have.
    pub(crate) fn run_as_server_by(&self, program: Program, server: &Postgres, arguments: &[&str]) -> Ran {
        let owner = fs::metadata(server.cluster().data_dir()).unwrap();
        let password = self.path("password");
        let program = program.without("MAINSTAY_PASSWORD");
        let arguments = [&["--password-file", password.to_str().unwrap()], arguments].concat();
        if fs::metadata("/proc/self").unwrap().uid() != 0 {
            return program.run(&arguments);
        }
        let (user, group) = (format!("--reuid={}", owner.uid()), format!("--regid={}", owner.gid()));
        program.under(&["setpriv", &user, &group, "--clear-groups"]).run(&arguments)
    }

    /// Give everything to the server's user.
    pub(crate) fn open_to(&self, server: &Postgres) {
        give_to_owner_of(self.site.path(), server);
    }

    /// A shell command of the server that runs the program.
    pub(crate) fn server_command(&self, words: &str) -> String {
        let path = |name| self.path(name).display().to_string();
        format!(
            "HOME={} MAINSTAY_NO_AGENT=1 {} -r {} --password-file {} {words}",
            path("home"),
            env!("CARGO_BIN_EXE_mainstay"),
            path("repository"),
            path("password")
        )
    }

    /// Start a server on restored files; it fetches WAL by the settings that the restore wrote.
    #[track_caller]
    pub(crate) fn revive(&self, data: &Path, like: &Postgres) -> Revived {
        match self.try_revive(data, like) {
            Ok(revived) => revived,
            Err(words) => panic!("the server does not start:\n{words}"),
        }
    }

    pub(crate) fn try_revive(&self, data: &Path, like: &Postgres) -> Result<Revived, String> {
        for name in ["repository", "home", "password"] {
            give_to_owner_of(&self.path(name), like);
        }
        give_to_owner_of(data, like);
        let home = self.path("home");
        let environment = [("HOME", home.as_path()), ("MAINSTAY_NO_AGENT", Path::new("1"))];
        Revived::try_start_with(data, like, &[], &environment)
    }
}

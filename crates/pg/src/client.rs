//! PostgreSQL's client programs on this machine, and which of them fits a server.
//!
//! Rules. Dumping: pg_dump refuses servers newer than itself; the same major version is taken, else the closest
//! newer one, because the archive it writes must later be read by a pg_restore that the target accepts. Restoring:
//! pg_restore must read the archive's format, and one of 17 or later sets `transaction_timeout`, which servers
//! before 17 refuse (pitfall 26); the target's own major version is taken if it can, else the newest.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::version::Version;

/// The programs that must be there for a directory to count.
const PROGRAMS: [&str; 3] = ["pg_dump", "pg_restore", "psql"];

/// Releases whose pg_restore sends `SET transaction_timeout` to every server.
const TRANSACTION_TIMEOUT: Version = Version::new(17, 0);

/// No client programs that fit.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// None at all.
    #[error(
        "no PostgreSQL client programs (pg_dump, pg_restore, psql) were found: install postgresql-client-{wanted}"
    )]
    NoneInstalled {
        /// The major version to install.
        wanted: u32,
    },
    /// All are older than the server.
    #[error(
        "the server is version {server} and the newest pg_dump here is {newest}, which cannot dump a newer server: \
         install postgresql-client-{wanted}"
    )]
    TooOld {
        /// The server.
        server: Version,
        /// The newest client.
        newest: Version,
        /// The major version to install.
        wanted: u32,
    },
    /// No pg_restore reads this archive and suits this server.
    #[error(
        "no pg_restore here ({found}) can restore an archive of format 1.{format} into a server of version {server}: \
         {way_out}"
    )]
    NoRestore {
        /// Versions that were found.
        found: String,
        /// Minor number of the archive's format.
        format: u8,
        /// The server.
        server: Version,
        /// What would do.
        way_out: String,
    },
}

/// pg_dump writes 4 KiB at a time, the C library's default for pipes; a third of its time in the kernel goes into that.
/// This program, of GNU coreutils, gives it a larger buffer.
const STDBUF: [&str; 2] = ["/usr/bin/stdbuf", "--output=256K"];

/// One directory of client programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    bin_dir: PathBuf,
    version: Version,
    /// Whether its pg_dump was seen to run under [`STDBUF`] without a word.
    takes_stdbuf: bool,
}

impl Client {
    /// The programs in `bin_dir`; asks pg_dump for its version.
    pub fn at(bin_dir: &Path) -> io::Result<Self> {
        for program in PROGRAMS {
            if !bin_dir.join(program).is_file() {
                let reason = format!("{} is not there", bin_dir.join(program).display());
                return Err(io::Error::new(io::ErrorKind::NotFound, reason));
            }
        }
        let mut client = Self { bin_dir: bin_dir.to_owned(), version: Version(0), takes_stdbuf: true };
        let ask = |client: &Self| client.pg_dump().arg("--version").stdin(Stdio::null()).output();
        let mut output = ask(&client);
        if !output.as_ref().is_ok_and(|output| output.status.success() && output.stderr.is_empty()) {
            client.takes_stdbuf = false;
            output = ask(&client);
        }
        let output = output?;
        let text = String::from_utf8_lossy(&output.stdout);
        client.version = Version::find(&text).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{} has no version", bin_dir.display()))
        })?;
        Ok(client)
    }

    /// Its pg_dump, to be given arguments.
    pub(crate) fn pg_dump(&self) -> Command {
        let program = self.program("pg_dump");
        if !self.takes_stdbuf {
            return Command::new(program);
        }
        let [stdbuf, output] = STDBUF;
        let mut command = Command::new(stdbuf);
        command.arg(output).arg(program);
        command
    }

    /// Version of its pg_dump.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where the programs are.
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// The path of one of the programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }
}

/// All client programs found, each asked once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients(Vec<Client>);

impl Clients {
    /// The programs in `explicit` alone, if it is given; otherwise those where Debian and RPM packages put them and
    /// those in the directories of `path`.
    pub fn discover(explicit: Option<&Path>, path: &OsStr) -> io::Result<Self> {
        if let Some(bin_dir) = explicit {
            return Ok(Self(vec![Client::at(bin_dir)?]));
        }
        let mut directories = subdirectories(Path::new("/usr/lib/postgresql"), |_| true);
        directories.extend(subdirectories(Path::new("/usr"), |name| name.starts_with("pgsql-")));
        directories = directories.into_iter().map(|directory| directory.join("bin")).collect();
        let on_path = std::env::split_paths(path).filter(|directory| directory.is_absolute());
        // Debian's wrappers in /usr/bin, slow to ask, lead to versions that the first rule finds itself.
        directories.extend(on_path.filter(|directory| !leads_to_debians_wrapper(directory)));
        Ok(Self::in_directories(directories))
    }

    /// The programs in these directories, asked all at once; one without them, or without a version, is passed over.
    pub fn in_directories(directories: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut seen = BTreeSet::new();
        let is_new = |directory: &PathBuf| {
            std::fs::canonicalize(directory.join("pg_dump")).is_ok_and(|program| seen.insert(program))
        };
        let directories: Vec<PathBuf> = directories.into_iter().filter(is_new).collect();
        let answers: Vec<io::Result<Client>> = std::thread::scope(|scope| {
            let asked: Vec<_> =
                directories.iter().map(|directory| scope.spawn(|| Client::at(directory))).collect();
            let failed = |_| Err(io::Error::other("asking for its version panicked"));
            asked.into_iter().map(|asked| asked.join().unwrap_or_else(failed)).collect()
        });
        let mut clients: Vec<Client> = Vec::new();
        for client in answers.into_iter().flatten() {
            if !clients.iter().any(|known| known.version == client.version) {
                clients.push(client);
            }
        }
        clients.sort_by_key(|client| std::cmp::Reverse(client.version));
        Self(clients)
    }

    /// Newest first.
    pub fn all(&self) -> &[Client] {
        &self.0
    }

    /// For queries any will do: the newest.
    pub fn newest(&self) -> Result<&Client, ClientError> {
        self.0.first().ok_or(ClientError::NoneInstalled { wanted: 18 })
    }

    /// The one to dump a server of this version with.
    pub fn for_dump(&self, server: Version) -> Result<&Client, ClientError> {
        let wanted = server.major();
        let newest = self.0.first().ok_or(ClientError::NoneInstalled { wanted })?;
        let fits = |client: &&Client| client.version.release() >= server.release();
        let closest = self.0.iter().filter(fits).min_by_key(|client| client.version.release());
        closest.ok_or(ClientError::TooOld { server, newest: newest.version, wanted })
    }

    /// The one to restore an archive of format `1.format` into a server of this version with.
    pub fn for_restore(&self, format: u8, server: Version) -> Result<&Client, ClientError> {
        let reads = reading_since(format);
        let fits = |client: &&Client| {
            let speaks = client.version < TRANSACTION_TIMEOUT || server >= TRANSACTION_TIMEOUT;
            client.version.release() >= reads && speaks
        };
        let same = |client: &&Client| client.version.same_major(server);
        let mut fitting = self.0.iter().filter(fits);
        fitting.clone().find(same).or_else(|| fitting.next()).ok_or_else(|| {
            let found: Vec<_> = self.0.iter().map(|client| client.version.to_string()).collect();
            let wanted = server.release().max(reads);
            let way_out = if wanted >= TRANSACTION_TIMEOUT && server < TRANSACTION_TIMEOUT {
                format!("restore it into PostgreSQL {} or later", reads.major())
            } else {
                format!("install postgresql-client-{}", wanted.major())
            };
            ClientError::NoRestore { found: found.join(", "), format, server, way_out }
        })
    }
}

/// The first release whose pg_restore reads archives of format `1.format`.
fn reading_since(format: u8) -> Version {
    match format {
        ..=13 => Version(90_300),
        14 => Version::new(12, 0),
        15 => Version::new(16, 0),
        _ => Version::new(17, 0),
    }
}

fn leads_to_debians_wrapper(directory: &Path) -> bool {
    let program = std::fs::canonicalize(directory.join("pg_dump"));
    program.is_ok_and(|program| program.file_name() == Some(OsStr::new("pg_wrapper")))
}

fn subdirectories(directory: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| wanted(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(versions: &[Version]) -> Clients {
        let client =
            |version: &Version| Client { bin_dir: "/nowhere".into(), version: *version, takes_stdbuf: false };
        Clients(versions.iter().map(client).collect())
    }

    #[test]
    fn the_closest_client_dumps() {
        let all = clients(&[Version::new(18, 4), Version::new(16, 14), Version::new(15, 14)]);
        let cases = [(150_002, 15), (160_020, 16), (170_000, 18), (140_000, 15), (90_624, 15)];
        for (server, major) in cases {
            assert_eq!(all.for_dump(Version(server)).unwrap().version.major(), major, "{server}");
        }
    }

    #[test]
    fn pitfall_26_an_older_client_is_refused_and_the_way_out_named() {
        let error = clients(&[Version::new(15, 14)]).for_dump(Version::new(17, 2)).unwrap_err();
        let text = error.to_string();
        for part in ["17.2", "15.14", "postgresql-client-17"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(clients(&[]).for_dump(Version::new(17, 2)).unwrap_err().to_string().contains("-17"));
    }

    #[test]
    fn pitfall_26_a_restore_uses_what_the_target_accepts() {
        let all = clients(&[Version::new(18, 4), Version::new(16, 14), Version::new(15, 14)]);
        let chosen =
            |format, server| all.for_restore(format, Version::new(server, 1)).map(|c| c.version.major());
        assert_eq!(chosen(14, 15), Ok(15));
        assert_eq!(chosen(14, 16), Ok(16));
        assert_eq!(chosen(14, 17), Ok(18));
        assert_eq!(chosen(15, 15), Ok(16));
        assert_eq!(chosen(16, 18), Ok(18));
        let error = chosen(16, 15).unwrap_err().to_string();
        assert!(error.contains("PostgreSQL 17 or later"), "{error}");
        let error =
            clients(&[Version::new(15, 1)]).for_restore(15, Version::new(16, 1)).unwrap_err().to_string();
        assert!(error.contains("postgresql-client-16"), "{error}");
    }
}

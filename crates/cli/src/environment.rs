//! What the process was started with: its environment, taken once, and secrets taken out of reach of children.
//!
//! Invariant: after [`Environment::take`] no child inherits a password of ours or of PostgreSQL; after [`harden`]
//! `/proc` does not show one in our own command line or environment either.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use model::secret::Secret;
use repo::budget::Budget;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use secrets::fetch::Secrets;

use crate::face::Face;
use crate::wire::{Cache, Wire};
use crate::wire_arguments::WireArguments;

/// Variables that hold secrets, besides those that open keepers of secrets.
const SECRETS: [&str; 13] = [
    "MAINSTAY_PASSWORD",
    "MAINSTAY_TOKEN",
    "PGPASSWORD",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_CLIENT_SECRET",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_OAUTH_ACCESS_TOKEN",
    "MAINSTAY_SFTP_KEY_PASSPHRASE",
    "MAINSTAY_FTP_PASSWORD",
];

fn secret_names() -> impl Iterator<Item = &'static str> {
    SECRETS.into_iter().chain(secrets::CREDENTIALS)
}

/// Contract of older scripts: accepted, and taken out of the argument vector at once.
const PASSWORD_FLAG: &str = "--db-password";

/// The environment at the start, or one of its own that a tenant has.
pub(crate) struct Environment {
    variables: HashMap<String, String>,
    /// Names of those that a file completed.
    completed: BTreeSet<String>,
    argument_password: Mutex<Option<Secret>>,
    wire: OnceLock<Wire>,
    laid: OnceLock<Laid>,
    /// One for the life of the process: it keeps the tokens that keepers gave.
    secrets: Arc<Secrets>,
}

/// What the wire was laid with.
struct Laid {
    flags: WireArguments,
    may_remember: bool,
}

/// No core dumps, no password in what `/proc` shows of our start, and no other process of this user may look into
/// our memory (threat 12). Comes after the environment and the arguments were taken.
pub(crate) fn harden() {
    // In this order: the memory of a process that is closed to its own user cannot be opened by itself either.
    wipe_start().ok();
    // Where the system refuses, the backup is still better than none.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).ok();
    set_dumpable_behavior(DumpableBehavior::NotDumpable).ok();
}

impl Environment {
    /// Read the environment, and remove the secrets from it.
    pub(crate) fn take() -> Self {
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let variables = std::env::vars_os().filter_map(text).collect();
        secret_names().for_each(remove);
        Self::of(variables)
    }

    fn of(variables: HashMap<String, String>) -> Self {
        Self {
            variables,
            completed: BTreeSet::new(),
            argument_password: Mutex::default(),
            wire: OnceLock::new(),
            laid: OnceLock::new(),
            secrets: Arc::default(),
        }
    }

    /// The same with variables of a file, which yield to those that are set.
    pub(crate) fn completed(mut self, weaker: impl IntoIterator<Item = (String, String)>) -> Self {
        for (name, value) in weaker {
            if !self.variables.contains_key(&name) {
                self.completed.insert(name.clone());
                self.variables.insert(name, value);
            }
        }
        self
    }

    /// The same where the file says these by now, with a wire of its own.
    pub(crate) fn renewed(&self, weaker: Vec<(String, String)>, face: &Face) -> Self {
        let mut own = self.variables.clone();
        own.retain(|name, _| !self.completed.contains(name));
        let environment = Self { secrets: self.secrets.clone(), ..Self::of(own) }.completed(weaker);
        environment.lay_like(self, face, |_| ());
        environment
    }

    /// The same once more, with a wire of its own.
    pub(crate) fn again(&self, face: &Face) -> Self {
        Self { completed: self.completed.clone(), ..self.with([], face, |_| ()) }
    }

    /// No child inherits these from here on: somebody says that they are secrets.
    pub(crate) fn hide(names: &[String]) {
        names.iter().for_each(|name| remove(name));
    }

    /// One with variables of its own above these and with a wire of its own: with its own credentials, limits and share of
    /// the memory. What it is told is told about `face`'s subject.
    pub(crate) fn with(
        &self,
        variables: impl IntoIterator<Item = (String, String)>,
        face: &Face,
        change: impl FnOnce(&mut WireArguments),
    ) -> Self {
        let mut own = self.variables.clone();
        own.extend(variables);
        let environment = Self { secrets: self.secrets.clone(), ..Self::of(own) };
        environment.lay_like(self, face, change);
        environment
    }

    /// Reach stores as `other` does, but for the `change`.
    fn lay_like(&self, other: &Self, face: &Face, change: impl FnOnce(&mut WireArguments)) {
        if let Some(Laid { flags, may_remember }) = other.laid.get() {
            let mut flags = flags.clone();
            change(&mut flags);
            self.lay_wire(&flags, *may_remember, face.clone());
        }
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All of them, for a process that takes our place.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&String, &String)> {
        self.variables.iter()
    }

    /// Reach stores as these flags say; comes once, before any store is opened.
    pub(crate) fn lay_wire(&self, flags: &WireArguments, may_remember: bool, face: Face) {
        let settings = remote::Settings::new(self.variables.clone());
        let cache = flags.cache_dir.clone().or_else(|| self.usual_cache());
        let remembers = may_remember && !flags.no_cache;
        self.laid.get_or_init(|| Laid { flags: flags.clone(), may_remember });
        self.wire.get_or_init(|| Wire::new(flags, settings, Cache { directory: cache, remembers }, face));
    }

    /// Where secrets are fetched.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The memory of all runs together.
    pub(crate) fn budget(&self) -> Budget {
        self.wire().budget()
    }

    /// `$XDG_CACHE_HOME/mainstay`, else `~/.cache/mainstay`; none without a home.
    fn usual_cache(&self) -> Option<PathBuf> {
        let absolute = |name| self.get(name).map(Path::new).filter(|path| path.is_absolute());
        let home = absolute("XDG_CACHE_HOME").map(Path::to_owned);
        Some(home.or_else(|| Some(absolute("HOME")?.join(".cache")))?.join("mainstay"))
    }

    /// How stores are reached.
    pub(crate) fn wire(&self) -> &Wire {
        self.wire.get().expect("main lays it before any command runs")
    }

    /// A secret variable.
    pub(crate) fn secret(&self, name: &str) -> Option<Secret> {
        self.get(name).map(Secret::new)
    }

    /// The arguments without `--db-password VALUE`, whose value is kept apart.
    pub(crate) fn take_passwords_out(&self, arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
        let mut kept = vec![];
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let text = argument.to_str().unwrap_or_default();
            let value = match text.strip_prefix(PASSWORD_FLAG) {
                Some("") => arguments.next().and_then(|value| value.into_string().ok()),
                Some(rest) if rest.starts_with('=') => Some(rest[1..].to_owned()),
                _ => {
                    kept.push(argument);
                    continue;
                }
            };
            *self.argument_password.lock().unwrap_or_else(PoisonError::into_inner) = value.map(Secret::new);
        }
        kept
    }

    /// What stood behind `--db-password`.
    pub(crate) fn argument_password(&self) -> Option<Secret> {
        self.argument_password.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[expect(
    unsafe_code,
    reason = "the environment may be changed only while there is one thread, and here there is"
)]
fn remove(name: &str) {
    // SAFETY: called from `main` before any thread is started.
    unsafe { std::env::remove_var(name) }
}

/// Overwrite the passwords where the kernel put our arguments and environment, and reads them for `/proc`.
fn wipe_start() -> std::io::Result<()> {
    // Numbers of the fields behind the name, which may hold spaces: proc(5), arg_start is the 48th of all.
    const ARG_START: usize = 48 - 3;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<u64> = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.split(' ').map(|field| field.trim().parse().unwrap_or(0)).collect())
        .unwrap_or_default();
    let [arg_start, arg_end, env_start, env_end] = match fields.get(ARG_START..ARG_START + 4) {
        Some(&[a, b, c, d]) if a < b && c <= d => [a, b, c, d],
        _ => return Ok(()),
    };
    let memory = File::options().read(true).write(true).open("/proc/self/mem")?;
    wipe(&memory, arg_start, arg_end, secret_arguments)?;
    wipe(&memory, env_start, env_end, secret_variables)
}

fn wipe(memory: &File, start: u64, end: u64, find: fn(&[u8]) -> Vec<(usize, usize)>) -> std::io::Result<()> {
    let mut block = vec![0; usize::try_from(end - start).unwrap_or(0)];
    memory.read_exact_at(&mut block, start)?;
    for (from, to) in find(&block) {
        memory.write_all_at(&vec![b'x'; to - from], start + from as u64)?;
    }
    zeroize::Zeroize::zeroize(&mut block);
    Ok(())
}

/// Where the values of `--db-password` stand in a block of strings that each end in NUL.
fn secret_arguments(block: &[u8]) -> Vec<(usize, usize)> {
    let mut is_next = false;
    let mut found = vec![];
    for (start, text) in strings(block) {
        let rest = text.strip_prefix(PASSWORD_FLAG.as_bytes());
        if std::mem::take(&mut is_next) {
            found.push((start, start + text.len()));
        } else if rest == Some(b"") {
            is_next = true;
        } else if rest.is_some_and(|rest| rest.starts_with(b"=")) {
            found.push((start + PASSWORD_FLAG.len() + 1, start + text.len()));
        }
    }
    found
}

/// Where the values of the secret variables stand.
fn secret_variables(block: &[u8]) -> Vec<(usize, usize)> {
    let value = |(start, text): (usize, &[u8])| {
        let equals = text.iter().position(|byte| *byte == b'=')?;
        let is_secret = secret_names().any(|name| name.as_bytes() == &text[..equals]);
        is_secret.then_some((start + equals + 1, start + text.len()))
    };
    strings(block).filter_map(value).collect()
}

fn strings(block: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut next = 0;
    block.split(|byte| *byte == 0).map(move |text| {
        let start = next;
        next += text.len() + 1;
        (start, text)
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::Arguments;

    fn environment() -> Environment {
        Environment::of(HashMap::new())
    }

    #[test]
    fn a_password_argument_is_taken_out_in_both_forms() {
        for form in [&["x", "--db-password", "canary", "y"][..], &["x", "--db-password=canary", "y"]] {
            let environment = environment();
            let kept = environment.take_passwords_out(form.iter().map(OsString::from));
            assert_eq!(kept, ["x", "y"]);
            assert_eq!(environment.argument_password().unwrap().expose(), "canary");
        }
        let other = ["--db-password-file", "f"].map(OsString::from);
        assert_eq!(environment().take_passwords_out(other.clone().into_iter()), other);
    }

    #[test]
    fn variables_of_a_file_yield_to_the_environment_and_to_what_the_file_says_later() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<_> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let strong = Environment::of(pairs(&[("A", "own")]).into_iter().collect());
        let first = strong.completed(pairs(&[("A", "file"), ("B", "1"), ("C", "1")]));
        let face = Face::new(&Arguments::try_parse_from(["mainstay", "serve"]).unwrap().global);
        let later = first.renewed(pairs(&[("A", "file"), ("B", "2")]), &face);
        assert_eq!([first.get("A"), first.get("B"), first.get("C")], [Some("own"), Some("1"), Some("1")]);
        assert_eq!([later.get("A"), later.get("B"), later.get("C")], [Some("own"), Some("2"), None]);
        // And once more.
        assert_eq!(later.renewed(pairs(&[("C", "3")]), &face).get("B"), None);
    }

    #[test]
    fn secrets_are_found_where_the_kernel_keeps_them() {
        let shown = |block: &[u8], found: Vec<(usize, usize)>| -> Vec<String> {
            found.iter().map(|(from, to)| String::from_utf8_lossy(&block[*from..*to]).into_owned()).collect()
        };
        let block =
            b"mainstay\0--db-password\0one\0--db-password=two\0--db-password-file\0three\0--db-password";
        assert_eq!(shown(block, secret_arguments(block)), ["one", "two"]);
        let block =
            b"PGPASSWORD=a=b\0PGPASSFILE=c\0XPGPASSWORD=d\0MAINSTAY_PASSWORD=\0MAINSTAY_TOKEN=e\0broken";
        assert_eq!(shown(block, secret_variables(block)), ["a=b", "", "e"]);
    }
}

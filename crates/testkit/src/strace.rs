//! System calls of a program that fail, or at which it is killed: strace as a wrapper.
//!
//! strace counts the calls of each thread by itself. Where several threads make a kind of call, the n-th one is another
//! one in each run, and a sweep by n is not total; what is done to one file or folder ([`Fault::at`]) is always met. A
//! call at which the program is killed has not happened, and all before it has.

use std::fs;
use std::path::{Path, PathBuf};

use crate::means;
use crate::program::{Program, Ran};

/// Whether programs may be traced here; where not, that is said.
pub fn is_permitted() -> bool {
    let tried = Program::new("strace").run(&["-f", "-qq", "-o", "/dev/null", "true"]);
    if tried.code != Some(0) {
        means::lack(&format!("programs cannot be traced here: {}", tried.stderr.trim()));
    }
    tried.code == Some(0)
}

/// What becomes of certain calls.
#[derive(Clone, Debug)]
pub struct Fault {
    calls: String,
    effect: String,
    nth: Option<u64>,
    path: Option<PathBuf>,
    others: Vec<Self>,
}

impl Fault {
    /// kill -9 at one of `calls`, like `linkat,unlink`.
    pub fn kill(calls: &str) -> Self {
        let (calls, effect) = (calls.to_owned(), "signal=SIGKILL".to_owned());
        Self { calls, effect, nth: None, path: None, others: vec![] }
    }

    /// `calls` fail with `error`, like `EIO`.
    pub fn error(calls: &str, error: &str) -> Self {
        Self { effect: format!("error={error}"), ..Self::kill(calls) }
    }

    /// Only the `nth` of each thread, from 1.
    #[must_use]
    pub fn nth(self, nth: u64) -> Self {
        Self { nth: Some(nth), ..self }
    }

    /// Only where `path`, or what was opened by it, is meant.
    #[must_use]
    pub fn at(self, path: &Path) -> Self {
        Self { path: Some(path.to_owned()), ..self }
    }

    /// The same and another one. Where one of them is of a path, calls of no other paths are met by either.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.others.push(other);
        self
    }

    /// Run a program under it.
    ///
    /// # Panics
    /// Where strace is missing.
    pub fn run(&self, program: &Program, arguments: &[&str]) -> Faulted {
        let all = || std::iter::once(self).chain(&self.others);
        let traced_calls: Vec<_> = all().map(|fault| fault.calls.as_str()).collect();
        let mut options = vec!["-e".to_owned(), format!("trace={}", traced_calls.join(","))];
        for Self { calls, effect, nth, path, .. } in all() {
            let when = nth.map(|nth| format!(":when={nth}")).unwrap_or_default();
            options.extend(["-e".to_owned(), format!("inject={calls}:{effect}{when}")]);
            options.extend(path.iter().flat_map(|path| ["-P".to_owned(), path.display().to_string()]));
        }
        let (ran, trace) = traced(program, arguments, &options);
        let is_silenced = trace.lines().any(|line| line.contains("INJECTED") && line.contains(" write(2, "));
        let happened = trace.contains("INJECTED") || trace.contains("killed by SIGKILL");
        Faulted { ran, happened, is_silenced }
    }
}

/// How a run under a fault ended.
pub struct Faulted {
    /// The program.
    pub ran: Ran,
    /// Whether the fault was met.
    pub happened: bool,
    /// Whether it was met by what the program says on stderr.
    pub is_silenced: bool,
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// The file or folder that it is about, the last of several.
    pub path: PathBuf,
}

/// Run a program to its end, and tell which of `calls` it made, in order, where they went well.
///
/// # Panics
/// Where strace is missing, or the program fails.
pub fn calls_of(program: &Program, arguments: &[&str], calls: &str) -> Vec<Call> {
    // -y: a descriptor is shown with its path.
    let options = ["-y", "-e", &format!("trace={calls}")].map(str::to_owned);
    let (ran, trace) = traced(program, arguments, &options);
    ran.ok();
    trace.lines().filter_map(parse).collect()
}

/// `123 fsync(3</a/b>) = 0`, `123 unlink("/a/b") = 0`, `123 linkat(3</…>, "", AT_FDCWD</…>, "/a/b", …) = 0`.
fn parse(line: &str) -> Option<Call> {
    let (call, result) = line.rsplit_once(" = ")?;
    let (head, arguments) = call.split_once('(')?;
    let name = head.split_whitespace().last()?.to_owned();
    let quoted = arguments.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/')).last();
    let opened = || arguments.split_once('<')?.1.split_once('>').map(|(path, _)| path);
    let path = PathBuf::from(quoted.or_else(opened)?);
    result.starts_with('0').then_some(Call { name, path })
}

fn traced(program: &Program, arguments: &[&str], options: &[String]) -> (Ran, String) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let trace = place.path().join("trace");
    let mut wrapper = vec!["strace", "-f", "-qq", "-o", trace.to_str().expect("a plain path")];
    wrapper.extend(options.iter().map(String::as_str));
    let ran = program.under(&wrapper).run(arguments);
    (ran, fs::read_to_string(&trace).expect("strace wrote what it saw"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_call_and_path() {
        let call = |name: &str, path: &str| Some(Call { name: name.into(), path: path.into() });
        assert_eq!(parse("12 fsync(3</a/b c>) = 0"), call("fsync", "/a/b c"));
        assert_eq!(parse(r#"12  unlink("/a/b") = 0"#), call("unlink", "/a/b"));
        let linkat = r#"12 linkat(3</a/#1 (deleted)>, "", AT_FDCWD</x>, "/a/b", AT_EMPTY_PATH) = 0"#;
        assert_eq!(parse(linkat), call("linkat", "/a/b"));
        assert_eq!(parse(r#"12 unlink("/a/b") = -1 ENOENT (No such file or directory)"#), None);
        assert_eq!(parse("12 +++ exited with 0 +++"), None);
    }

    #[test]
    fn a_call_at_which_it_is_killed_has_not_happened() {
        if !is_permitted() {
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        let (path, touch) = (file.to_str().unwrap(), Program::new("touch"));
        touch.run(&[path]).ok();
        let removal = Program::new("rm");
        let killed = Fault::kill("unlink,unlinkat").at(&file).run(&removal, &[path]);
        assert!(killed.happened && killed.ran.code.is_none() && file.exists());
        let failed = Fault::error("unlink,unlinkat", "EIO").nth(1).run(&removal, &[path]);
        assert!(failed.happened && failed.ran.code == Some(1) && file.exists());
        assert!(!Fault::kill("unlink,unlinkat").nth(2).run(&removal, &[path]).happened);
        assert!(!file.exists());
    }
}

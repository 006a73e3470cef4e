//! A program under test, started as a user starts it: arguments and environment in, exit code and words out.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A program with the environment that it is given: nothing of the test's own but `PATH` and the place of coverage
/// and temporary files.
#[derive(Clone)]
pub struct Program {
    path: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Program {
    /// The program at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let kept = ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"];
        let environment = kept.iter().filter_map(|name| Some(((*name).into(), std::env::var_os(name)?)));
        Self { path: path.into(), environment: environment.collect() }
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same with a variable; the last value of a name holds.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// The same without a variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    /// The same under another program, as in `strace -f … program`.
    #[must_use]
    pub fn under(&self, wrapper: &[&str]) -> Wrapped {
        Wrapped { wrapper: wrapper.iter().map(Into::into).collect(), program: self.clone() }
    }

    /// A command, not yet started.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(arguments).env_clear().envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }

    /// Run to the end.
    ///
    /// # Panics
    /// Where the program cannot be started.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Ran {
        Ran::of(&self.command(arguments).output().expect("the program can be started"))
    }

    /// Start it, with its output kept for [`Ran::wait`].
    ///
    /// # Panics
    /// Where the program cannot be started.
    pub fn start<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the program can be started")
    }
}

/// A program under another one.
pub struct Wrapped {
    wrapper: Vec<OsString>,
    program: Program,
}

impl Wrapped {
    /// Run to the end.
    ///
    /// # Panics
    /// Where the wrapper cannot be started.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Ran {
        Ran::of(&self.command(arguments).output().expect("the wrapper can be started"))
    }

    /// A command, not yet started.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut all: Vec<OsString> = self.wrapper[1..].to_vec();
        all.push(self.program.path.clone().into());
        all.extend(arguments.iter().map(|argument| argument.as_ref().to_owned()));
        let outer =
            Program { path: (&self.wrapper[0]).into(), environment: self.program.environment.clone() };
        outer.command(&all)
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// From what the system says.
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout.clone(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The end of a child.
    ///
    /// # Panics
    /// Where the system does not tell it.
    pub fn wait(child: Child) -> Self {
        Self::of(&child.wait_with_output().expect("a child ends"))
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// It went well.
    ///
    /// # Panics
    /// Where it did not.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// It ended with this code.
    ///
    /// # Panics
    /// Where it did not.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        let text = self.text();
        let shown = text.chars().take(4000).collect::<String>();
        assert_eq!(self.code, Some(code), "stderr:\n{}\nstdout:\n{shown}", self.stderr);
        self
    }

    /// What it said on stderr has these words.
    ///
    /// # Panics
    /// Where it has not.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.stderr.contains(words), "{words:?} is not in\n{}", self.stderr);
        self
    }
}

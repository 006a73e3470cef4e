//! The moments at which a run is killed: every object that it makes or removes, n-th calls, and any time at all.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use testkit::moments::Moments;
use testkit::program::{Program, Ran};
use testkit::strace::{Fault, calls_of};

/// What changes a directory: an object gets its name, a name goes.
const CHANGES: [&str; 2] = ["linkat", "unlink"];
/// And what comes behind a new name in a folder, so that a kill there is one behind the name.
const BEHIND: &str = "fsync";
/// More calls of one kind than any verb here makes.
const NTH_MAX: u64 = 200;

/// How far one n-th call is from the next one at most. The named ones are all met above; of the rest, which run after run
/// meets others of, `MAINSTAY_TEST_EVERY=1` meets each.
fn stride() -> u64 {
    if std::env::var_os("MAINSTAY_TEST_EVERY").is_some() { 1 } else { 3 }
}

/// When.
pub(crate) enum Moment {
    /// At a call.
    At(Fault),
    /// After a time.
    After(Duration),
}

impl fmt::Display for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(fault) => write!(out, "{fault:?}"),
            Self::After(time) => write!(out, "after {time:?}"),
        }
    }
}

/// What is done to the repository by a verb, and how to begin anew.
pub(crate) struct Verb<'a> {
    pub(crate) program: Program,
    pub(crate) arguments: &'a [&'a str],
    pub(crate) reset: &'a dyn Fn(),
}

impl Verb<'_> {
    /// Kill the verb at every moment; `judge` looks at what is left. Times by chance: so many `rounds`.
    ///
    /// # Panics
    /// Where the verb does not end well when nobody kills it, or no kill is met.
    pub(crate) fn killed_everywhere(
        &self,
        rounds: usize,
        moments: &mut Moments,
        judge: &mut dyn FnMut(&Moment),
    ) {
        (self.reset)();
        let begin = Instant::now();
        self.program.run(self.arguments).ok();
        let length = begin.elapsed();
        let mut met = 0;
        let mut kill = |moment: Moment, program: &Program| {
            (self.reset)();
            let ran = match &moment {
                Moment::At(fault) => fault.run(program, self.arguments).ran,
                Moment::After(time) => killed_after(*time, program, self.arguments),
            };
            assert!(matches!(ran.code, None | Some(0)), "{moment}: {}", ran.stderr);
            met += usize::from(ran.code.is_none());
            judge(&moment);
            ran.code.is_none()
        };
        for place in self.places() {
            let fault = Fault::kill(&place.0).at(&place.1);
            kill(Moment::At(fault), &self.program);
        }
        for calls in CHANGES {
            let mut nth = 1;
            while kill(Moment::At(Fault::kill(calls).nth(nth)), &self.program) {
                nth += 1 + moments.number() % stride();
                assert!(nth <= NTH_MAX, "more than {NTH_MAX} times {calls}");
            }
        }
        for _ in 0..rounds {
            kill(Moment::After(moments.below(length)), &self.program);
        }
        assert!(met > 5, "{met} kills of {:?} were met", self.arguments);
    }

    /// Every object that is made or removed under a name that is no accident, and every folder that becomes durable.
    fn places(&self) -> BTreeSet<(String, PathBuf)> {
        (self.reset)();
        let calls = calls_of(&self.program, self.arguments, &format!("{},{BEHIND}", CHANGES.join(",")));
        (self.reset)();
        let is_same_again =
            |path: &Path| !is_of_cache(path) && (path.exists() || !path.components().any(is_accident));
        let known = calls.into_iter().filter(|call| is_same_again(&call.path));
        known.map(|call| (call.name, call.path)).collect()
    }
}

fn is_of_cache(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == ".cache")
}

/// A hash, a random number, or a file without a name: another one in the next run.
fn is_accident(part: Component<'_>) -> bool {
    let part = part.as_os_str().to_string_lossy();
    let last = part.rsplit('-').next().unwrap_or_default();
    part.starts_with('#')
        || [16, 64].contains(&last.len()) && last.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn killed_after(time: Duration, program: &Program, arguments: &[&str]) -> Ran {
    let mut child = program.start(arguments);
    std::thread::sleep(time);
    child.kill().unwrap();
    Ran::wait(child)
}

//! What the process was started with: its environment, taken once, and secrets taken out of reach of children.
//!
//! Invariant: after [`Environment::take`] no child inherits a password of ours or of PostgreSQL.

use std::collections::HashMap;
use std::ffi::OsString;

use model::secret::Secret;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Variables that hold secrets.
const SECRETS: [&str; 3] = ["MAINSTAY_PASSWORD", "MAINSTAY_TOKEN", "PGPASSWORD"];
/// Contract of older scripts: accepted, and taken out of the argument vector at once.
const PASSWORD_FLAG: &str = "--db-password";

/// The environment at the start.
pub(crate) struct Environment {
    variables: HashMap<String, String>,
    argument_password: std::cell::RefCell<Option<Secret>>,
}

/// No core dumps, and no other process of this user may look into our memory (threat 12).
pub(crate) fn harden() {
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
        for name in SECRETS {
            remove(name);
        }
        Self { variables, argument_password: std::cell::RefCell::new(None) }
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
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
            *self.argument_password.borrow_mut() = value.map(Secret::new);
        }
        kept
    }

    /// What stood behind `--db-password`.
    pub(crate) fn argument_password(&self) -> Option<Secret> {
        self.argument_password.borrow().clone()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment { variables: HashMap::new(), argument_password: std::cell::RefCell::new(None) }
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
}

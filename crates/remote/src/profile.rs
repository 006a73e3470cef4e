//! AWS's shared files: `~/.aws/credentials` and `~/.aws/config`, as far as they name keys, a region or a web identity.
//!
//! What needs a program or a browser (`credential_process`, `sso_*`) or a chain of roles (`source_profile`) is
//! named and refused: half of a profile would sign as somebody else.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::settings::Settings;

/// Keys of profiles that change who one is, and that are not read here.
const NOT_READ: [&str; 5] =
    ["credential_process", "sso_session", "sso_start_url", "source_profile", "credential_source"];

/// What the files say of one profile, by AWS's names, like `aws_access_key_id`.
#[derive(Default)]
pub(crate) struct Profile(HashMap<String, String>);

impl Profile {
    /// The profile `name`, or the one of `AWS_PROFILE`, or `default`, which alone may be missing.
    ///
    /// # Errors
    /// In words: no such profile, a file that cannot be read, or a kind that is not supported.
    pub(crate) fn read(name: Option<&str>, settings: &Settings) -> Result<Self, String> {
        let named = name.or_else(|| settings.variable("AWS_PROFILE"));
        let name = named.unwrap_or("default");
        let mut keys = HashMap::new();
        for (variable, file, prefix) in [
            ("AWS_CONFIG_FILE", ".aws/config", "profile "),
            ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", ""),
        ] {
            let path = match (settings.variable(variable), settings.variable("HOME")) {
                (Some(path), _) => PathBuf::from(path),
                (None, Some(home)) => PathBuf::from(home).join(file),
                (None, None) => continue,
            };
            match std::fs::read_to_string(&path) {
                Ok(text) => keys.extend(section(&text, prefix, name)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{}: {error}", path.display())),
            }
        }
        if keys.is_empty() && named.is_some() {
            return Err(format!("there is no profile {name:?} in the AWS files"));
        }
        let has_keys = keys.contains_key("aws_access_key_id");
        if let Some(kind) = NOT_READ.iter().find(|kind| !has_keys && keys.contains_key(**kind)) {
            return Err(format!(
                "the profile {name:?} uses {kind}, which is not supported; export its keys instead"
            ));
        }
        Ok(Self(keys))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

/// The keys of one section; `default` stands without prefix in both files.
fn section(text: &str, prefix: &str, name: &str) -> HashMap<String, String> {
    let mut inside = false;
    let mut keys = HashMap::new();
    for line in text.lines() {
        let is_nested = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let header = header.trim();
            inside = header == name && (prefix.is_empty() || name == "default")
                || !prefix.is_empty() && header.strip_prefix(prefix).map(str::trim) == Some(name);
        } else if let Some((key, value)) = line.split_once('=').filter(|_| inside && !is_nested) {
            keys.insert(key.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    keys.retain(|_, value| !value.is_empty());
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        files: &[(&str, &str)],
        name: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Result<Profile, String> {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        for (file, text) in files {
            std::fs::write(home.path().join(".aws").join(file), text).unwrap();
        }
        let mut variables: Vec<_> =
            variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        variables.push(("HOME".into(), home.path().to_str().unwrap().into()));
        Profile::read(name, &Settings::new(variables))
    }

    const CREDENTIALS: &str = "# mine\n[default]\naws_access_key_id = A\naws_secret_access_key=s=1\n\n[work]\n\
        aws_access_key_id=B\naws_secret_access_key=t\n aws_session_token=nested\n";
    const CONFIG: &str = "[default]\nregion=eu-west-1\n[profile work]\nregion = eu-central-1\ns3 =\n  addressing_style = path\n\
        [profile sso]\nsso_session=x\n[work]\nregion=wrong\n";

    #[test]
    fn both_files_are_one_profile() {
        let files = [("credentials", CREDENTIALS), ("config", CONFIG)];
        let default = read(&files, None, &[]).unwrap();
        assert_eq!(
            (default.get("aws_access_key_id"), default.get("aws_secret_access_key")),
            (Some("A"), Some("s=1"))
        );
        assert_eq!(default.get("region"), Some("eu-west-1"));
        for work in [read(&files, Some("work"), &[]), read(&files, None, &[("AWS_PROFILE", "work")])] {
            let work = work.unwrap();
            assert_eq!(
                (work.get("aws_access_key_id"), work.get("region")),
                (Some("B"), Some("eu-central-1"))
            );
            assert_eq!(work.get("aws_session_token"), None);
        }
    }

    #[test]
    fn a_profile_that_is_missing_or_strange_is_named() {
        let files = [("credentials", CREDENTIALS), ("config", CONFIG)];
        assert!(read(&files, Some("nobody"), &[]).is_err_and(|error| error.contains("nobody")));
        assert!(read(&files, Some("sso"), &[]).is_err_and(|error| error.contains("sso_session")));
        assert!(read(&[], None, &[]).unwrap().get("region").is_none());
    }
}

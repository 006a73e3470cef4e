//! What this machine lacks: a place for what is remembered, PostgreSQL's programs.

use std::path::Path;

use repo::cache::CacheDir;

use super::Finding;
use crate::database;
use crate::environment::Environment;

pub(super) fn look(bin_dir: Option<&Path>, environment: &Environment) -> Vec<Finding> {
    vec![cache(environment), programs(bin_dir, environment)]
}

fn cache(environment: &Environment) -> Finding {
    let lost = "starts are slower, and a place that was wiped is not noticed";
    let Some(directory) = environment.wire().cache_directory() else {
        return Finding::warning(
            "machine",
            "there is no cache directory",
            lost,
            "set HOME, or --cache-dir DIR",
        );
    };
    match CacheDir::open(directory) {
        Ok(_) => Finding::ok("machine", format!("the cache is in {}", directory.display())),
        Err(error) => Finding::warning(
            "machine",
            format!("the cache directory {} is not used: {error}", directory.display()),
            lost,
            "give it to the user who runs mainstay, mode 0700, or name another one with --cache-dir",
        ),
    }
}

fn programs(bin_dir: Option<&Path>, environment: &Environment) -> Finding {
    let found = database::clients(bin_dir, environment.get("PATH"));
    let versions: Vec<_> = found
        .iter()
        .flat_map(|clients| clients.all())
        .map(|client| format!("{} in {}", client.version(), client.bin_dir().display()))
        .collect();
    match versions.is_empty() {
        false => Finding::ok("machine", format!("PostgreSQL's programs: {}", versions.join(", "))),
        true => Finding::warning(
            "machine",
            "there are no PostgreSQL programs",
            "databases cannot be backed up from here; directories can",
            "install postgresql-client of the server's version, or name its directory with --pg-bin-dir",
        ),
    }
}

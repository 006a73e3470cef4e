//! Whether there is a repository, the password opens it, and it is in use. What was seen of its stores is written down in
//! it, where that is news: every run goes by it.

use engine::{catalog, retired};
use model::secret::Secret;
use repo::Repository;

use super::Finding;
use super::store::Looked;
use crate::environment::Environment;
use crate::error::Result;
use crate::habits::{self, Seen};
use crate::place;

const AREA: &str = "repository";

/// The repository that is named, and where it is.
pub(super) struct Opened {
    pub(super) repository: Repository,
    pub(super) url: String,
}

pub(super) fn look(
    Looked { store, seen }: Looked,
    password: Result<Secret>,
    environment: &Environment,
) -> (Vec<Finding>, Option<Repository>) {
    let weakness = password.as_ref().ok().and_then(Secret::weakness);
    let opened =
        password.and_then(|password| Ok(Repository::open_with(store, &password, place::cache(environment))?));
    let repository = match opened {
        Ok(repository) => repository,
        Err(error) => {
            return (vec![Finding::problem(AREA, error, "nothing can be backed up or restored")], None);
        }
    };
    let mut findings: Vec<_> =
        seen.into_iter().filter_map(|(location, seen)| remember(&repository, location, &seen)).collect();
    let id = repository.config().id.short();
    match (catalog::list_readable(&repository), retired::refuse(&repository)) {
        (_, Err(error)) => {
            findings.push(Finding::problem(AREA, error.into(), "nothing more is backed up into it"))
        }
        (Err(error), _) => findings.push(Finding::problem(AREA, error.into(), "backups cannot be listed")),
        (Ok(listing), Ok(())) => {
            let newest =
                listing.records.first().map(|record| format!(", the newest of {:.0}", record.created_at));
            let count = listing.records.len();
            findings.push(Finding::ok(
                AREA,
                format!("{id} opens; {count} backups{}", newest.unwrap_or_default()),
            ));
            findings.extend(listing.damage.into_iter().map(|damage| {
                Finding::problem(AREA, damage.into(), "this backup cannot be restored as it is")
            }));
        }
    }
    findings.extend(weakness.map(|reason| {
        Finding::warning(
            AREA,
            format!("the password is weak ({reason})"),
            "whoever reads the store can guess it",
            "draw another one: `mainstay key rotate --generate-password FILE`",
        )
    }));
    if repository.keys().is_ok_and(|keys| keys.len() == 1) {
        findings.push(Finding::warning(
            AREA,
            "there is one password and no recovery key",
            "a lost password is a lost backup",
            "add another one and keep it on paper, elsewhere: `mainstay key add`",
        ));
    }
    (findings, Some(repository))
}

/// Write down how a store behaved, where it is not known already.
fn remember(repository: &Repository, location: String, seen: &Seen) -> Option<Finding> {
    match habits::renew(repository, location.clone(), seen) {
        Ok(false) => None,
        Ok(true) => Some(Finding::ok(AREA, format!("what {location} does is news, and written down here"))),
        Err(error) => Some(Finding::warning(
            AREA,
            format!("what {location} does is news, and cannot be written down: {}", error.message),
            "other runs go by what was seen before",
            "run this with credentials that may write below the prefix",
        )),
    }
}

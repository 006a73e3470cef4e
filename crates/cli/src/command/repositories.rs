//! `mainstay repositories`: the addresses that `--dest` used from here, and forgetting one.

use serde_json::json;

use crate::arguments::Repositories;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::known;

pub(crate) fn run(order: &Repositories, environment: &Environment, face: &Face) -> Result<()> {
    match order {
        Repositories::List => {
            let known = known::remembered(environment);
            face.result(&json!({ "repositories": known }), || known.join("\n"));
            Ok(())
        }
        Repositories::Forget { url } => match known::forget(url, environment)? {
            true => {
                face.result(&json!({ "forgotten": url }), || {
                    format!("{url} is forgotten; what it holds stays")
                });
                Ok(())
            }
            false => Err(CliError::new(Kind::NotFound, format!("{url} is not among the known repositories"))
                .hint("`mainstay repositories list` shows them")),
        },
    }
}

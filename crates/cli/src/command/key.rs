//! `mainstay key …`: the passwords that open the repository.

use model::secret::Secret;
use repo::keys::KeyEntry;
use serde_json::json;

use crate::arguments::{Global, Key};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::table::table;
use crate::{password, place};

pub(crate) fn run(global: &Global, order: Key, environment: &Environment, face: &Face) -> Result<()> {
    if matches!(order, Key::Generate) {
        let secret = Secret::generate().map_err(|error| CliError::new(Kind::Failed, error.to_string()))?;
        face.result(&json!({ "password": secret.expose() }), || secret.expose().to_owned());
        return Ok(());
    }
    let current = password::current(global, environment, face)?;
    let repository = place::open_with(global, &current, environment, face)?;
    let me = place::identity(environment);
    let (word, id) = match order {
        Key::List => {
            show(&repository.keys()?, face);
            return Ok(());
        }
        Key::Add(order) => {
            ("added", repository.add_key(&password::new(&order, face)?, &me.username, &me.hostname)?)
        }
        Key::Rotate(order) => {
            let new = password::new(&order, face)?;
            ("rotated", repository.rotate_key(&current, &new, &me.username, &me.hostname)?)
        }
        Key::Remove { id } => ("removed", repository.remove_key(&id)?),
        Key::Generate => return Ok(()),
    };
    face.result(&json!({ "id": id.to_hex(), "action": word }), || format!("{word} key {}", id.short()));
    Ok(())
}

fn show(keys: &[KeyEntry], face: &Face) {
    let document: Vec<_> = keys
        .iter()
        .map(|key| {
            json!({
                "id": key.id.to_hex(),
                "createdAt": key.created.to_string(),
                "username": key.username,
                "hostname": key.hostname,
                "current": key.current,
            })
        })
        .collect();
    face.result(&json!({ "keys": document }), || {
        let header = ["ID", "USER", "HOST", "CREATED", "CURRENT"].map(str::to_owned).to_vec();
        let row = |key: &KeyEntry| {
            let current = if key.current { "yes" } else { "no" };
            vec![
                key.id.short(),
                key.username.clone(),
                key.hostname.clone(),
                format!("{:.0}", key.created),
                current.into(),
            ]
        };
        table(&std::iter::once(header).chain(keys.iter().map(row)).collect::<Vec<_>>())
    });
}

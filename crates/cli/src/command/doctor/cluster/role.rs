//! Whether the role may back the cluster up: read it where it lies, or let the server send it.

use pg::cluster_state::RoleState;

use super::{AREA, Seen, wrong};
use crate::command::doctor::Finding;
use crate::error::{CliError, Kind};

pub(super) fn look(seen: &Seen<'_>) -> Vec<Finding> {
    let RoleState { name, is_superuser, may_replicate, may_read_settings, may_back_up } = &seen.state.role;
    let is_local = *may_back_up && *may_read_settings;
    let finding = match (is_local || *is_superuser, *may_replicate) {
        (true, true) => {
            Finding::ok(AREA, format!("role {name} may back it up, from the data directory or by streaming"))
        }
        (true, false) => Finding::warning(
            AREA,
            format!("role {name} may make no slot"),
            "a server that removes WAL faster than the backup reads ends the backup",
            &format!("as a superuser: ALTER ROLE {name} REPLICATION"),
        ),
        (false, true) => Finding::note(
            AREA,
            format!(
                "role {name} may have it streamed, and not read the data directory: each backup is a full one"
            ),
            &grants(seen),
        ),
        (false, false) => {
            let message = format!("role {name} may neither put it into backup mode nor have it streamed");
            let error = CliError::new(Kind::Usage, message).hint(grants(seen));
            wrong(seen.asked.is_meant, AREA, error, "the cluster cannot be backed up")
        }
    };
    vec![finding]
}

/// What a superuser has to say.
fn grants(seen: &Seen<'_>) -> String {
    let name = &seen.state.role.name;
    let functions = match seen.version.major() {
        15.. => "pg_backup_start(text, boolean), pg_backup_stop(boolean)",
        _ => "pg_start_backup(text, boolean, boolean), pg_stop_backup(boolean, boolean)",
    };
    format!(
        "as a superuser: ALTER ROLE {name} REPLICATION; GRANT pg_read_all_settings TO {name}; GRANT EXECUTE ON FUNCTION \
         {functions} TO {name}"
    )
}

//! Roles made for a restore that has not succeeded yet, and what is done about the ones of a restore that was killed.
//!
//! The transaction that makes them writes them down too: as the comment of a scratch database that is kept for this
//! alone, empty, for as long as the restore lives. Success wipes the note, for a new database in the transaction that
//! gives it its name. Invariants: a note is believed only on a database of our own role, so that nobody talks us into
//! dropping roles; and it is acted on once, by the one who renames its database first.

use serde::Deserialize;

use crate::globals::Globals;
use crate::psql::QueryError;
use crate::quote::identifier;
use crate::roles::MadeRoles;
use crate::scratch::Scratch;
use crate::server::Server;

/// Databases with a name of ours and no session, each with its comment where it is our role's. What is still starting
/// to connect has no session either, and loses its database then; it tries again.
const LEFT_BEHIND: &str = r"
SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('name', datname, 'note',
  (SELECT pg_catalog.shobj_description(d.oid, 'pg_database') FROM pg_catalog.pg_roles r
   WHERE r.oid = d.datdba AND r.rolname = current_user)) ORDER BY datname), '[]')
FROM pg_catalog.pg_database d
WHERE datname ~ '^mainstay_(restore|swept)_[0-9a-f]{8}$' AND NOT EXISTS (
  SELECT FROM pg_catalog.pg_stat_activity a WHERE a.datid = d.oid
    AND (pg_catalog.row_to_json(a)->>'backend_type') IS DISTINCT FROM 'autovacuum worker');
";

/// Roles and memberships that go again unless [`PendingRoles::keep`] is called, whatever becomes of this process.
pub struct PendingRoles {
    server: Server,
    made: MadeRoles,
    /// Where they are written down. None where our role may make no database: then only a kill leaves them behind.
    note: Option<Scratch>,
}

/// Something that a restore left behind.
pub struct Swept {
    /// Name of the database, or the roles that it had made.
    pub what: Leftover,
    /// Why it is still there, if it is.
    pub obstacle: Option<String>,
}

/// What a restore leaves behind when it is killed.
pub enum Leftover {
    /// A database of this name.
    Database(String),
    /// A role of this name.
    Role(String),
}

#[derive(Deserialize)]
struct Left {
    name: String,
    note: Option<String>,
}

impl PendingRoles {
    /// Make the roles and memberships of `globals` that are missing here, all of them or, after an error, none;
    /// `number` makes the name of the scratch database.
    ///
    /// # Errors
    /// What the server says.
    pub fn make(server: &Server, globals: &Globals, number: u32) -> Result<Self, QueryError> {
        let note = Scratch::create(server, None, number).ok();
        let made = server.make_roles(globals, note.as_ref().map(Scratch::name));
        match made {
            Ok(made) => Ok(Self { server: server.clone(), made, note }),
            Err(error) => {
                note.map(Scratch::drop).transpose().ok();
                Err(error)
            }
        }
    }

    /// The statement that makes them stay, for the transaction that makes the restore succeed.
    pub fn keep_sql(&self) -> Option<String> {
        self.note.as_ref().map(|note| format!("COMMENT ON DATABASE {} IS NULL", identifier(note.name())))
    }

    /// They stay. The note is wiped first: a database that somebody looks into cannot be dropped, and is swept later.
    ///
    /// # Errors
    /// What the server says; the next [`sweep`] then drops those that nobody uses.
    pub fn keep(self) -> Result<(), QueryError> {
        if let Some(sql) = self.keep_sql() {
            self.server.execute(&[sql])?;
        }
        self.note.map(Scratch::drop).transpose().ok();
        Ok(())
    }

    /// They go; those that are in use stay, and are named.
    ///
    /// # Errors
    /// What the server says; all that is there then stays until the next [`sweep`].
    pub fn take_back(self) -> Result<Vec<String>, QueryError> {
        let left = self.server.unmake_roles(&self.made, &[])?;
        self.keep().map(|()| left)
    }

    /// What was made.
    pub fn made(&self) -> &MadeRoles {
        &self.made
    }
}

/// Drop the scratch databases and the roles of restores that died. One that lives, wherever, keeps its own.
///
/// # Errors
/// Where the server cannot be asked.
pub fn sweep(server: &Server) -> Result<Vec<Swept>, QueryError> {
    let left: Vec<Left> = server.ask_server("databases that were left behind", LEFT_BEHIND, &[])?;
    let note_of = |left: &Left| serde_json::from_str::<MadeRoles>(left.note.as_deref()?).ok();
    // Databases first: roles may own them.
    let (notes, loads): (Vec<_>, Vec<_>) =
        left.into_iter().map(|left| (note_of(&left), left.name)).partition(|(note, _)| note.is_some());
    let mut swept: Vec<_> = loads.into_iter().map(|(_, name)| drop_database(server, name)).collect();
    for (made, name) in notes {
        swept.extend(made.map(|made| drop_roles(server, &made, &name)).into_iter().flatten());
    }
    Ok(swept)
}

fn drop_database(server: &Server, name: String) -> Swept {
    let obstacle = server.drop_database(&name).err().map(|error| error.to_string());
    Swept { what: Leftover::Database(name), obstacle }
}

/// Drop what `made` tells, and `name`, whose note that is.
fn drop_roles(server: &Server, made: &MadeRoles, name: &str) -> Vec<Swept> {
    // Of two that sweep one is refused here, and leaves alone what may have been made anew meanwhile.
    let claimed = name.replace("_restore_", "_swept_");
    let claim = [
        format!("ALTER DATABASE {} RENAME TO {}", identifier(name), identifier(&claimed)),
        format!("COMMENT ON DATABASE {} IS NULL", identifier(&claimed)),
    ];
    let Ok(left) = server.unmake_roles(made, &claim) else { return vec![] };
    // What cannot be dropped now has no note any more: the next sweep tries again.
    let mut swept = vec![drop_database(server, claimed)];
    let role = |name: &String| Swept {
        what: Leftover::Role(name.clone()),
        obstacle: left.contains(name).then(|| "somebody uses it".to_owned()),
    };
    swept.extend(made.roles.iter().map(role));
    swept
}

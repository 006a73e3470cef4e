//! The plan of a restore of a cluster, in words and as JSON.

use std::path::{Path, PathBuf};

use engine::restore_cluster::{ClusterOrder, ClusterPlan, Destination};
use model::recovery_target::RecoveryTarget;
use model::size::ByteSize;
use pg::client::Client;
use serde_json::json;

use super::choose::Chosen;
use crate::database;
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;

/// A server's programs on this machine.
pub(super) struct Server {
    bin_dir: PathBuf,
    version: String,
}

impl Server {
    /// Those of the major version that a cluster needs.
    pub(super) fn find(
        major: u32,
        bin_dir: Option<&Path>,
        environment: &Environment,
    ) -> Result<Option<Self>> {
        let clients = database::clients(bin_dir, environment.get("PATH"))?;
        let fits =
            |client: &&Client| client.version().major() == major && client.program("postgres").is_file();
        let found = clients.all().iter().find(fits);
        Ok(found.map(|client| Self {
            bin_dir: client.bin_dir().to_owned(),
            version: client.version().to_string(),
        }))
    }

    /// The path of one of them.
    pub(super) fn program(&self, name: &str) -> String {
        self.bin_dir.join(name).display().to_string()
    }
}

pub(super) fn show_plan(
    chosen: &Chosen,
    plan: &ClusterPlan,
    order: &ClusterOrder<'_>,
    server: Option<&Server>,
    dry_run: bool,
    face: &Face,
) {
    if face.is_json() {
        face.result(&document(chosen, plan, order, server, dry_run), String::new);
    } else {
        face.note(&text(chosen, plan, order, server, dry_run));
    }
    if server.is_none() {
        face.warn(&format!(
            "no server of PostgreSQL {} was found here, and no other starts on it",
            plan.major
        ));
    }
    if !plan.has_configuration {
        face.warn(
            "postgresql.conf is not in the backup: it was outside the data directory, as Debian has it; put one there, or \
             start the server with -c config_file=…",
        );
    }
    let needs_wal = !matches!(order.recovery.target, RecoveryTarget::Latest | RecoveryTarget::Immediate);
    if needs_wal && chosen.ahead.segments == 0 {
        face.warn(
            "no WAL behind this backup is archived: unless it is by the time the server is started, it will stop and say \
             that recovery ended before the target",
        );
    }
    if let Some(gap) = chosen.ahead.gap {
        face.warn(&format!(
            "the archive lacks {gap}, although it has later WAL: nothing behind it can be recovered from this backup"
        ));
    }
}

fn text(
    chosen: &Chosen,
    plan: &ClusterPlan,
    order: &ClusterOrder<'_>,
    server: Option<&Server>,
    dry_run: bool,
) -> String {
    let Chosen { record, line, ahead, .. } = chosen;
    let verb = if dry_run { "would restore" } else { "restore" };
    let links = if plan.links == 1 { "full".to_owned() } else { format!("chain of {} links", plan.links) };
    let mut text = format!(
        "{verb} {} of {:.0}\n  backup  cluster {}, PostgreSQL {}, {links}\n  data    {} files, at most {} to write, {} to fetch",
        record.id,
        record.created_at,
        plan.system,
        plan.major,
        plan.files,
        ByteSize(plan.bytes),
        ByteSize(plan.stored_bytes),
    );
    if plan.holes > 0 {
        text += &format!("\n  holes   {} of that: no bytes on the disk", ByteSize(plan.holes));
    }
    if !plan.left_out.is_empty() {
        let names = plan.left_out.join(", ");
        text += &format!("\n  zeros   {} of the databases {names}: holes, no bytes", ByteSize(plan.zeros));
    }
    for destination in &plan.destinations {
        text += &format!("\n  to      {}", place(destination));
    }
    text += &format!(
        "\n  recover to {}, along timeline {}, from {} on",
        order.recovery.target,
        line.last(),
        plan.stop
    );
    text += &match ahead.segments {
        0 => "; no WAL behind it is archived".to_owned(),
        segments => format!("; archived WAL goes to {} ({segments} segments)", ahead.end),
    };
    if let Some(server) = server {
        text += &format!("\n  server  PostgreSQL {} in {}", server.version, server.bin_dir.display());
    }
    text
}

fn place(destination: &Destination) -> String {
    let Destination { oid, was, place, is_occupied, bytes, room } = destination;
    let what = match (oid, was) {
        (Some(oid), Some(was)) if was != place => {
            format!(" (tablespace {oid}, which was in {})", was.display())
        }
        (Some(oid), _) => format!(" (tablespace {oid})"),
        (None, _) => String::new(),
    };
    let state = if *is_occupied { "NOT EMPTY: what is there is overwritten or removed, " } else { "" };
    format!("{}{what}: {state}{} of {} free", place.display(), ByteSize(*bytes), ByteSize(room.free))
}

fn document(
    chosen: &Chosen,
    plan: &ClusterPlan,
    order: &ClusterOrder<'_>,
    server: Option<&Server>,
    dry_run: bool,
) -> serde_json::Value {
    let destinations = plan.destinations.iter().map(|destination| {
        json!({
            "tablespace": destination.oid,
            "was": destination.was,
            "place": destination.place,
            "overwrites": destination.is_occupied,
            "sizeBytes": destination.bytes.to_string(),
            "freeBytes": destination.room.free.to_string(),
        })
    });
    json!({
        "id": chosen.record.id,
        "systemId": plan.system,
        "serverVersion": plan.major,
        "serverDirectory": server.map(|server| &server.bin_dir),
        "startLsn": plan.start,
        "stopLsn": plan.stop,
        "timeline": chosen.line.last(),
        "links": plan.links,
        "files": plan.files.to_string(),
        "sizeBytes": plan.bytes.to_string(),
        "fetchBytes": plan.stored_bytes.to_string(),
        "leftOut": plan.left_out,
        "zeroBytes": plan.zeros.to_string(),
        "holeBytes": plan.holes.to_string(),
        "places": destinations.collect::<Vec<_>>(),
        "target": order.recovery.target.to_string(),
        "walUntil": chosen.ahead.end,
        "walGap": chosen.ahead.gap.map(|gap| gap.to_string()),
        "settings": order.recovery.settings().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "dryRun": dry_run,
    })
}

//! Restores of clusters that PostgreSQL's own tools backed up: what comes out is what pg_combinebackup makes of the same,
//! and what pg_verifybackup and a server take.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../files_world/mod.rs"]
mod files_world;
mod chain;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use engine::cluster_manifest::ClusterManifest;
use engine::restore_cluster::{ClusterOrder, ClusterReport, TablespaceMove, prepare, restore};
use engine::stored_tree::{Subject, TreeSource, locate};
use files::owner::Owners;
use files_world::World;
use model::backup::{BackupKind, BackupRecord};
use model::cancel::CancelToken;
use model::lsn::{SystemId, Timeline};
use model::progress::Progress;
use model::recovery_target::{RecoveryTarget, TargetAction, TargetTimeline};
use pg::backup_label::BackupLabel;
use pg::control_file::{CONTROL_FILE, ControlFile};
use pg::recovery::Recovery;
use pg::version::Version;
use testkit::postgres::{Postgres, installed};

/// Program directories whose PostgreSQL makes incremental backups.
fn with_increments() -> Vec<PathBuf> {
    installed().into_iter().filter(|bin_dir| bin_dir.join("pg_combinebackup").is_file()).collect()
}

/// Run a program that must succeed.
#[track_caller]
fn run(command: &mut Command) {
    let output = command.env("LC_ALL", "C").output().unwrap();
    let words = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).join("\n");
    assert!(output.status.success(), "{command:?}: {}: {words}", output.status);
}

/// pg_basebackup, full or resting on an earlier one.
fn base_backup(server: &Postgres, to: &Path, parent: Option<&Path>) {
    let mut command = Command::new(server.client().program("pg_basebackup"));
    // A password file of ours is for one database, and replication is none.
    command.env("PGPASSWORD", server.password()).args(["-h", "127.0.0.1", "-U", "postgres", "-p"]);
    command.arg(server.port().to_string()).args(["-c", "fast", "--no-sync", "-X", "fetch", "-D"]).arg(to);
    if let Some(parent) = parent {
        command.arg(format!("--incremental={}", parent.join("backup_manifest").display()));
    }
    run(&mut command);
}

/// The links in `data/chain` of a world become a backup of a cluster.
fn store(world: &mut World, links: usize, major: u32) -> BackupRecord {
    let newest = world.data().join(format!("chain/{:02}", links - 1));
    let label = BackupLabel::parse(&std::fs::read_to_string(newest.join("backup_label")).unwrap()).unwrap();
    let control = ControlFile::parse(&std::fs::read(newest.join(CONTROL_FILE)).unwrap()).unwrap();
    let mut record = world.back_up().record;
    record.kind = BackupKind::Cluster;
    let link = |_| engine::cluster_manifest::EarlierLink {
        id: record.id.clone(),
        created_at: record.created_at,
        start_lsn: label.start,
    };
    let manifest = ClusterManifest {
        manifest_version: 1,
        record: record.clone(),
        server_version: Version::new(major, 0),
        system_id: SystemId(control.system.0),
        timeline: Timeline(1),
        start_lsn: label.start,
        stop_lsn: label.start,
        stopped_at: None,
        segment_size: control.wal_segment_size.bytes(),
        has_checksums: control.has_checksums(),
        is_standby: false,
        data_directory: String::new(),
        tablespaces: vec![],
        earlier: (1..links).map(link).collect(),
        made_of: vec![],
        marker: None,
        problems: vec![],
    };
    std::fs::write(world.data().join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
    store_again(world, record)
}

/// What lies there by now becomes a backup with this record.
fn store_again(world: &mut World, mut record: BackupRecord) -> BackupRecord {
    let stored = world.back_up().record;
    // What lies in the directory is to be the root of the snapshot.
    let mut snapshot = world.repository.load_snapshot(&stored.snapshot.unwrap()).unwrap();
    let index = world.repository.load_index().unwrap();
    let subject = locate(&mut TreeSource::new(&world.repository, &index).unwrap(), &snapshot).unwrap();
    let Subject::Directory { tree, .. } = subject else { panic!("a directory was backed up") };
    snapshot.tree = tree;
    record.snapshot = Some(world.repository.commit_snapshot(&snapshot).unwrap());
    record
}

fn recovery() -> Recovery {
    Recovery {
        target: RecoveryTarget::Immediate,
        inclusive: true,
        timeline: TargetTimeline::Latest,
        action: TargetAction::Promote,
        standby: false,
        restore_command: "false".to_owned(),
        continue_archiving: false,
        is_partial: false,
    }
}

fn order(to: &Path, moves: Vec<TablespaceMove>) -> ClusterOrder<'static> {
    ClusterOrder {
        place: to.to_owned(),
        moves,
        spaces: None,
        databases: vec![],
        delta: false,
        recovery: recovery(),
        owners: Arc::new(Owners::default()),
        tell: &|words| panic!("{words}"),
        progress: Progress::new(),
        cancel: CancelToken::new(),
    }
}

fn restored(
    world: &World,
    record: &BackupRecord,
    order: &ClusterOrder<'_>,
) -> engine::error::Result<ClusterReport> {
    let index = world.repository.load_index().unwrap();
    let prepared = prepare(&world.repository, &index, record, order)?;
    restore(&world.repository, &index, &prepared, order)
}

/// Every file below a directory with its contents and mode.
fn contents(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    fn walk(root: &Path, directory: &Path, found: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let about = std::fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().to_owned();
            if about.is_dir() {
                found.insert(name, (about.mode(), vec![]));
                walk(root, &path, found);
            } else {
                found.insert(name, (about.mode(), std::fs::read(&path).unwrap_or_default()));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

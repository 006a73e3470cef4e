//! pg_control of real clusters: what we read is what pg_controldata says.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use pg::control_file::{CONTROL_FILE, ClusterState, ControlFile};
use testkit::postgres::{Postgres, of_major};

/// What pg_controldata says of a data directory, by its own names.
fn judged(bin_dir: &Path, data: &Path) -> HashMap<String, String> {
    let output = Command::new(bin_dir.join("pg_controldata")).arg(data).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

#[test]
fn pg_controldata_reads_the_same_in_every_version() {
    for bin_dir in (13..=18).filter_map(of_major) {
        let server = Postgres::start_with_settings(&bin_dir, &[("max_prepared_transactions", "7")]);
        server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n; CHECKPOINT");
        let data = server.cluster().data_dir();
        let control = ControlFile::parse(&std::fs::read(data.join(CONTROL_FILE)).unwrap()).unwrap();
        let judged = judged(&bin_dir, &data);
        assert_eq!(control.state, ClusterState::Production);
        let ours = [
            ("pg_control version number", control.version.to_string()),
            ("Catalog version number", control.catalog_version.to_string()),
            ("Database system identifier", control.system.to_string()),
            ("Database cluster state", "in production".to_owned()),
            ("Latest checkpoint location", control.checkpoint.to_string()),
            ("Latest checkpoint's REDO location", control.redo.to_string()),
            ("Latest checkpoint's TimeLineID", control.timeline.to_string()),
            ("Minimum recovery ending location", control.min_recovery_point.to_string()),
            ("Min recovery ending loc's timeline", control.min_recovery_timeline.to_string()),
            (
                "Latest checkpoint's full_page_writes",
                if control.full_page_writes { "on" } else { "off" }.to_owned(),
            ),
            ("max_prepared_xacts setting", control.prepared_transactions_max.to_string()),
            ("max_locks_per_xact setting", control.locks_max.to_string()),
            ("Database block size", control.block_size.to_string()),
            ("Blocks per segment of large relation", control.segment_blocks.to_string()),
            ("Bytes per WAL segment", control.wal_segment_size.bytes().to_string()),
            ("Data page checksum version", control.checksum_version.to_string()),
        ];
        for (name, value) in ours {
            assert_eq!(judged.get(name), Some(&value), "{name} of {}", bin_dir.display());
        }
    }
}

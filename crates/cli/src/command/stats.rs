//! `mainstay stats`: what the repository holds, and what deduplication and compression saved.

use engine::stats::{Stats, stats};
use model::size::ByteSize;

use crate::arguments::Global;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::table::table;
use crate::{interrupt, place};

pub(crate) fn run(global: &Global, with_waste: bool, environment: &Environment, face: &Face) -> Result<()> {
    let cancel = interrupt::watch()?;
    let repository = place::open(global, environment, face)?;
    let found = stats(&repository, with_waste, &cancel)?;
    let used = environment.wire().use_so_far();
    let mut document =
        serde_json::to_value(&found).map_err(|error| CliError::new(Kind::Failed, error.to_string()))?;
    document["requests"] = used.to_json();
    face.result(&document, || format!("{}\nthis run      {used}", describe(&found)));
    Ok(())
}

fn describe(stats: &Stats) -> String {
    let mut lines = vec![
        format!("backups       {}, {} if all were restored", stats.snapshots, ByteSize(stats.raw_bytes)),
        format!("different     {} ({:.1}x deduplication)", ByteSize(stats.unique_bytes), stats.dedup_ratio),
        format!(
            "stored        {} ({:.1}x compression)",
            ByteSize(stats.stored_bytes),
            stats.compression_ratio
        ),
        format!(
            "objects       {} packs, {} blobs, {} of index",
            stats.packs,
            stats.blobs,
            ByteSize(stats.index_bytes)
        ),
    ];
    if stats.wal_bytes > 0 {
        lines.push(format!("WAL           {} in {} segments", ByteSize(stats.wal_bytes), stats.wal_segments));
    }
    if let Some(waste) = &stats.waste {
        lines.push(format!(
            "waste         {} unused, {} in {} marked packs",
            ByteSize(waste.unused_bytes),
            ByteSize(waste.marked_bytes),
            waste.marked_packs
        ));
    }
    let header = ["TENANT", "SOURCE", "BACKUPS", "RAW"].map(str::to_owned).to_vec();
    let rows = stats.sources.iter().map(|source| {
        let raw = ByteSize(source.raw_bytes).to_string();
        vec![source.tenant.clone(), source.source.clone(), source.snapshots.to_string(), raw]
    });
    lines.push(String::new());
    lines.push(table(&std::iter::once(header).chain(rows).collect::<Vec<_>>()));
    lines.join("\n")
}

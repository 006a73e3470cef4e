//! `backup list` and `backup get`.

use std::collections::BTreeSet;

use engine::catalog::{self, Listing};
use model::backup::BackupRecord;
use model::name::TenantName;
use model::set_mark::{SetRun, all_runs};
use model::size::ByteSize;
use serde_json::{Value, json};

use crate::arguments::Global;
use crate::environment::Environment;
use crate::error::{CliError, Result};
use crate::face::Face;
use crate::known;
use crate::table::table;

/// Column 1 is the id and column 4 the time, in every release: scripts take them with awk.
const COLUMNS: [&str; 9] =
    ["ID", "TENANT", "SOURCE", "CREATED", "SIZE", "STORED", "KIND", "VERIFIED", "LOCATION"];

pub(crate) fn list(
    global: &Global,
    tenant: Option<&str>,
    environment: &Environment,
    face: &Face,
) -> Result<()> {
    let named = tenant;
    let tenant: Option<TenantName> = tenant
        .map(str::parse)
        .transpose()
        .map_err(|error: model::name::BadName| CliError::usage(error.to_string()))?;
    let mut all = Listing::default();
    for repository in known::open_of(global, named, environment, face)? {
        let Listing { records, damage, missing } = catalog::list_readable(&repository)?;
        all.records.extend(records);
        all.damage.extend(damage);
        all.missing.extend(missing);
    }
    for records in [&mut all.records, &mut all.missing] {
        catalog::newest_first(records);
        records.retain(|record| tenant.as_ref().is_none_or(|tenant| record.tenant == *tenant));
    }
    let runs = all_runs(&all.records);
    let halves: Vec<_> = runs.iter().filter(|run| run.missing() > 0).map(value).collect();
    let document = json!({ "records": all.records, "missing": all.missing, "incompleteSets": halves });
    face.result(&document, || rows(&all));
    warn_of_sets(&runs, face);
    for BackupRecord { id, location, .. } in &all.missing {
        face.warn(&format!("{id} disappeared from {location}, and nobody deleted it with mainstay"));
    }
    // What can be read is shown first.
    all.damage.into_iter().next().map_or(Ok(()), |damage| Err(damage.into()))
}

/// Say of which sets the newest of `runs` lacks a member. One that is under way looks the same.
fn warn_of_sets(runs: &[SetRun<'_>], face: &Face) {
    let mut seen = BTreeSet::new();
    for run in runs.iter().filter(|run| seen.insert(name(run))) {
        let (missing, members) = (run.missing(), run.mark.members);
        if missing > 0 {
            let (name, run) = (name(run), run.mark.run_name());
            face.warn(&format!(
                "set {name}, run {run}, is INCOMPLETE: {missing} of {members} members are missing"
            ));
        }
    }
}

/// `TENANT/SET`.
fn name(run: &SetRun<'_>) -> String {
    let tenant = run.records.first().map(|record| record.tenant.to_string()).unwrap_or_default();
    format!("{tenant}/{}", run.mark.name)
}

fn value(run: &SetRun<'_>) -> Value {
    json!({
        "name": name(run),
        "run": run.mark.run_name(),
        "members": run.mark.members,
        "missing": run.missing(),
        "backups": run.records.iter().map(|record| &record.id).collect::<Vec<_>>(),
    })
}

/// What is there and what is missing, in one order.
fn rows(all: &Listing) -> String {
    let mut shown: Vec<_> = all.records.iter().map(|record| (record, "")).collect();
    shown.extend(all.missing.iter().map(|record| (record, "(missing)")));
    shown.sort_by(|(one, _), (other, _)| (other.created_at, &other.id).cmp(&(one.created_at, &one.id)));
    let header = COLUMNS.map(str::to_owned).to_vec();
    let rows = shown.into_iter().map(|(record, remark)| row(record, remark));
    table(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

fn row(record: &BackupRecord, remark: &str) -> Vec<String> {
    let verified = record.last_verification.as_ref().map(|verification| verification.result.clone());
    let kind = record.kind.as_str();
    vec![
        record.id.to_string(),
        record.tenant.to_string(),
        record.source.to_string(),
        format!("{:.0}", record.created_at),
        ByteSize(record.size_bytes).to_string(),
        ByteSize(record.stored_bytes).to_string(),
        format!("{kind}{}{remark}", if record.incomplete { "(incomplete)" } else { "" }),
        verified.unwrap_or_default(),
        record.location.clone(),
    ]
}

pub(crate) fn get(global: &Global, id: &str, environment: &Environment, face: &Face) -> Result<()> {
    let (_, record) = known::find(&known::open_all(global, environment, face)?, id, face)?;
    face.result(&record, || describe(&record));
    Ok(())
}

fn describe(record: &BackupRecord) -> String {
    let optional =
        |digest: Option<model::digest::Digest>| digest.map(|digest| digest.to_hex()).unwrap_or_default();
    let verification = record.last_verification.as_ref();
    let lines = [
        ("id", record.id.to_string()),
        ("tenant", record.tenant.to_string()),
        ("source", record.source.to_string()),
        ("kind", record.kind.as_str().to_owned()),
        ("database", format!("{:?}", record.database)),
        ("created", record.created_at.to_string()),
        ("size", format!("{} ({} bytes)", ByteSize(record.size_bytes), record.size_bytes)),
        ("stored", format!("{} ({} bytes)", ByteSize(record.stored_bytes), record.stored_bytes)),
        ("sha256", optional(record.sha256)),
        ("tables", record.relation_count.to_string()),
        (
            "verified",
            verification.map_or("never".to_owned(), |found| format!("{} at {}", found.result, found.at)),
        ),
        ("label", record.label.clone()),
        ("hold", if record.hold { "yes" } else { "no" }.to_owned()),
        ("complete", if record.incomplete { "NO: something could not be read" } else { "yes" }.to_owned()),
        ("snapshot", optional(record.snapshot)),
        ("location", record.location.clone()),
    ];
    let shown = lines.iter().filter(|(_, value)| !value.is_empty() && value != "\"\"");
    shown.map(|(name, value)| format!("{name:<9} {value}")).collect::<Vec<_>>().join("\n")
}

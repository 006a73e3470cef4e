//! `backup export`: the dump itself, or a directory as a tar stream, to stdout or, atomically, to a file.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use engine::export_files::export_files;
use engine::{export, reading};
use model::backup::{BackupKind, BackupRecord};
use model::name::SourceName;
use model::progress::Progress;

use crate::arguments::Global;
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::unfinished::into_file;
use crate::warm::Warmer;
use crate::warm_arguments::WarmUpArguments;
use crate::{interrupt, known, place};

pub(crate) fn run(
    global: &Global,
    id: &str,
    output: Option<&Path>,
    warm_up: &WarmUpArguments,
    environment: &Environment,
    face: &Face,
) -> Result<()> {
    let cancel = interrupt::watch()?;
    let (repository, record) = known::find(&known::open_all(global, environment, face)?, id, face)?;
    let _lease = reading::begin(&repository, "export", &place::identity(environment))?;
    let index = Arc::new(repository.load_index()?);
    let warmer = Warmer::of(global, warm_up, environment, &cancel, face)?;
    if !warmer.warm(warmer.look(&repository, &index, &record, &[])?)? {
        return Ok(());
    }
    let progress = Progress::new();
    let _line = ProgressLine::start(face, &progress);
    let export = |out: &mut dyn Write| match record.kind {
        BackupKind::Directory => export_files(&repository, &index, &record, out, &progress, &cancel),
        _ => export::export_dump(&repository, &index, &record, out, &progress, &cancel),
    };
    let file = output.map(|path| if path.is_dir() { path.join(name_of(&record)) } else { path.to_owned() });
    let bytes = match &file {
        None => export(&mut std::io::stdout().lock())?,
        Some(file) => into_file(file, export)?,
    };
    let place = file.map_or("stdout".to_owned(), |file| file.display().to_string());
    face.note(&format!("export ok id={} bytes={bytes} to={place}", record.id));
    Ok(())
}

/// What a backup is called in a directory: `certctl-20261120T144005Z.dump`. Names of databases may hold anything, those
/// of files here do not.
fn name_of(record: &BackupRecord) -> String {
    let (source, ending) = match record.kind {
        BackupKind::Directory => (record.source.clone(), "tar"),
        _ => (SourceName::derived_from(&record.database), "dump"),
    };
    format!("{source}-{}.{ending}", record.created_at.strftime("%Y%m%dT%H%M%SZ"))
}

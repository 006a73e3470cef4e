//! `backup export`: the dump itself, or a directory as a tar stream, to stdout or, atomically, to a file.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use engine::export_files::export_files;
use engine::{catalog, export, reading};
use model::backup::BackupKind;
use model::progress::Progress;

use crate::arguments::Global;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::{interrupt, place};

pub(crate) fn run(
    global: &Global,
    id: &str,
    output: Option<&Path>,
    environment: &Environment,
    face: &Face,
) -> Result<()> {
    let cancel = interrupt::watch()?;
    let repository = place::open(global, environment, face)?;
    let _lease = reading::begin(&repository, "export", &place::identity(environment))?;
    let record = catalog::find(&repository, id)?;
    let index = Arc::new(repository.load_index()?);
    let progress = Progress::new();
    let _line = ProgressLine::start(face, &progress);
    let export = |out: &mut dyn Write| match record.kind {
        BackupKind::Directory => export_files(&repository, &index, &record, out, &progress, &cancel),
        _ => export::export_dump(&repository, &index, &record, out, &progress, &cancel),
    };
    let bytes = match output {
        None => export(&mut std::io::stdout().lock())?,
        Some(file) => into_file(file, export)?,
    };
    let place = output.map_or("stdout".to_owned(), |file| file.display().to_string());
    face.note(&format!("export ok id={} bytes={bytes} to={place}", record.id));
    Ok(())
}

/// Under a name of its own first: whoever sees `file` sees all of it.
fn into_file(
    file: &Path,
    export: impl FnOnce(&mut dyn Write) -> Result<u64, engine::EngineError>,
) -> Result<u64> {
    let what = format!("writing {}", file.display());
    if file.exists() {
        return Err(CliError::new(Kind::Refused, format!("{} exists already", file.display())));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(CliError::io(&what))?;
    let bytes = export(temporary.as_file_mut())?;
    temporary.as_file().sync_all().map_err(CliError::io(&what))?;
    temporary.persist_noclobber(file).map_err(|error| CliError::io(&what)(error.error))?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(CliError::io(&what))?;
    Ok(bytes)
}

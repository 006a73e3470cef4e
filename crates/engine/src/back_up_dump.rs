//! Back up one database: pg_dump's archive goes straight into the repository and is understood while it passes.
//!
//! The bytes go reader → archive parser, cutter, SHA-256 of each chunk and of the whole (this thread) → compressing,
//! sealing (all cores) → packs. Nothing is written to a temporary file. Fail closed: unless pg_dump, the parser and the pipeline all
//! say that it went well, there is no backup.

use std::sync::Arc;

use model::backup::BackupRecord;
use pg::client::{Client, Clients};
use pg::connection::Session;
use pg::dump::{Dump, DumpOptions, DumpReport};
use pg::globals::Globals;
use pg::server::{Extension, Server};
use repo::Repository;
use repo::chunk::Cutter;
use repo::stream::StreamSaver;

use crate::catalog;
use crate::cutter;
use crate::dump_stream::{Passed, json, pass_through};
use crate::error::{EngineError, Result};
use crate::manifest::{DUMP_NAME, GLOBALS_NAME, MANIFEST_NAME, MANIFEST_VERSION, Manifest};
use crate::writing::{Order, Writing, plain_node, save_small_file, save_tree};

/// A database to back up.
pub struct DumpSource<'a> {
    /// The client programs that are installed.
    pub clients: &'a Clients,
    /// The way to the database.
    pub session: &'a Session,
    /// Its name.
    pub database: &'a str,
    /// How to dump.
    pub options: DumpOptions,
}

/// What the server told beside the dump.
struct Beside {
    globals: Globals,
    extensions: Vec<Extension>,
}

impl Beside {
    fn ask(server: &Server, database: &str) -> Result<Self> {
        Ok(Self { globals: server.globals()?, extensions: server.extensions(database)? })
    }
}

/// What the first byte goes into.
struct Ready {
    writing: Writing,
    cutter: Cutter,
    size: usize,
}

impl Ready {
    fn begin(
        repository: &Arc<Repository>,
        server: &Server,
        source: &DumpSource<'_>,
        order: &Order,
    ) -> Result<Self> {
        let size = chunk_size(repository, server, source, order)?;
        let writing = Writing::begin(repository, order)?;
        Ok(Self { writing, cutter: cutter::load(repository, size)?, size })
    }
}

/// Back up the database of `source`.
///
/// # Errors
/// Anything that went wrong on the way, in pg_dump's own words where it was pg_dump; then there is no backup.
pub fn back_up_dump(
    repository: &Arc<Repository>,
    source: &DumpSource<'_>,
    order: &Order,
) -> Result<BackupRecord> {
    order.progress.begin("dumping", 0);
    let server = Server::open(source.clients.newest()?, source.session)?;
    let client = source.clients.for_dump(server.version())?;
    // pg_dump reads the catalogs for a while before its first byte: everything else gets ready beside it.
    let mut dump = pg::dump::start(client, source.session, &source.options, &order.cancel)?;
    let (ready, beside) = std::thread::scope(|scope| {
        let beside = scope.spawn(|| Beside::ask(&server, source.database));
        (Ready::begin(repository, &server, source, order), beside.join())
    });
    let Ready { writing, cutter, size } = ready?;
    let beside = beside.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let stream = StreamSaver::new(&writing.saver, &cutter);
    let passed = pass_through(&mut dump, "reading from pg_dump", stream, order);
    // pg_dump's own words come first: what the parser says of a broken stream is only their consequence.
    let (report, passed) = match passed {
        Ok(passed) => (dump.finish()?, passed),
        Err(error) => return Err(reason(dump, error)),
    };
    commit(writing, source, client, order, size, &beside, passed, report)
}

fn reason(dump: Dump, error: EngineError) -> EngineError {
    match error {
        EngineError::Archive(_) | EngineError::Io { .. } => match dump.finish() {
            Err(words) => words.into(),
            Ok(_) => error,
        },
        error => error,
    }
}

/// The chunk size of this source's earlier backups, or the one that suits its size.
fn chunk_size(
    repository: &Repository,
    server: &Server,
    source: &DumpSource<'_>,
    order: &Order,
) -> Result<usize> {
    let records = catalog::list(repository)?;
    let is_earlier = |record: &&BackupRecord| record.tenant == order.tenant && record.source == order.source;
    if let Some(earlier) = records.iter().find(is_earlier) {
        let snapshot = catalog::load_snapshot(repository, earlier)?;
        let size = snapshot.tag("chunk").and_then(|text| text.parse::<usize>().ok());
        if let Some(size) = size.filter(|size| size.is_power_of_two() && (4096..=1 << 22).contains(size)) {
            return Ok(size);
        }
    }
    Ok(cutter::size_for(server.size(source.database)?.0))
}

#[expect(clippy::too_many_arguments, reason = "the last phase of one story: everything meets here")]
fn commit(
    writing: Writing,
    source: &DumpSource<'_>,
    client: &Client,
    order: &Order,
    size: usize,
    beside: &Beside,
    passed: Passed,
    report: DumpReport,
) -> Result<BackupRecord> {
    let outcome = passed.outcome(source.database, size, order);
    let manifest = Manifest {
        manifest_version: MANIFEST_VERSION,
        record: writing.record(&outcome),
        sha256: passed.sha256,
        size_bytes: passed.length,
        server_version: beside.globals.server_version.to_string(),
        client_version: client.version().to_string(),
        no_owner: source.options.no_owner,
        no_acl: source.options.no_acl,
        is_imported: false,
        extensions: beside.extensions.clone(),
        database: beside.globals.databases.iter().find(|facts| facts.name == source.database).cloned(),
        warnings: report.warnings,
        archive: passed.summary,
    };
    let saver = &writing.saver;
    let content = passed.content.wait()?;
    let mut nodes = vec![
        plain_node(DUMP_NAME, passed.length, content, order),
        save_small_file(saver, MANIFEST_NAME, &json(&manifest)?, order)?,
        save_small_file(saver, GLOBALS_NAME, &json(&beside.globals)?, order)?,
    ];
    let root = save_tree(saver, &mut nodes)?;
    writing.commit(root, &outcome)
}

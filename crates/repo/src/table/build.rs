//! Making a table: records in any order become sorted runs in nameless files, and those are merged.
//!
//! Memory: [`RUN_RECORDS`] records, one page of each run, and the rows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::path::{Path, PathBuf};

use model::digest::Digest;

use crate::crypto::Sealer;
use crate::index_file::IndexedPack;
use crate::table::draft::Draft;
use crate::table::record::Record;
use crate::table::roll::Row;
use crate::table::scratch::Scratch;
use crate::table::sorted::Table;

/// Records that are sorted in memory: 12 MiB.
const RUN_RECORDS: usize = 256 << 10;
/// In place of the number of a row that is left out.
const DROPPED: u32 = u32::MAX;

/// Gathers what index files say.
pub struct Builder<'a> {
    folder: PathBuf,
    repository: Digest,
    sealer: Sealer,
    old: Option<(&'a Table, Vec<u32>)>,
    files: Vec<Digest>,
    rows: Vec<Row>,
    records: Vec<Record>,
    runs: Vec<Table>,
}

impl<'a> Builder<'a> {
    /// A table in `folder`.
    pub fn new(folder: &Path, repository: Digest, sealer: &Sealer) -> Self {
        Self {
            folder: folder.to_owned(),
            repository,
            sealer: sealer.clone(),
            old: None,
            files: vec![],
            rows: vec![],
            records: vec![],
            runs: vec![],
        }
    }

    /// Take over from `old` what those of its files say that `stay`; before anything is added.
    #[must_use]
    pub fn keep(mut self, old: &'a Table, stay: impl Fn(&Digest) -> bool) -> Self {
        let mut numbers = vec![DROPPED; old.files().len()];
        for (number, file) in numbers.iter_mut().zip(old.files()).filter(|(_, file)| stay(file)) {
            *number = self.files.len() as u32;
            self.files.push(*file);
        }
        let mut kept = Vec::with_capacity(old.rows().len());
        for row in old.rows() {
            let file = numbers.get(row.file as usize).copied().unwrap_or(DROPPED);
            kept.push(if file == DROPPED { DROPPED } else { self.rows.len() as u32 });
            if file != DROPPED {
                self.rows.push(Row { file, ..*row });
            }
        }
        self.old = Some((old, kept));
        self
    }

    /// What the index file `file` says.
    ///
    /// # Errors
    /// What the file system says.
    pub fn add(&mut self, file: Digest, packs: &[IndexedPack]) -> io::Result<()> {
        let number = self.files.len() as u32;
        self.files.push(file);
        for pack in packs {
            let row = self.rows.len() as u32;
            self.rows.push(Row { pack: pack.id, file: number });
            self.records.extend(pack.blobs.iter().map(|blob| Record {
                id: blob.id,
                kind: blob.kind,
                row,
                offset: blob.offset,
                length: blob.length,
                raw_length: blob.raw_length.unwrap_or(0),
            }));
        }
        if self.records.len() >= RUN_RECORDS { self.write_run() } else { Ok(()) }
    }

    fn write_run(&mut self) -> io::Result<()> {
        self.records.sort_unstable();
        // Nameless from the start: a run is nobody else's, and goes with us.
        let (name, file) = Scratch::create(&self.folder)?;
        drop(name);
        let mut draft = Draft::new(file, &self.sealer)?;
        self.records.drain(..).try_for_each(|record| draft.push(record))?;
        let (file, roll) = draft.finish(self.repository, vec![], vec![])?;
        self.runs.push(Table::new(file, self.sealer.clone(), roll));
        Ok(())
    }

    /// Merge everything into the file `path`.
    ///
    /// # Errors
    /// What the file system says; a damaged page of the old table.
    pub fn finish(mut self, path: &Path) -> io::Result<Table> {
        self.records.sort_unstable();
        let Self { folder, repository, sealer, old, files, rows, records, runs } = self;
        let (name, file) = Scratch::create(&folder)?;
        let mut draft = Draft::new(file, &sealer)?;
        let mut sources: Vec<Source<'_>> = vec![boxed(records.into_iter().map(Ok))];
        sources.extend(runs.iter().map(|run| boxed(run.scan())));
        if let Some((old, kept)) = &old {
            sources.push(boxed(old.scan().filter_map(move |record| renumbered(record, kept))));
        }
        merge(sources, |record| draft.push(record))?;
        let (file, roll) = draft.finish(repository, files, rows)?;
        name.keep(path)?;
        Ok(Table::new(file, sealer, roll))
    }
}

fn renumbered(record: io::Result<Record>, kept: &[u32]) -> Option<io::Result<Record>> {
    match record {
        Ok(record) => {
            let row = kept.get(record.row as usize).copied().unwrap_or(DROPPED);
            (row != DROPPED).then_some(Ok(Record { row, ..record }))
        }
        Err(error) => Some(Err(error)),
    }
}

type Source<'a> = Box<dyn Iterator<Item = io::Result<Record>> + 'a>;

fn boxed<'a>(records: impl Iterator<Item = io::Result<Record>> + 'a) -> Source<'a> {
    Box::new(records)
}

fn merge(mut sources: Vec<Source<'_>>, mut push: impl FnMut(Record) -> io::Result<()>) -> io::Result<()> {
    let mut heads = BinaryHeap::new();
    for (number, source) in sources.iter_mut().enumerate() {
        heads.extend(source.next().transpose()?.map(|record| Reverse((record, number))));
    }
    while let Some(Reverse((record, number))) = heads.pop() {
        push(record)?;
        heads.extend(sources[number].next().transpose()?.map(|record| Reverse((record, number))));
    }
    Ok(())
}

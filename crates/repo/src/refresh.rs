//! The index of a repository, as of now: the table of this machine, and what is newer than it.
//!
//! Invariant: the sum is what the index files that are listed now say, no more and no less; a writer's leaves out packs
//! that prune has marked, or that are known to be damaged. Where there is little to put into a table, all is in memory;
//! where there is no place to keep one, it is made for this process alone and has no name.

use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use model::digest::Digest;

use crate::error::{RepoError, Result};
use crate::index::{Doubles, Index, SeekDoubles};
use crate::marks::{self, Known};
use crate::repository::{FileKind, Listed, Repository};
use crate::sealed_file::{self, SealedFiles};
use crate::table::build::Builder;
use crate::table::sorted::Table;
use crate::threads;

/// Stored bytes of index files up to which memory is good enough: some 100,000 blobs.
const SMALL_LEN: u64 = 4 << 20;
/// Index files up to which reading them all at every start is good enough.
const FEW_FILES: usize = 64;
/// New index files up to which a table stays as it is.
const NEW_FILES_MAX: usize = 32;
/// The same, as a part of all stored bytes of index files.
const NEW_SHARE: u64 = 16;
/// A table of whose rows one in this many is hidden is made anew.
const HIDDEN_SHARE: usize = 4;
/// Index files that are taken in at one time; their JSON is five times as long as what is stored.
const BATCH_LEN: u64 = 8 << 20;
const BATCH_FILES: usize = 64;
/// Listings that may be overtaken by somebody who merges index files.
const LISTINGS_MAX: usize = 5;
/// Name of the table in the folder of its repository.
const NAME: &str = "table";

/// Which packs count.
#[derive(Clone, Default)]
struct Choice {
    marked: Arc<HashSet<Digest>>,
    /// Those that are marked, and not the others.
    is_of_marked: bool,
}

impl Choice {
    fn leaves_out(&self, pack: &Digest) -> bool {
        self.marked.contains(pack) != self.is_of_marked
    }
}

impl Repository {
    /// The index for reading: every pack counts.
    ///
    /// # Errors
    /// Damage to any index file: half an index would make blobs look missing.
    pub fn load_index(&self) -> Result<Index> {
        self.index_of(&Choice::default())
    }

    /// The index for a writer: blobs of marked packs and of damaged ones do not count, so that they are stored anew rather
    /// than relied upon.
    ///
    /// # Errors
    /// As [`Repository::load_index`].
    pub fn load_known(&self) -> Result<Known> {
        let (noted, listed) = threads::both(|| marks::load_with_broken(self), || self.list(FileKind::Index));
        let (marks, broken) = noted?;
        let marked = Arc::new(marks.into_keys().chain(broken.iter().copied()).collect::<HashSet<_>>());
        let choice = |is_of_marked| Choice { marked: Arc::clone(&marked), is_of_marked };
        let usable = self.index_of_listed(&choice(false), Some(listed?))?;
        let marked = if marked.is_empty() { Index::default() } else { self.index_of(&choice(true))? };
        Ok(Known { usable, marked, broken })
    }

    /// What of it a writer may rely on.
    ///
    /// # Errors
    /// As [`Repository::load_index`].
    pub fn load_index_for_writing(&self) -> Result<Index> {
        let (marks, broken) = marks::load_with_broken(self)?;
        let marked = Arc::new(marks.into_keys().chain(broken).collect());
        self.index_of(&Choice { marked, is_of_marked: false })
    }

    /// What can be read of it without the packs `left_out`: what prune has marked is there still.
    ///
    /// # Errors
    /// As [`Repository::load_index`].
    pub fn load_index_without(&self, left_out: &HashSet<Digest>) -> Result<Index> {
        self.index_of(&Choice { marked: Arc::new(left_out.clone()), is_of_marked: false })
    }

    fn index_of(&self, choice: &Choice) -> Result<Index> {
        self.index_of_listed(choice, None)
    }

    /// The same of files that were listed already.
    fn index_of_listed(&self, choice: &Choice, listed: Option<Vec<Listed>>) -> Result<Index> {
        let (folder, first) = (self.cache_folder(), Cell::new(listed));
        listed_again(|| {
            let listed = first.take().map_or_else(|| self.list(FileKind::Index), Ok)?;
            let is_small = listed.len() <= FEW_FILES && size_of(&listed) <= SMALL_LEN;
            let index = match &folder {
                _ if is_small => in_memory(self.files(), &listed, choice),
                Some(folder) => self.index_with_table(folder, &listed, choice),
                None => self.index_without_cache(&listed, choice),
            }?;
            Ok(index.with_doubles(self.seek_doubles()))
        })
    }

    /// Finds the copies that an index passes over, by one more look at all index files.
    fn seek_doubles(&self) -> SeekDoubles {
        let files = self.files().clone();
        Box::new(move |index| {
            listed_again(|| {
                let mut doubles = Doubles::default();
                for batch in batches(&sealed_file::list(&*files.store, FileKind::Index)?) {
                    for (_, packs) in files.try_load_index(batch)? {
                        // A file that nobody can read has no copy for anybody.
                        packs.iter().flatten().try_for_each(|pack| doubles.take_in(index, pack))?;
                    }
                }
                Ok(doubles)
            })
        })
    }

    /// The table stays open when its folder is gone.
    fn index_without_cache(&self, listed: &[Listed], choice: &Choice) -> Result<Index> {
        match tempfile::Builder::new().prefix("mainstay-index-").tempdir() {
            Ok(folder) => self.index_with_table(folder.path(), listed, choice),
            Err(_) => in_memory(self.files(), listed, choice),
        }
    }

    fn index_with_table(&self, folder: &Path, listed: &[Listed], choice: &Choice) -> Result<Index> {
        let path = folder.join(NAME);
        let found = Table::open(&path, &self.config().id, self.sealer()).ok();
        let standing = Standing::of(found.as_ref(), listed);
        let (table, standing) = match found {
            Some(table) if !standing.is_outdated(&table, listed) => (table, standing),
            found => match self.build(folder, found.as_ref(), &standing) {
                Ok(table) => (table, Standing::default()),
                Err(Trouble::Repository(error)) => return Err(error),
                // No room, or the old table is damaged: without it, then, and the next start makes another one.
                Err(Trouble::Cache) => {
                    std::fs::remove_file(&path).ok();
                    return in_memory(self.files(), listed, choice);
                }
            },
        };
        let is_hidden = |row: u32| {
            let row = &table.rows()[row as usize];
            standing.gone.contains(&row.file) || choice.leaves_out(&row.pack)
        };
        let hidden: Vec<bool> = (0..table.rows().len() as u32).map(is_hidden).collect();
        let reload = {
            let (files, choice) = (self.files().clone(), choice.clone());
            // The next process must not stumble over the same table.
            move || {
                std::fs::remove_file(&path).ok();
                listed_again(|| {
                    in_memory(&files, &sealed_file::list(&*files.store, FileKind::Index)?, &choice)
                })
            }
        };
        let mut index = Index::with_table(table, |row| hidden[row as usize], Box::new(reload));
        take_in(self.files(), &standing.new, choice, &mut index)?;
        Ok(index)
    }

    fn build(&self, folder: &Path, old: Option<&Table>, standing: &Standing) -> Result<Table, Trouble> {
        let mut builder = Builder::new(folder, self.config().id, self.sealer());
        if let Some(old) = old {
            let gone: HashSet<_> = standing.gone.iter().map(|number| old.files()[*number as usize]).collect();
            builder = builder.keep(old, |file| !gone.contains(file));
        }
        for batch in batches(&standing.new) {
            for (id, packs) in self.files().try_load_index(batch)? {
                builder.add(id, &packs?)?;
            }
        }
        Ok(builder.finish(&folder.join(NAME))?)
    }
}

/// Why there is no table.
enum Trouble {
    /// What it should be made of cannot be read.
    Repository(RepoError),
    /// The place for it is of no use; that is nobody's business but ours.
    Cache,
}

impl From<RepoError> for Trouble {
    fn from(error: RepoError) -> Self {
        Self::Repository(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(_: io::Error) -> Self {
        Self::Cache
    }
}

/// How a table stands to what is listed now.
#[derive(Default)]
struct Standing {
    /// Numbers of its files that are not listed any more.
    gone: HashSet<u32>,
    /// Files that it does not know.
    new: Vec<Listed>,
}

impl Standing {
    fn of(table: Option<&Table>, listed: &[Listed]) -> Self {
        let known = table.map_or(&[][..], Table::files);
        let now: HashSet<_> = listed.iter().map(|listed| listed.id).collect();
        let gone =
            (0..).zip(known).filter(|(_, file)| !now.contains(*file)).map(|(number, _)| number).collect();
        let known: HashSet<_> = known.iter().collect();
        let new = listed.iter().filter(|listed| !known.contains(&listed.id)).cloned().collect();
        Self { gone, new }
    }

    fn is_outdated(&self, table: &Table, listed: &[Listed]) -> bool {
        let hidden = table.rows().iter().filter(|row| self.gone.contains(&row.file)).count();
        self.new.len() > NEW_FILES_MAX
            || size_of(&self.new) > (size_of(listed) / NEW_SHARE).max(SMALL_LEN)
            || hidden * HIDDEN_SHARE > table.rows().len()
    }
}

fn size_of(listed: &[Listed]) -> u64 {
    listed.iter().map(|listed| listed.size).sum()
}

fn batches(listed: &[Listed]) -> impl Iterator<Item = &[Listed]> {
    let (mut len, mut files) = (0, 0);
    listed.chunk_by(move |one, next| {
        (len, files) = (len + one.size, files + 1);
        let goes_on = len + next.size <= BATCH_LEN && files < BATCH_FILES;
        (len, files) = if goes_on { (len, files) } else { (0, 0) };
        goes_on
    })
}

fn in_memory(files: &SealedFiles, listed: &[Listed], choice: &Choice) -> Result<Index> {
    let mut index = Index::default();
    take_in(files, listed, choice, &mut index)?;
    Ok(index)
}

fn take_in(files: &SealedFiles, listed: &[Listed], choice: &Choice, index: &mut Index) -> Result<()> {
    for batch in batches(listed) {
        for (_, packs) in files.try_load_index(batch)? {
            index.add(&packs?, |pack| choice.leaves_out(pack));
        }
    }
    Ok(())
}

/// `load`, once more where a listed file is gone by then: somebody has merged it into another one.
fn listed_again<T>(load: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 1..LISTINGS_MAX {
        match load() {
            Err(RepoError::Store(error)) if error.is_not_found() => {}
            other => return other,
        }
    }
    load()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Mutex;

    use jiff::Timestamp;
    use proptest::prelude::{any, prop};
    use proptest::{prop_assert_eq, proptest};
    use store::faulty::FaultyStore;
    use store::memory::MemoryStore;

    use super::*;
    use crate::blob::{BlobId, BlobKind, PackedBlob};
    use crate::cache::CacheDir;
    use crate::index::{IndexedPack, encode_file};
    use crate::table::page::PAGE_LEN;
    use crate::testing;

    /// A repository of index files alone, with a cache, and a list of what is read of it. Each load of its index
    /// opens the table anew, as another process does.
    struct World {
        repository: Repository,
        reads: Arc<Mutex<Vec<String>>>,
        root: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let reads = Arc::new(Mutex::new(vec![]));
            let seen = Arc::clone(&reads);
            let plan = move |_: u64, action: &str, key: &str| {
                if action == "get" && key.starts_with("index/") {
                    seen.lock().unwrap().push(key.to_owned());
                }
                None
            };
            let store = Arc::new(FaultyStore::new(MemoryStore::new(), Box::new(plan)));
            drop(testing::repository_in(store.clone()));
            let root = tempfile::tempdir().unwrap();
            let cache = CacheDir::open(&root.path().join("cache")).unwrap();
            let repository = Repository::open_with(store, &testing::password(), Some(cache)).unwrap();
            Self { repository, reads, root }
        }

        fn open(&self) -> &Repository {
            &self.repository
        }

        fn table(&self) -> PathBuf {
            self.root.path().join("cache").join(self.repository.config().id.to_hex()).join(NAME)
        }

        fn reads(&self) -> usize {
            std::mem::take(&mut *self.reads.lock().unwrap()).len()
        }

        /// What the cached index says of `ids` is what the index files say.
        fn assert_same(&self, cached: &Index, ids: impl Iterator<Item = BlobId>) {
            let mut copies: HashMap<(BlobKind, BlobId), Vec<_>> = HashMap::new();
            for pack in self.repository.load_index_files().unwrap().iter().flat_map(|(_, packs)| packs) {
                for blob in &pack.blobs {
                    let copy = (pack.id, blob.offset, blob.length, blob.raw_length);
                    copies.entry((blob.kind, blob.id)).or_default().push(copy);
                }
            }
            for id in ids {
                for kind in BlobKind::ALL {
                    let found = cached.find(kind, &id).unwrap();
                    let found = found.map(|place| {
                        (cached.pack_id(place.pack), place.offset, place.length, place.compressed_from())
                    });
                    match copies.get(&(kind, id)) {
                        None => assert_eq!(found, None, "{kind:?} {id}"),
                        Some(copies) => assert!(copies.contains(&found.unwrap()), "{kind:?} {id} {found:?}"),
                    }
                }
            }
        }
    }

    /// Few enough first bytes that some ids begin alike.
    fn blob(n: u64) -> PackedBlob {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(n % 700).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        id[24..].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        let kind = if n.is_multiple_of(5) { BlobKind::Tree } else { BlobKind::Data };
        let raw_length = n.is_multiple_of(3).then_some(100 + n as u32);
        PackedBlob { id: Digest(id), kind, offset: n as u32, length: 50 + n as u32, raw_length }
    }

    fn pack(n: u64, blobs: impl Iterator<Item = u64>) -> IndexedPack {
        let mut id = [0xaa; 32];
        id[..8].copy_from_slice(&n.to_le_bytes());
        IndexedPack { id: Digest(id), blobs: blobs.map(blob).collect() }
    }

    fn save(repository: &Repository, packs: &[IndexedPack]) -> Digest {
        repository.save_file(FileKind::Index, &encode_file(packs)).unwrap()
    }

    /// 100 files of 30 blobs; one blob of each stands in the next file too.
    fn fill(repository: &Repository) -> Vec<Digest> {
        (0..100).map(|n| save(repository, &[pack(n, n * 30..n * 30 + 31)])).collect()
    }

    fn ids() -> impl Iterator<Item = BlobId> {
        (0..3500).step_by(3).map(|n| blob(n).id)
    }

    #[test]
    fn a_table_reads_new_files_alone_and_forgets_those_that_are_gone() {
        let world = World::new();
        let repository = world.open();
        let files = fill(repository);
        world.assert_same(&repository.load_index().unwrap(), ids());
        assert!(world.table().is_file());
        world.reads();
        world.open().load_index().unwrap();
        assert_eq!(world.reads(), 0, "all of it is in the table");

        for n in 200..203 {
            save(repository, &[pack(n, n * 10..n * 10 + 12)]);
        }
        repository.store().delete(&FileKind::Index.object(&files[7])).unwrap();
        let index = world.open().load_index().unwrap();
        assert_eq!(world.reads(), 3);
        world.assert_same(&index, ids());
        assert!(!index.has(blob(7 * 30 + 1).kind, &blob(7 * 30 + 1).id).unwrap());

        files[10..50].iter().for_each(|id| repository.store().delete(&FileKind::Index.object(id)).unwrap());
        world.reads();
        let index = world.open().load_index().unwrap();
        world.assert_same(&index, ids());
        assert!(world.open().load_index().unwrap().len() < 2000, "the table was made anew");
    }

    #[test]
    fn few_files_need_no_table() {
        let world = World::new();
        let repository = world.open();
        save(repository, &[pack(1, 0..100)]);
        world.assert_same(&repository.load_index().unwrap(), ids());
        assert!(!world.table().exists());
    }

    #[test]
    fn without_a_cache_the_table_is_there_for_one_process() {
        let repository = testing::repository();
        fill(&repository);
        let index = repository.load_index().unwrap();
        // A table counts copies, memory does not.
        assert_eq!(index.len(), 3100);
        for n in (0..3000).step_by(7) {
            assert!(index.has(blob(n).kind, &blob(n).id).unwrap(), "{n}");
        }
        assert!(!index.has(blob(5000).kind, &blob(5000).id).unwrap());
    }

    #[test]
    fn marked_packs_are_hidden_from_writers_and_another_copy_counts() {
        let world = World::new();
        let repository = world.open();
        fill(repository);
        repository.load_index().unwrap();
        // Blob 60 stands in packs 1 and 2, blob 61 in pack 2 alone.
        let marked = |n| marks::Marks::from([(pack(n, 0..0).id, Timestamp::UNIX_EPOCH)]);
        for (mark, other) in [(1, 2), (2, 1)] {
            marks::save(repository, &marked(mark)).unwrap();
            let index = world.open().load_index_for_writing().unwrap();
            let place = index.require(blob(60).kind, &blob(60).id).unwrap();
            assert_eq!(index.pack_id(place.pack), pack(other, 0..0).id);
            assert_eq!(index.has(blob(61).kind, &blob(61).id).unwrap(), mark == 1);
            let marked = world.open().load_known().unwrap().marked;
            assert_eq!(marked.has(blob(61).kind, &blob(61).id).unwrap(), mark == 2);
            assert!(!marked.has(blob(300).kind, &blob(300).id).unwrap());
        }
        world.assert_same(&world.open().load_index().unwrap(), ids());
    }

    #[test]
    fn ids_that_begin_alike_are_compared_in_full() {
        let world = World::new();
        let repository = world.open();
        // Three pages and more that begin with the same eight bytes.
        let alike = |n: u8, last: u8| {
            let mut id = [7; 32];
            (id[30], id[31]) = (n, last);
            PackedBlob { id: Digest(id), ..blob(1) }
        };
        for n in 0..90 {
            let mut pack = pack(n.into(), 0..0);
            pack.blobs = vec![alike(n, 0)];
            save(repository, &[pack]);
        }
        let index = repository.load_index().unwrap();
        assert!(world.table().is_file());
        world.assert_same(&index, (0..91).flat_map(|n| [alike(n, 0).id, alike(n, 1).id]));
    }

    /// Each of many places of a table, damaged in one of three ways.
    #[test]
    fn a_damaged_table_is_slower_and_never_wrong() {
        let world = World::new();
        fill(world.open());
        world.open().load_index().unwrap();
        let whole = fs::read(world.table()).unwrap();
        let pages = whole.len() / PAGE_LEN;
        let mut places: Vec<_> = (0..pages).step_by(pages / 3).map(|page| page * PAGE_LEN + 40).collect();
        places.extend([0, whole.len() - 1, whole.len() - 8, whole.len() - 30, whole.len() - 3000]);
        for place in places {
            let mut flipped = whole.clone();
            flipped[place] ^= 0x10;
            let swapped =
                [&whole[PAGE_LEN..2 * PAGE_LEN], &whole[..PAGE_LEN], &whole[2 * PAGE_LEN..]].concat();
            for damaged in [&flipped[..], &whole[..place], &swapped, b""] {
                fs::write(world.table(), damaged).unwrap();
                let repository = world.open();
                let index = repository.load_index().unwrap();
                world.assert_same(&index, ids());
                drop(index);
                world.assert_same(&world.open().load_index().unwrap(), ids());
                world.reads();
                world.open().load_index().unwrap();
                assert_eq!(world.reads(), 0, "rebuilt after damage at {place}");
            }
        }
    }

    #[test]
    fn a_table_cut_under_our_hands_is_slower_and_never_wrong() {
        let world = World::new();
        fill(world.open());
        let index = world.open().load_index().unwrap();
        fs::File::options().write(true).open(world.table()).unwrap().set_len(PAGE_LEN as u64).unwrap();
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| world.assert_same(&index, ids()))));
        });
    }

    #[test]
    fn a_table_of_another_repository_or_key_is_none_of_ours() {
        let (world, other) = (World::new(), World::new());
        fill(world.open());
        save(other.open(), &[pack(500, 20_000..20_031)]);
        let others = other.open();
        (501..600).for_each(|n| _ = save(others, &[pack(n, n..n + 2)]));
        world.open().load_index().unwrap();
        other.open().load_index().unwrap();
        fs::copy(other.table(), world.table()).unwrap();
        let index = world.open().load_index().unwrap();
        world.assert_same(&index, ids().chain([blob(20_001).id]));
    }

    #[test]
    fn a_place_that_cannot_keep_a_table_costs_only_time() {
        let world = World::new();
        fill(world.open());
        fs::create_dir_all(world.table()).unwrap();
        world.assert_same(&world.open().load_index().unwrap(), ids());
        fs::remove_dir_all(world.table().parent().unwrap()).unwrap();
        fs::write(world.table().parent().unwrap(), b"in the way").unwrap();
        world.assert_same(&world.open().load_index().unwrap(), ids());
    }

    #[test]
    fn many_that_build_at_once_all_have_a_sound_table() {
        let world = World::new();
        fill(world.open());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let world = &world;
                scope.spawn(move || {
                    for round in 0..4u64 {
                        let repository = world.open();
                        let n = 1000 + thread * 10 + round;
                        (0..20).for_each(|m| _ = save(repository, &[pack(n * 20 + m, n..n + 3)]));
                        let index = repository.load_index().unwrap();
                        for n in (0..3000).step_by(97) {
                            assert!(index.has(blob(n).kind, &blob(n).id).unwrap());
                        }
                    }
                });
            }
        });
        world.assert_same(&world.open().load_index().unwrap(), ids());
        let left = fs::read_dir(world.table().parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "nothing but the table is left");
    }

    #[test]
    fn files_that_are_merged_meanwhile_are_listed_again() {
        let world = World::new();
        let repository = world.open();
        let files = fill(repository);
        let listings = Mutex::new(0);
        let index = listed_again(|| {
            let listed = repository.list(FileKind::Index)?;
            let mut listings = listings.lock().unwrap();
            *listings += 1;
            if *listings == 1 {
                save(repository, &[pack(0, 0..31), pack(1, 30..61)]);
                files[..2]
                    .iter()
                    .try_for_each(|id| repository.store().delete(&FileKind::Index.object(id)))?;
            }
            in_memory(repository.files(), &listed, &Choice::default())
        });
        world.assert_same(&index.unwrap(), ids());
        assert_eq!(listings.into_inner().unwrap(), 2);
    }

    proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(8))]

        #[test]
        fn a_table_and_memory_say_the_same(
            steps in prop::collection::vec((0u64..200, 1u64..40, prop::option::of(0usize..100), any::<bool>()), 1..50),
        ) {
            let world = World::new();
            let repository = world.open();
            let mut files = fill(repository);
            for (start, len, delete, load) in steps {
                let start = start * 17;
                files.push(save(repository, &[pack(start % 90, start..start + len), pack(start, start..start + 3)]));
                if let Some(delete) = delete {
                    let gone = files.swap_remove(delete % files.len());
                    repository.store().delete(&FileKind::Index.object(&gone)).unwrap();
                }
                if load {
                    world.assert_same(&world.open().load_index().unwrap(), ids());
                }
            }
            let index = world.open().load_index().unwrap();
            world.assert_same(&index, ids());
            prop_assert_eq!(world.table().is_file(), true);
        }
    }
}

//! The hot part of a repository on two stores, made from the cold one: at the beginning, and again when it is lost.
//!
//! Form: the same objects under the same names, but for `config`, which says that this is a hot part; and no packs of
//! data. Order: packs, then what names them, then `config`: a hot part without one is none yet. Cold is only read. What
//! hot has is compared by its length and, where its name is a hash, by its bytes: so a damaged copy is replaced, too.

use std::collections::{BTreeMap, HashSet};

use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use store::store::read;
use store::{Key as ObjectKey, Object, Store, StoreError};

use crate::blob::{self, BlobKind};
use crate::config::Config;
use crate::error::{RepoError, Result};
use crate::index::IndexedPack;
use crate::repository::{FileKind, Listed, Repository};
use crate::threads;

/// What is in hot beside packs of trees and `config`, in the order in which it is copied.
const FOLDERS: [&str; 4] = ["keys", "x", "index", "snapshots"];
/// Of those, what is there only while somebody is at work; whoever needs it finds it in cold.
const SHORT_LIVED: [&str; 2] = ["x/lease/", "x/probe/"];

/// What hot lacks.
#[derive(Debug, Default)]
pub struct HotPlan {
    /// Packs that hold trees.
    pub packs: Vec<Listed>,
    /// Everything else but `config`, which in cold is always at hand.
    pub objects: Vec<Object>,
    /// Whether `config` is missing.
    pub config: bool,
    /// Index files that are damaged: not copied, and of the packs that they alone name nobody knows which hold trees.
    pub unreadable: Vec<Digest>,
}

impl HotPlan {
    /// Whether hot has all that it should, as far as the index can be read.
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty() && self.objects.is_empty() && !self.config
    }

    /// How many objects are missing.
    pub fn len(&self) -> usize {
        self.packs.len() + self.objects.len() + usize::from(self.config)
    }

    /// Their stored bytes, without `config`.
    pub fn bytes(&self) -> u64 {
        let packs = self.packs.iter().map(|pack| pack.size);
        packs.chain(self.objects.iter().map(|object| object.size)).sum()
    }
}

/// How well to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// At names and lengths.
    Listed,
    /// At the bytes of everything whose name is a hash.
    Read,
}

/// What `hot` lacks of the repository whose cold part is `cold`, opened by itself. Reads nothing from cold but its index.
///
/// # Errors
/// [`RepoError::NotHot`] where `hot` holds something else; what a store says.
pub fn plan_hot(cold: &Repository, hot: &dyn Store, look: Look) -> Result<HotPlan> {
    let config = verify_is_ours(cold, hot)?;
    let mut plan = HotPlan { config, ..HotPlan::default() };
    for folder in FOLDERS {
        let there = Copies::list(hot, folder)?;
        let mut wanted = cold.store().list(folder)?;
        wanted.retain(|object| !SHORT_LIVED.iter().any(|folder| object.key.as_str().starts_with(folder)));
        plan.objects.extend(there.missing(hot, wanted, look)?);
    }
    let trees = packs_of_trees(cold, &mut plan.unreadable)?;
    let unreadable: HashSet<_> = plan.unreadable.iter().map(|id| FileKind::Index.object(id)).collect();
    plan.objects.retain(|object| !unreadable.contains(&object.key));
    let stored = cold.list(FileKind::Pack)?.into_iter().filter(|pack| trees.contains(&pack.id));
    let stored: BTreeMap<ObjectKey, Listed> =
        stored.map(|pack| (FileKind::Pack.object(&pack.id), pack)).collect();
    let wanted = stored.iter().map(|(key, pack)| Object {
        key: key.clone(),
        size: pack.size,
        modified: pack.modified,
    });
    let there = Copies::list(hot, FileKind::Pack.folder())?;
    let missing = there.missing(hot, wanted.collect(), look)?;
    plan.packs = missing.iter().filter_map(|object| stored.get(&object.key)).cloned().collect();
    Ok(plan)
}

/// Copy what `plan` says into `hot`. Its packs have to be warm.
///
/// -> what cold has damaged, which is passed over: without the rest of hot nobody could mend it
///
/// # Errors
/// What a store says, also that a pack is too cold to be read.
pub fn fill_hot(
    cold: &Repository,
    hot: &dyn Store,
    plan: &HotPlan,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<Vec<RepoError>> {
    progress.begin("copying to hot", plan.bytes());
    let packs = plan.packs.iter().map(|pack| (FileKind::Pack.object(&pack.id), pack.size));
    let objects = plan.objects.iter().map(|object| (object.key.clone(), object.size));
    let copy = |(key, size): &(ObjectKey, u64)| {
        cancel.check()?;
        let copied = copy_object(cold.store(), hot, key);
        progress.advance(*size);
        progress.item();
        match copied {
            Err(damage) if damage.is_damage() => Ok(Some(damage)),
            copied => copied.map(|()| None),
        }
    };
    // Packs are held whole: a few at a time. They are there before anything names them.
    let packs = threads::map(&packs.collect::<Vec<_>>(), copy)?.into_iter().collect::<Result<Vec<_>>>()?;
    let objects = threads::map_waiting(&objects.collect::<Vec<_>>(), copy)?;
    let objects = objects.into_iter().collect::<Result<Vec<_>>>()?;
    if plan.config {
        put_config(cold, hot)?;
    }
    Ok(packs.into_iter().chain(objects).flatten().collect())
}

/// Whether `hot` still needs a configuration.
fn verify_is_ours(cold: &Repository, hot: &dyn Store) -> Result<bool> {
    let not_hot = || RepoError::NotHot { place: hot.location(), cold: cold.store().location() };
    let sealed = match read(hot, &config_object()) {
        Ok(sealed) => sealed,
        Err(error) if error.is_not_found() => {
            let ours: HashSet<_> = cold.list(FileKind::Key)?.into_iter().map(|key| key.id).collect();
            let theirs = crate::sealed_file::list(hot, FileKind::Key)?;
            let is_ours = theirs.is_empty() || theirs.iter().any(|key| ours.contains(&key.id));
            return if is_ours { Ok(true) } else { Err(not_hot()) };
        }
        Err(error) => return Err(error.into()),
    };
    let mut json = vec![];
    cold.sealer().open(&sealed, &mut json, &"config").map_err(|_| not_hot())?;
    let config = Config::parse(&json, &hot.location())?;
    if config.is_hot && config.id == cold.config().id { Ok(false) } else { Err(not_hot()) }
}

fn put_config(cold: &Repository, hot: &dyn Store) -> Result<()> {
    let sealed = read(cold.store(), &config_object())?;
    let mut json = vec![];
    cold.sealer().open(&sealed, &mut json, &"config")?;
    let json = Config::of_hot(&json, &cold.store().location())?;
    let mut sealed = vec![];
    cold.sealer().seal(&json, &mut sealed)?;
    match hot.put_new(&config_object(), &sealed) {
        // Somebody else does the same, or an answer was lost.
        Err(error) if error.is_already_exists() => verify_is_ours(cold, hot).map(|_| ()),
        put => Ok(put?),
    }
}

fn config_object() -> ObjectKey {
    "config".parse().expect("a plain name is a key")
}

/// Packs in which there is a tree, by all index files but those that are `unreadable`.
fn packs_of_trees(cold: &Repository, unreadable: &mut Vec<Digest>) -> Result<HashSet<Digest>> {
    let has_trees = |pack: &IndexedPack| pack.blobs.iter().any(|blob| blob.kind == BlobKind::Tree);
    let mut found = HashSet::new();
    for (id, packs) in cold.try_load_index_files()? {
        match packs {
            Ok(packs) => found.extend(packs.into_iter().filter(has_trees).map(|pack| pack.id)),
            Err(error) if error.is_damage() => unreadable.push(id),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The objects of one folder of hot, with their lengths.
struct Copies(BTreeMap<ObjectKey, u64>);

impl Copies {
    fn list(hot: &dyn Store, folder: &str) -> Result<Self> {
        Ok(Self(hot.list(folder)?.into_iter().map(|object| (object.key, object.size)).collect()))
    }

    /// Of `wanted`, what is not there, or not as it should be.
    fn missing(&self, hot: &dyn Store, wanted: Vec<Object>, look: Look) -> Result<Vec<Object>> {
        let is_there = |object: &Object| match self.0.get(&object.key) {
            Some(size) if *size != object.size => Ok(false),
            Some(_) if look == Look::Read => is_sound(hot, &object.key),
            there => Ok(there.is_some()),
        };
        let there = threads::map_waiting(&wanted, is_there)?.into_iter().collect::<Result<Vec<_>>>()?;
        let missing = wanted.into_iter().zip(there).filter(|(_, is_there)| !is_there);
        Ok(missing.map(|(object, _)| object).collect())
    }
}

/// Whether the bytes of an object fit its name, where that is a hash.
fn is_sound(hot: &dyn Store, key: &ObjectKey) -> Result<bool> {
    let Ok(name) = key.name().parse::<Digest>() else { return Ok(true) };
    if key.as_str().starts_with("x/") {
        return Ok(true);
    }
    match read(hot, key) {
        Ok(content) => Ok(blob::id_of(&content) == name),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// One object, as cold has it; one that is gone from there meanwhile is not needed.
fn copy_object(cold: &dyn Store, hot: &dyn Store, key: &ObjectKey) -> Result<()> {
    let content = match read(cold, key) {
        Err(StoreError::NotFound { .. }) => return Ok(()),
        content => content?,
    };
    let is_note = key.as_str().starts_with("x/");
    if !is_note && key.name().parse().is_ok_and(|name: Digest| blob::id_of(&content) != name) {
        return Err(RepoError::damaged(key, "its bytes do not fit its name"));
    }
    match hot.put_new(key, &content) {
        // Another one is there: of another length, or damaged.
        Err(error) if error.is_already_exists() => {
            hot.delete(key)?;
            match hot.put_new(key, &content) {
                Err(error) if !error.is_already_exists() => Err(error.into()),
                _ => Ok(()),
            }
        }
        put => Ok(put?),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::secret::Secret;
    use store::Range;
    use store::memory::MemoryStore;
    use store::meter::{Meter, MeterStore};
    use store::tiers::Tiers;

    use super::*;
    use crate::testing;

    const BLOBS: [(BlobKind, &[u8]); 3] =
        [(BlobKind::Data, b"some bytes"), (BlobKind::Data, b"more bytes"), (BlobKind::Tree, b"a tree")];

    struct World {
        hot: Arc<MemoryStore>,
        cold: Arc<MemoryStore>,
        /// Of what cold was asked through [`World::pair`].
        meter: Arc<Meter>,
    }

    fn world() -> World {
        let world = World { hot: Arc::default(), cold: Arc::default(), meter: Arc::default() };
        Repository::init(world.cold.clone(), &testing::password(), "u", "h").unwrap();
        world.repair();
        world
    }

    impl World {
        fn pair(&self) -> Result<Arc<Repository>> {
            let cold = MeterStore::new(self.cold.clone(), self.meter.clone());
            let tiers = Arc::new(Tiers::new(self.hot.clone(), Arc::new(cold)));
            Repository::open(tiers, &testing::password()).map(Arc::new)
        }

        fn cold(&self) -> Repository {
            Repository::open(self.cold.clone(), &testing::password()).unwrap()
        }

        fn plan(&self, look: Look) -> HotPlan {
            plan_hot(&self.cold(), &self.hot, look).unwrap()
        }

        /// -> how many objects were missing
        fn repair(&self) -> usize {
            let plan = self.plan(Look::Read);
            fill_hot(&self.cold(), &self.hot, &plan, &Progress::new(), &CancelToken::new()).unwrap();
            assert!(self.plan(Look::Read).is_empty());
            plan.len()
        }
    }

    #[test]
    fn what_is_written_through_a_pair_leaves_nothing_to_repair_and_cold_unread() {
        let world = world();
        let pair = world.pair().unwrap();
        let ids = testing::save(&pair, &BLOBS);
        assert!(world.plan(Look::Listed).is_empty());
        let index = pair.load_index().unwrap();
        assert_eq!(pair.read_blob(&index, BlobKind::Tree, &ids[2]).unwrap(), BLOBS[2].1);
        assert_eq!(world.meter.traffic().gets, 0);
        assert_eq!(pair.read_blob(&index, BlobKind::Data, &ids[0]).unwrap(), BLOBS[0].1);
        assert_eq!(world.meter.traffic().gets, 1);
        // Cold alone is a whole repository.
        let cold = world.cold();
        assert_eq!(cold.read_blob(&cold.load_index().unwrap(), BlobKind::Tree, &ids[2]).unwrap(), BLOBS[2].1);
    }

    #[test]
    fn hot_is_made_again_from_cold_alone_whatever_is_lost_of_it() {
        let mut world = world();
        let ids = testing::save(&world.pair().unwrap(), &BLOBS);
        world.hot = Arc::default();
        assert!(matches!(world.pair(), Err(RepoError::HotLost { .. })));
        // key, index, pack of trees, config
        assert_eq!(world.repair(), 4);
        let pair = world.pair().unwrap();
        let index = pair.load_index().unwrap();
        assert_eq!(pair.read_blob(&index, BlobKind::Tree, &ids[2]).unwrap(), BLOBS[2].1);
        let packs = pair.list(FileKind::Pack).unwrap();
        let of_trees = packs.iter().map(|pack| FileKind::Pack.object(&pack.id));
        let of_trees: Vec<_> = of_trees.filter(|key| read(&world.hot, key).is_ok()).collect();
        assert_eq!((packs.len(), of_trees.len()), (2, 1));
        world.hot.tamper(&of_trees[0], |bytes| bytes[3] ^= 1);
        assert!(world.plan(Look::Listed).is_empty());
        assert_eq!(world.repair(), 1);
        world.hot.tamper(&of_trees[0], |bytes| bytes.truncate(9));
        assert_eq!(world.plan(Look::Listed).packs.len(), 1);
        assert_eq!(world.repair(), 1);
        assert_eq!(pair.read_blob(&index, BlobKind::Tree, &ids[2]).unwrap(), BLOBS[2].1);
    }

    #[test]
    fn a_hot_part_alone_and_what_is_none_of_this_repository_are_refused() {
        let world = world();
        let alone = Repository::open(world.hot.clone(), &testing::password()).err();
        assert!(
            matches!(&alone, Some(RepoError::HotAlone { cold: Some(cold), .. }) if cold == "memory"),
            "{alone:?}"
        );
        let other = self::world();
        for hot in [other.hot.clone(), other.cold] {
            let refused = plan_hot(&world.cold(), &*hot, Look::Listed).err();
            assert!(matches!(refused, Some(RepoError::NotHot { .. })), "{refused:?}");
        }
        // The whole repository is no hot part either, and half of what is written would go into it.
        let twice = Tiers::new(world.cold.clone(), world.cold.clone());
        let refused = Repository::open(Arc::new(twice), &testing::password()).err();
        assert!(matches!(refused, Some(RepoError::NotHot { .. })), "{refused:?}");
        // Without a configuration the keys tell.
        other.hot.delete(&config_object()).unwrap();
        assert!(matches!(plan_hot(&world.cold(), &*other.hot, Look::Listed), Err(RepoError::NotHot { .. })));
        assert!(Repository::open(Arc::new(Tiers::new(other.hot, world.cold)), &testing::password()).is_err());
    }

    #[test]
    fn a_rotation_on_two_stores_deletes_the_old_key_only_when_cold_has_the_new_one() {
        /// Takes what is put, and keeps half of it.
        struct Halving(Arc<MemoryStore>);
        impl Store for Halving {
            fn put_new(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
                self.0.put_new(key, &content[..content.len() / 2])
            }
            fn get(&self, key: &ObjectKey, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
                self.0.get(key, range, into)
            }
            fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
                self.0.list(prefix)
            }
            fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
                self.0.delete(key)
            }
            fn location(&self) -> String {
                self.0.location()
            }
        }
        let World { hot, cold, .. } = world();
        let pair = Tiers::new(hot, Arc::new(Halving(cold.clone())));
        let pair = Repository::open(Arc::new(pair), &testing::password()).unwrap();
        let password = testing::password();
        let new = Secret::new(password.expose().replace('0', "x"));
        assert!(pair.rotate_key(&password, &new, "u", "h").unwrap_err().is_damage());
        assert!(Repository::open(cold, &password).is_ok());
    }
}

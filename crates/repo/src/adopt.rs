//! What a killed writer stored and could not index any more is taken over by the next one, so that it is not sent again.
//!
//! A lease whose holder is dead says that there may be such packs; only then is `data/` listed. A pack is adopted when
//! all its bytes fit its name and its header opens. Invariants, those of every writer: an index file names only packs
//! that are stored whole; what prune has marked is not relied on. A pack of a writer that is alive may be adopted as
//! well: it then stands in two index files, which is legal. Memory: one pack per core, of twice the length that the budget allows.
//!
//! Where packs are cold nothing is adopted, since their headers would have to be read: they are sent again, and prune
//! removes what nobody names.

use std::collections::HashSet;

use model::cancel::CancelToken;
use model::digest::Digest;
use store::Range;

use crate::blob;
use crate::error::Result;
use crate::index::{self, FILE_BLOBS_MAX, IndexedPack};
use crate::lease::Lease;
use crate::marks;
use crate::pack;
use crate::repository::{FileKind, Listed, Repository};
use crate::threads;

/// What was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Packs that are in an index now.
    pub packs: usize,
    /// Their stored bytes.
    pub bytes: u64,
}

/// Adopt what writers left that are dead, and forget their leases. Hold a lease: it keeps prune from the packs.
///
/// # Errors
/// When the store fails. Then the leases stay, and the next writer tries again.
pub fn after_crash(repository: &Repository, lease: &Lease, cancel: &CancelToken) -> Result<Adopted> {
    if !lease.follows_dead() {
        return Ok(Adopted::default());
    }
    let adopted = match repository.store().has_cold_packs() {
        true => Adopted::default(),
        false => adopt(repository, lease, cancel)?,
    };
    lease.clear_dead();
    Ok(adopted)
}

/// Index every whole pack that is in no index and not marked.
fn adopt(repository: &Repository, lease: &Lease, cancel: &CancelToken) -> Result<Adopted> {
    // The packs first: what is stored and indexed between the two looks is in the second one.
    let stored = repository.list(FileKind::Pack)?;
    let marks = marks::load(repository)?;
    let indexed: HashSet<Digest> =
        repository.load_index_files()?.into_iter().flat_map(|(_, packs)| packs).map(|pack| pack.id).collect();
    // Longer ones are not ours, or hold one huge directory: storing that again is cheaper than the memory.
    let len_max = 2 * repository.budget().pack_len_max() as u64;
    let is_orphan = |listed: &Listed| {
        listed.size <= len_max && !indexed.contains(&listed.id) && !marks.contains_key(&listed.id)
    };
    let orphans: Vec<_> = stored.into_iter().filter(is_orphan).collect();
    let read = threads::map(&orphans, |orphan| match cancel.is_cancelled() {
        true => None,
        false => read_whole(repository, orphan),
    })?;
    cancel.check()?;
    let mut adopted = Adopted::default();
    let mut file = vec![];
    for (pack, orphan) in read.into_iter().zip(&orphans) {
        let Some(pack) = pack else { continue };
        adopted.packs += 1;
        adopted.bytes += orphan.size;
        file.push(pack);
        if file.iter().map(|pack: &IndexedPack| pack.blobs.len()).sum::<usize>() >= FILE_BLOBS_MAX / 2 {
            save(repository, lease, &std::mem::take(&mut file))?;
        }
    }
    save(repository, lease, &file)?;
    Ok(adopted)
}

/// The pack, where all of it is as it was sent. One that is not, or cannot be read, is not needed: it is sent again.
fn read_whole(repository: &Repository, orphan: &Listed) -> Option<IndexedPack> {
    let mut bytes = vec![];
    repository.store().get(&FileKind::Pack.object(&orphan.id), Range::All, &mut bytes).ok()?;
    if blob::id_of(&bytes) != orphan.id {
        return None;
    }
    let blobs = pack::blobs_of(&bytes, repository.sealer(), &format!("pack {}", orphan.id)).ok()?;
    (!blobs.is_empty()).then_some(IndexedPack { id: orphan.id, blobs })
}

fn save(repository: &Repository, lease: &Lease, packs: &[IndexedPack]) -> Result<()> {
    if packs.is_empty() {
        return Ok(());
    }
    // While it stands, prune takes none of these packs.
    lease.verify_kept()?;
    repository.save_file(FileKind::Index, &index::encode_file(packs)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::blob::BlobKind;
    use crate::lease::Identity;
    use crate::marks::Marks;
    use crate::testing;

    /// A repository in which a writer, dead by now, stored two packs and wrote no index.
    struct World {
        repository: Arc<Repository>,
        me: Identity,
        blobs: Vec<blob::BlobId>,
        packs: Vec<Digest>,
    }

    fn world() -> World {
        let repository = testing::repository();
        let blobs =
            testing::save(&repository, &[(BlobKind::Data, b"some bytes"), (BlobKind::Tree, b"a tree")]);
        for listed in repository.list(FileKind::Index).unwrap() {
            repository.store().delete(&FileKind::Index.object(&listed.id)).unwrap();
        }
        let packs = repository.list(FileKind::Pack).unwrap().into_iter().map(|listed| listed.id).collect();
        let me = Identity {
            hostname: "here".into(),
            username: "u".into(),
            uid: 1,
            gid: 1,
            pid: std::process::id(),
        };
        World { repository, me, blobs, packs }
    }

    impl World {
        /// Above the kernel's largest process id.
        fn leave_dead_lease(&self) {
            let dead = Identity { pid: 5_000_000, ..self.me.clone() };
            let lease = Lease::shared(&self.repository, "killed", &dead).unwrap().unwrap();
            lease.leave_as_a_kill_does();
        }

        fn adopt(&self) -> Adopted {
            let lease = Lease::beside(&self.repository, "adopt", &self.me).unwrap();
            after_crash(&self.repository, &lease, &CancelToken::new()).unwrap()
        }

        fn known(&self) -> usize {
            let index = self.repository.load_index_for_writing().unwrap();
            let kinds = [BlobKind::Data, BlobKind::Tree].into_iter().zip(&self.blobs);
            kinds.filter(|(kind, id)| index.find(*kind, id).is_ok_and(|found| found.is_some())).count()
        }
    }

    #[test]
    fn packs_of_a_dead_writer_are_indexed_once() {
        let world = world();
        assert_eq!(world.adopt(), Adopted::default(), "nobody died");
        world.leave_dead_lease();
        assert_eq!(world.adopt().packs, 2);
        assert_eq!(world.known(), 2);
        assert!(world.repository.list_notes("lease").unwrap().is_empty());
        world.leave_dead_lease();
        assert_eq!(world.adopt(), Adopted::default(), "they are in an index");
        let saved = testing::save(&world.repository, &[(BlobKind::Data, b"some bytes")]);
        assert_eq!(saved[0], world.blobs[0]);
        assert_eq!(world.repository.list(FileKind::Pack).unwrap().len(), 2, "nothing was sent again");
    }

    #[test]
    fn marked_and_damaged_packs_are_not_relied_on() {
        let world = world();
        marks::save(&world.repository, &Marks::from([(world.packs[0], Timestamp::UNIX_EPOCH)])).unwrap();
        let object = FileKind::Pack.object(&world.packs[1]);
        let mut bytes = store::store::read(world.repository.store(), &object).unwrap();
        bytes[3] ^= 1;
        world.repository.store().delete(&object).unwrap();
        world.repository.store().put_new(&object, &bytes).unwrap();
        world.leave_dead_lease();
        assert_eq!(world.adopt(), Adopted::default());
        assert_eq!(world.known(), 0);
    }

    #[test]
    fn who_fails_to_adopt_leaves_it_to_the_next() {
        let world = world();
        world.leave_dead_lease();
        let cancel = CancelToken::new();
        cancel.cancel();
        let lease = Lease::beside(&world.repository, "adopt", &world.me).unwrap();
        assert!(after_crash(&world.repository, &lease, &cancel).is_err());
        drop(lease);
        assert_eq!((world.known(), world.adopt().packs), (0, 2));
    }
}

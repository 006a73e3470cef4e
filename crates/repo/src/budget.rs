//! How much memory a run may take, and what follows from it: how long packs are, how many are on their way, how many
//! threads read.
//!
//! Half is for packs that are filled and stored, half for what is read, opened and waits. What grows with the data itself,
//! an index that is not on disk or one huge directory, is not in it.

use std::path::Path;

use crate::threads::cores;

const MIB: u64 = 1 << 20;
/// Version 1 of cgroups has no word for "none", but a number that no machine has: almost 2^63, and at least this.
const NO_LIMIT: u64 = 1 << 60;
/// What two cores need to be busy.
const USUAL: u64 = 128 * MIB;
/// What each further core adds: a range of a pack, and its plaintext.
const EACH_CORE: u64 = 16 * MIB;
/// Bytes at which a pack is closed, where there is room and there are not too many packs.
pub const PACK_LEN: usize = 16 << 20;
const PACK_LEN_MIN: usize = 4 << 20;
const PACK_LEN_MAX: usize = 128 << 20;
/// A terabyte of packs: from here on they are longer, so that listing and deleting them does not take all day.
const MANY_PACKS: usize = 1 << 16;

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(u64);

impl Budget {
    /// Less does not work.
    pub const MIN: Self = Self(32 * MIB);
    /// For machines on which every megabyte counts.
    pub const LOW: Self = Self(48 * MIB);

    /// Of so many bytes; none where that is too little.
    pub fn of(bytes: u64) -> Option<Self> {
        (bytes >= Self::MIN.0).then_some(Self(bytes))
    }

    /// Whether it is less than two cores need to be busy: then memory counts for more than time.
    pub fn is_tight(self) -> bool {
        self.0 < USUAL
    }

    /// So many bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// What this machine's cores need, and at most half of what the cgroup gives.
    pub fn usual() -> Self {
        let wanted = USUAL + EACH_CORE * cores().saturating_sub(2) as u64;
        let half =
            cgroup_limit(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup")).map(|limit| limit / 2);
        Self(half.map_or(wanted, |half| wanted.min(half)).max(Self::MIN.0))
    }

    /// Bytes at which a pack is closed, in a repository that has so many `packs` already: twice as many for each
    /// doubling, as far as there is room.
    pub(crate) fn pack_len(self, packs: usize) -> usize {
        let doublings = (packs / MANY_PACKS).checked_ilog2().map_or(0, |times| times + 1).min(8);
        let wanted = PACK_LEN << doublings;
        wanted.min(self.pack_len_max()).max(PACK_LEN_MIN)
    }

    /// The longest packs that there is room for.
    pub(crate) fn pack_len_max(self) -> usize {
        let eighth = usize::try_from(self.0 / 8).unwrap_or(usize::MAX);
        eighth.clamp(PACK_LEN_MIN, PACK_LEN_MAX)
    }

    /// Packs of `pack_len` that are stored at one time, in a store that is worth so many `lanes`; one more is being
    /// filled.
    pub(crate) fn uploads(self, pack_len: usize, lanes: usize) -> usize {
        let packs = self.0 / 2 / pack_len as u64;
        usize::try_from(packs).unwrap_or(usize::MAX).saturating_sub(1).clamp(1, lanes.max(1))
    }

    /// Threads that read and open ranges, from a store that is worth so many `lanes`.
    pub(crate) fn readers(self, lanes: usize) -> usize {
        let room = usize::try_from(self.0 / EACH_CORE).unwrap_or(usize::MAX);
        cores().max(lanes).min(room).max(1)
    }
}

/// The tightest limit of the cgroups that this process is in (cgroups(7), versions 2 and 1), where there is one.
fn cgroup_limit(own: &Path, root: &Path) -> Option<u64> {
    let lines = std::fs::read_to_string(own).ok()?;
    let tightest = |root: &Path, path: &str, file: &str| {
        let limit = |group: &Path| std::fs::read_to_string(group.join(file)).ok()?.trim().parse().ok();
        let folder = root.join(path);
        folder.ancestors().take_while(|group| group.starts_with(root)).filter_map(limit).min()
    };
    // 12:memory:/docker/… of version 1 names its controllers, 0::/… of version 2 none.
    let limits = lines.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.strip_prefix('/')?);
        match controllers {
            "" => tightest(root, path, "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                tightest(&root.join("memory"), path, "memory.limit_in_bytes")
            }
            _ => None,
        }
    });
    limits.min().filter(|limit| *limit < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_uploads_and_readers_fit_into_the_budget() {
        for mib in [32, 48, 64, 100, 128, 256, 1024, 1 << 20] {
            let budget = Budget::of(mib * MIB).unwrap();
            for (lanes, known) in [(1, 0), (2, MANY_PACKS), (16, 3 * MANY_PACKS), (16, usize::MAX)] {
                let pack_len = budget.pack_len(known);
                let packs = (budget.uploads(pack_len, lanes) as u64 + 1) * pack_len as u64;
                assert!(packs <= mib * MIB / 2, "{mib} MiB, {lanes} lanes: {packs} bytes of packs");
                assert!((1..=lanes.max(cores())).contains(&budget.readers(lanes)));
            }
        }
        assert_eq!(Budget::of(32 * MIB - 1), None);
        let all = |budget: Budget| {
            let pack_len = budget.pack_len(0);
            (pack_len, budget.uploads(pack_len, 2), budget.uploads(pack_len, 16), budget.readers(16))
        };
        assert_eq!(all(Budget(USUAL)), (16 << 20, 2, 3, 8));
        assert_eq!(all(Budget::LOW), (6 << 20, 2, 3, 3));
    }

    #[test]
    fn packs_grow_with_their_number_where_there_is_room() {
        let lens = |budget: Budget| {
            [0, MANY_PACKS - 1, MANY_PACKS, 2 * MANY_PACKS, 5 * MANY_PACKS, usize::MAX]
                .map(|packs| budget.pack_len(packs) >> 20)
        };
        assert_eq!(lens(Budget(1024 * MIB)), [16, 16, 32, 64, 128, 128]);
        assert_eq!(lens(Budget(256 * MIB)), [16, 16, 32, 32, 32, 32]);
        assert_eq!(lens(Budget(USUAL)), [16; 6]);
        assert_eq!(lens(Budget::LOW), [6; 6]);
    }

    #[test]
    fn the_tightest_cgroup_limit_counts() {
        let root = tempfile::tempdir().unwrap();
        let (own, groups) = (root.path().join("own"), root.path().join("groups"));
        let inner = groups.join("outer/inner");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(&own, "1:name=systemd:/elsewhere\n0::/outer/inner\n").unwrap();
        assert_eq!(cgroup_limit(&own, &groups), None);
        std::fs::write(inner.join("memory.max"), "max\n").unwrap();
        assert_eq!(cgroup_limit(&own, &groups), None);
        std::fs::write(groups.join("outer/memory.max"), "1000000\n").unwrap();
        std::fs::write(groups.join("memory.max"), "2000000\n").unwrap();
        assert_eq!(cgroup_limit(&own, &groups), Some(1_000_000));
        std::fs::write(inner.join("memory.max"), "500000\n").unwrap();
        assert_eq!(cgroup_limit(&own, &groups), Some(500_000));
        assert_eq!(cgroup_limit(&root.path().join("none"), &groups), None);
        // Version 1, whose path is that of the host: in a container its own group is the root.
        std::fs::write(&own, "4:cpu,cpuacct:/docker/1\n12:memory:/docker/1\n").unwrap();
        let memory = groups.join("memory");
        std::fs::create_dir(&memory).unwrap();
        std::fs::write(memory.join("memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        assert_eq!(cgroup_limit(&own, &groups), None);
        std::fs::write(memory.join("memory.limit_in_bytes"), "700000\n").unwrap();
        assert_eq!(cgroup_limit(&own, &groups), Some(700_000));
    }
}

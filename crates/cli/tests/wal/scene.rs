//! A data directory with WAL in it, and a repository.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::program::Ran;
use testkit::site::Site;

pub(crate) const MAINSTAY: &str = env!("CARGO_BIN_EXE_mainstay");
pub(crate) const SYSTEM_ID: u64 = 7_000_000_000_000_000_001;
const SEGMENT_LEN: usize = 1 << 20;

pub(crate) struct Scene {
    pub(crate) site: Site,
    pub(crate) data: PathBuf,
}

/// The name of a segment of timeline 1.
pub(crate) fn name(number: u64) -> String {
    format!("00000001{:08X}{:08X}", number >> 12, number & 0xFFF)
}

/// The bytes of a segment of PostgreSQL 15 of 1 MiB, different for each `seed`.
pub(crate) fn segment(number: u64, seed: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..SEGMENT_LEN as u32).map(|at| ((at.wrapping_mul(2_654_435_761) >> 28) as u8) ^ seed).collect();
    let header = [
        &0xD110u16.to_le_bytes()[..],
        &2u16.to_le_bytes(),
        &1u32.to_le_bytes(),
        &(number * SEGMENT_LEN as u64).to_le_bytes(),
        &[0; 8],
        &SYSTEM_ID.to_le_bytes(),
        &(SEGMENT_LEN as u32).to_le_bytes(),
        &8192u32.to_le_bytes(),
    ];
    let header = header.concat();
    bytes[..header.len()].copy_from_slice(&header);
    bytes
}

impl Scene {
    pub(crate) fn new() -> Self {
        let scene = Self::bare();
        scene.site.run(&["init", "--no-recovery-key"]).ok();
        scene
    }

    /// Without a repository.
    pub(crate) fn bare() -> Self {
        let site = Site::bare(MAINSTAY);
        let data = site.path().join("data");
        make_data(&data);
        Self { site, data }
    }

    pub(crate) fn wal(&self, name: &str) -> PathBuf {
        self.data.join("pg_wal").join(name)
    }

    /// Put a segment into `pg_wal`.
    pub(crate) fn write(&self, number: u64, seed: u8) -> PathBuf {
        let path = self.wal(&name(number));
        fs::write(&path, segment(number, seed)).unwrap();
        path
    }

    pub(crate) fn push(&self, number: u64, more: &[&str]) -> Ran {
        let path = self.wal(&name(number));
        self.site.run(&[&["wal", "push", path.to_str().unwrap()], more].concat())
    }

    /// Fetch into `RECOVERYXLOG`, as PostgreSQL does.
    pub(crate) fn fetch(&self, name: &str, more: &[&str]) -> Ran {
        let to = self.target();
        let timeout = if more.contains(&"--timeout") { &[][..] } else { &["--timeout", "1s"] };
        self.site.run(&[&["wal", "fetch", name, to.to_str().unwrap()], timeout, more].concat())
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.wal("RECOVERYXLOG")
    }

    pub(crate) fn fetched(&self) -> Option<Vec<u8>> {
        fs::read(self.target()).ok()
    }

    pub(crate) fn object(&self, name: &str) -> PathBuf {
        self.site.repository().join(format!("wal/{SYSTEM_ID}/{}/{name}", &name[..8]))
    }

    /// The process that listens for this repository.
    pub(crate) fn agent(&self) -> Option<i32> {
        let repository = self.site.repository();
        let is_ours = |process: &Path| {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            let words: Vec<_> = line.split(|byte| *byte == 0).collect();
            words.contains(&&b"agent"[..]) && words.contains(&repository.as_os_str().as_encoded_bytes())
        };
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        processes.filter(|path| is_ours(path)).find_map(|path| path.file_name()?.to_str()?.parse().ok())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // It would end by itself, in a minute.
        if let Some(agent) = self.agent() {
            signal(agent, "-KILL");
        }
    }
}

pub(crate) fn signal(process: i32, signal: &str) {
    std::process::Command::new("kill").args([signal, &process.to_string()]).status().unwrap();
}

/// A data directory as far as WAL goes.
pub(crate) fn make_data(data: &Path) {
    fs::create_dir_all(data.join("pg_wal/archive_status")).unwrap();
    fs::create_dir(data.join("global")).unwrap();
    fs::write(data.join("global/pg_control"), [&SYSTEM_ID.to_le_bytes()[..], &[0; 8184]].concat()).unwrap();
}

//! Waiting until every other thread of this process waits too.
//!
//! Linux tells of each thread whether it sleeps and how often it has run. All asleep, and none has run between two
//! looks: then nobody is left who could wake anybody, since only threads of this process wake its threads (nothing in
//! a simulated world waits for a file, a socket or a timer). So what follows a turn is known before the next one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// Looks at the threads of this process.
pub struct Quiet {
    own: u32,
    threads: HashMap<u32, Files>,
}

struct Files {
    stat: File,
    runs: File,
}

/// What one look found: for each thread the system's account of its running.
type Look = Vec<(u32, [u8; 48])>;

impl Quiet {
    /// To be used by the calling thread alone.
    ///
    /// # Panics
    /// Where the system has no `/proc`.
    pub fn new() -> Self {
        let link = fs::read_link("/proc/thread-self").expect("a system with /proc");
        let own = link.file_name().and_then(|name| name.to_str()?.parse().ok());
        Self { own: own.expect("the number of a thread"), threads: HashMap::new() }
    }

    /// Return when all other threads sleep.
    ///
    /// # Panics
    /// Where the system has no `/proc`.
    pub fn wait(&mut self) {
        loop {
            if let Some(first) = self.look()
                && self.look().is_some_and(|second| second == first)
            {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// All others sleep at this look; nothing where one does not.
    fn look(&mut self) -> Option<Look> {
        let mut found = vec![];
        for entry in fs::read_dir("/proc/self/task").expect("a system with /proc").flatten() {
            let thread: u32 = entry.file_name().to_str()?.parse().ok()?;
            if thread != self.own {
                found.push((thread, self.asleep(thread)?));
            }
        }
        self.threads.retain(|known, _| found.iter().any(|(thread, _)| thread == known));
        Some(found)
    }

    fn asleep(&mut self, thread: u32) -> Option<[u8; 48]> {
        let files = match self.threads.entry(thread) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                let open = |name| File::open(format!("/proc/self/task/{thread}/{name}")).ok();
                new.insert(Files { stat: open("stat")?, runs: open("schedstat")? })
            }
        };
        let mut runs = [0; 48];
        let mut stat = [0; 64];
        let read = files.runs.read_at(&mut runs, 0).and_then(|_| files.stat.read_at(&mut stat, 0));
        let Ok(len) = read else {
            // It ended meanwhile; its number may come again.
            self.threads.remove(&thread);
            return None;
        };
        let state = stat[..len].iter().rposition(|byte| *byte == b')').and_then(|at| stat.get(at + 2));
        (state == Some(&b'S')).then_some(runs)
    }
}

impl Default for Quiet {
    fn default() -> Self {
        Self::new()
    }
}

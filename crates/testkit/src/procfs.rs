//! What other processes of the machine could see of a program and its children, looked at as often as possible.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Looks at the command lines and environments of all descendants of a process.
pub struct Watcher {
    stop: Arc<AtomicBool>,
    seen: Arc<AtomicUsize>,
    found: Arc<Mutex<Vec<String>>>,
    thread: JoinHandle<()>,
}

impl Watcher {
    /// Begin to look for `secrets` at the descendants of `root`: other tests of this process have children too.
    pub fn start(root: u32, secrets: &[&str]) -> Self {
        let secrets: Vec<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, found) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(vec![])));
        let (asked, count, list) = (Arc::clone(&stop), Arc::clone(&seen), Arc::clone(&found));
        let thread = std::thread::spawn(move || {
            while !asked.load(Ordering::SeqCst) {
                count.fetch_add(look(root, &secrets, &list), Ordering::SeqCst);
                // Leave the processor to those who are looked at.
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, seen, found, thread }
    }

    /// End, and tell how many looks there were and what showed a secret.
    ///
    /// # Panics
    /// Where the looking thread did.
    pub fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the watcher ends");
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.seen.load(Ordering::SeqCst), found)
    }
}

/// Process ids of all descendants of `root`.
pub fn descendants(root: u32) -> Vec<u32> {
    let mut parents = vec![];
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
        parents.push((pid, parent.unwrap_or(0)));
    }
    let mut family = vec![root];
    loop {
        let is_new = |(pid, parent): &&(u32, u32)| family.contains(parent) && !family.contains(pid);
        let more: Vec<u32> = parents.iter().filter(is_new).map(|(pid, _)| *pid).collect();
        if more.is_empty() {
            return family.split_off(1);
        }
        family.extend(more);
    }
}

fn look(root: u32, secrets: &[String], found: &Mutex<Vec<String>>) -> usize {
    let mut seen = 0;
    for pid in descendants(root) {
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            seen += usize::from(!bytes.is_empty());
            let text = String::from_utf8_lossy(&bytes);
            if secrets.iter().any(|secret| text.contains(secret.as_str())) {
                let program = text.split('\0').next().unwrap_or_default().to_owned();
                let mut list = found.lock().unwrap_or_else(PoisonError::into_inner);
                let words = format!("{file} of {pid} ({program})");
                if !list.contains(&words) {
                    list.push(words);
                }
            }
        }
    }
    seen
}

//! How fast, on a tree like the one of the baseline: 73,585 files. Run with `--release --ignored --nocapture`.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use files::exclude::Excludes;
use files::owner::Owners;
use files::walk::{Event, Walk};

const FILES: usize = 73_585;
const FILES_PER_DIRECTORY: usize = 23;

fn plant(dir: &Path) {
    for number in 0..FILES {
        let bucket = number / FILES_PER_DIRECTORY;
        let parent = dir.join(format!("{}/{}/{bucket}", bucket % 10, bucket % 100));
        if number % FILES_PER_DIRECTORY == 0 {
            fs::create_dir_all(&parent).expect("made");
        }
        fs::write(parent.join(format!("file-{number}.txt")), vec![b'x'; number % 8192]).expect("written");
    }
}

#[test]
#[ignore = "a measurement"]
fn walking() {
    let dir = tempfile::tempdir().unwrap();
    plant(dir.path());
    let owners = Arc::new(Owners::read(Path::new("/etc")).unwrap());
    for _ in 0..7 {
        let start = Instant::now();
        let walk = Walk::open(dir.path(), Excludes::nothing(), Arc::clone(&owners)).unwrap();
        let found = walk.filter(|event| matches!(event, Event::Entry { .. })).count();
        println!("walk of {found} files: {:?}", start.elapsed());
        assert_eq!(found, FILES);
    }
}

//! How fast, on a tree with as many files as the one of the baseline: 73,585.
//!
//! Nothing here is bounded by time; `--release --nocapture` shows the figures.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use files::exclude::Excludes;
use files::owner::Owners;
use files::read::{Extent, FileReader, Steadiness};
use files::relative::RelativePath;
use files::target::Target;
use files::walk::{Event, Walk};
use files::write::Existing;

const FILES: usize = 73_585;
const FILES_PER_DIRECTORY: usize = 23;

/// In memory, so that a busy disk does not count; `TMPDIR` asks for another place.
fn place() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    match std::env::var_os("TMPDIR") {
        None if memory.is_dir() => tempfile::tempdir_in(memory),
        _ => tempfile::tempdir(),
    }
    .expect("a directory")
}

/// With `std` only: also the figure to compare creation with.
fn plant(dir: &Path) -> Duration {
    let start = Instant::now();
    let contents = vec![b'x'; 8192];
    for number in 0..FILES {
        let bucket = number / FILES_PER_DIRECTORY;
        let parent = dir.join(format!("{}/{}/{bucket}", bucket % 10, bucket % 100));
        if number % FILES_PER_DIRECTORY == 0 {
            fs::create_dir_all(&parent).expect("made");
        }
        fs::write(parent.join(format!("file-{number}.txt")), &contents[..number % 8192]).expect("written");
    }
    start.elapsed()
}

#[test]
fn a_large_tree_is_walked_read_and_created_and_the_speed_is_told() {
    let dir = place();
    println!("plain create and write of {FILES} files: {:?}", plant(dir.path()));
    let owners = Arc::new(Owners::read(Path::new("/etc")).unwrap());
    let mut events = Vec::new();
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        let walk = Walk::open(dir.path(), Excludes::nothing(), Arc::clone(&owners)).unwrap();
        let mut found = 0;
        for event in walk {
            found += usize::from(matches!(event, Event::Entry { .. }));
        }
        assert_eq!(found, FILES);
        println!("walk: {:?}", start.elapsed());
        best = best.min(start.elapsed());
    }
    let walk = Walk::open(dir.path(), Excludes::nothing(), Arc::clone(&owners)).unwrap();
    let root = walk.root();
    events.extend(walk);
    let start = Instant::now();
    let mut buffer = vec![0; 8192];
    for event in &events {
        if let Event::Entry { path, entry } = event {
            let mut reader = FileReader::open(&root, path, entry, &owners).unwrap();
            while let Some(Extent::Data { offset, len }) = reader.next_extent().unwrap() {
                assert_eq!(
                    reader.read_at(offset, &mut buffer[..usize::try_from(len).unwrap()]).unwrap() as u64,
                    len
                );
            }
            assert_eq!(reader.finish().unwrap(), Steadiness::Unchanged);
        }
    }
    println!("read: {:?}", start.elapsed());

    let to = place();
    let contents = vec![b'x'; 8192];
    let start = Instant::now();
    let target = Target::open(to.path()).unwrap();
    let mut parent = target.directory(&RelativePath::root()).unwrap();
    for event in &events {
        match event {
            Event::Enter { path, .. } => target.create_dir(path).unwrap(),
            Event::Entry { path, entry } => {
                let (dir, name) = path.split().unwrap();
                if *parent.path() != dir {
                    parent = target.directory(&dir).unwrap();
                }
                let size = usize::try_from(entry.metadata.size).unwrap();
                let (contents, metadata) = (&contents[..size], &entry.metadata);
                target.write_whole_file(&parent, name, contents, metadata, Existing::Refuse).unwrap();
            }
            Event::Leave { .. } | Event::Problem { .. } => {}
        }
    }
    println!("directories and whole files: {:?}", start.elapsed());
    for event in events.iter().rev() {
        if let Event::Enter { path, entry } = event {
            target.set_metadata(path, entry).unwrap();
        }
    }
    println!("with metadata of directories: {:?}", start.elapsed());
    testkit::tree::assert_same_tree(dir.path(), to.path());
    let start = Instant::now();
    target.remove_tree(&RelativePath::parse("0").unwrap()).unwrap();
    println!("removed a tenth: {:?}", start.elapsed());
}

//! An export to a file that is killed at its calls: the file is seen whole or not at all, also where the file system has no
//! files without a name.

use std::fs;
use std::path::Path;

use testkit::site::files_below;
use testkit::strace::{self, Fault};

use crate::{create, fill, id, site};

fn names(folder: &Path) -> Vec<String> {
    files_below(folder).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn t8_an_export_killed_at_its_calls_leaves_the_whole_file_or_none() {
    if !strace::is_permitted() {
        return;
    }
    let (site, data) = site();
    fill(&data, 20, 50_000);
    let id = id(&create(&site, &data, &[]).ok());
    let golden = site.path().join("golden.tar");
    site.run(&["backup", "export", &id, "-o", golden.to_str().unwrap()]).ok();
    let golden = fs::read(golden).unwrap();
    let folder = site.path().join("out");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("out.tar");
    let export = ["backup", "export", &id, "-o", file.to_str().unwrap()];
    let under = |fault: &Fault| fault.run(&site.program(), &export);
    let is_whole = || fs::read(&file).unwrap() == golden;

    // Without a name until it is whole: whatever it was writing, the system forgets it.
    let mut killed = 0;
    for nth in [1, 2, 4, 8, 16, 32] {
        let faulted = under(&Fault::kill("write").nth(nth));
        killed += usize::from(faulted.ran.code.is_none());
        match names(&folder).is_empty() {
            true => assert!(faulted.ran.code.is_none(), "{}", faulted.ran.stderr),
            false => {
                assert!(names(&folder) == ["out.tar"] && is_whole(), "write {nth}: {:?}", names(&folder));
                fs::remove_file(&file).unwrap();
            }
        }
    }
    assert!(killed >= 3, "{killed} kills were met");
    assert!(under(&Fault::kill("linkat").at(&file)).happened);
    assert!(names(&folder).is_empty(), "{:?}", names(&folder));
    // Behind the name only the folder is made durable.
    assert!(under(&Fault::kill("fsync").at(&folder)).happened && is_whole());
    fs::remove_file(&file).unwrap();

    // Where no file can be without a name, it has one that nobody takes for an export.
    // A file without a name is asked for by `open`, folders are opened by `openat`.
    let no_nameless = || Fault::error("open", "EOPNOTSUPP").at(&folder);
    let faulted = under(&no_nameless().and(Fault::kill("renameat2").at(&file)));
    assert!(faulted.ran.code.is_none(), "{}", faulted.ran.stderr);
    let left = names(&folder);
    assert!(
        left.len() == 1 && left[0].starts_with(".mainstay-") && left[0].ends_with(".partial"),
        "{left:?}"
    );
    // The next one in the same straits takes the litter away; neither writes over what is there.
    assert_eq!(under(&no_nameless()).ran.code, Some(0));
    assert!(names(&folder) == ["out.tar"] && is_whole(), "{:?}", names(&folder));
    fs::write(&file, "somebody else's").unwrap();
    under(&no_nameless()).ran.exits(6).says("exists already");
    fs::remove_file(&file).unwrap();
    // An old kernel that cannot rename without writing over: a second name, then the first one goes.
    let no_rename = || no_nameless().and(Fault::error("renameat2", "EINVAL").at(&file));
    assert!(under(&no_rename().and(Fault::kill("linkat").at(&file))).ran.code.is_none());
    assert!(!file.exists());
    assert_eq!(under(&no_rename()).ran.code, Some(0));
    assert!(names(&folder) == ["out.tar"] && is_whole(), "{:?}", names(&folder));
}

//! A directory of this machine passes what every origin promises.

use std::path::Path;
use std::sync::Arc;

use files::conformance::{self, Habits};
use files::here;

#[test]
fn a_directory_of_this_machine_conforms() {
    let place = tempfile::tempdir().unwrap();
    let open = |excludes| here::open(place.path(), excludes, Arc::default()).unwrap();
    conformance::run(place.path(), &open, Habits::ALL);
}

#[test]
fn its_name_and_path_are_absolute() {
    let opened = here::open(Path::new("src/../src"), Default::default(), Arc::default()).unwrap();
    let expected = std::fs::canonicalize("src").unwrap();
    assert_eq!((opened.origin.path(), opened.origin.name()), (&*expected, expected.to_str().unwrap()));
    assert!(opened.origin.above(expected.parent().unwrap()).unwrap().is_dir());
}

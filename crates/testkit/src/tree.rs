//! A small nasty directory tree to back up, and a judge that tells whether what was restored is the same.
//!
//! Neither knows the code under test.

mod judge;
mod noise;
mod sample;

pub use judge::{assert_same_tree, differences};
pub use noise::fill_with_noise;
pub use sample::Tree;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_tree_is_the_same_as_itself_and_two_of_one_seed_differ_only_in_times() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let tree = Tree::sample(a.path(), 7).unwrap();
        assert_eq!(Tree::sample(b.path(), 7).unwrap(), tree);
        assert_same_tree(a.path(), a.path());
        let left = differences(a.path(), b.path());
        assert!(left.iter().all(|line| line.contains(": mtime should be")), "{left:#?}");
    }

    #[test]
    fn each_difference_is_seen() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&a, &b] {
            fs::write(dir.path().join("file"), "contents").unwrap();
            fs::File::create(dir.path().join("hole")).unwrap().set_len(1 << 20).unwrap();
            symlink("x", dir.path().join("link")).unwrap();
            fs::hard_link(dir.path().join("file"), dir.path().join("name")).unwrap();
        }
        fs::write(b.path().join("file"), "Contents").unwrap();
        fs::set_permissions(b.path().join("file"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(b.path().join("hole"), vec![0; 1 << 20]).unwrap();
        fs::remove_file(b.path().join("link")).unwrap();
        symlink("y", b.path().join("link")).unwrap();
        fs::remove_file(b.path().join("name")).unwrap();
        fs::write(b.path().join("extra"), "").unwrap();
        fs::File::open(b.path().join("hole")).unwrap().sync_all().unwrap();
        let seen = differences(a.path(), b.path()).join("\n");
        for part in ["contents differ from byte 0", "mode should be", "holes should be", "target should be"] {
            assert!(seen.contains(part), "{part} not in\n{seen}");
        }
        for part in ["\"name\": missing", "\"extra\": extra", "first name should be"] {
            assert!(seen.contains(part), "{part} not in\n{seen}");
        }
    }
}

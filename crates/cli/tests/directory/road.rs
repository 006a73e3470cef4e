//! Directories through the binary: there and back, flags, exit codes, a full disk.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use testkit::disk::SmallDisk;
use testkit::means;
use testkit::program::Program;
use testkit::site::{Site, files_below};
use testkit::tree::{Tree, assert_same_tree, differences};

use crate::{MAINSTAY, create, fill, id, restore, site};

#[test]
fn a_directory_there_and_back_with_words_and_codes() {
    let (site, data) = site();
    Tree::sample(&data, 5).unwrap();
    let made = create(&site, &data, &["--label", "first"]).ok().says("backup ok id=acme-data-");
    let id = id(&made);
    let to = site.path().join("restored");
    let done = restore(&site, &id, &["--to", to.to_str().unwrap()]).ok().says("restore ok id=");
    assert!(!done.stderr.contains("warning"), "{}", done.stderr);
    let left: Vec<_> = differences(&data, &to).into_iter().filter(|line| !line.contains("socket")).collect();
    assert!(left.iter().all(|line| line.contains("missing") || line.contains("mtime")), "{left:?}");
    restore(&site, &id, &["--to", to.to_str().unwrap()]).exits(6).says("is not empty");
    restore(&site, "acme/data", &["--to", to.to_str().unwrap(), "--delta"]).ok().says("0 new, 0 overwritten");
    site.run(&["backup", "verify", &id]).ok();
    site.run(&["check", "--read-data"]).ok();
    restore(&site, &id, &["--to", "/nonexistent/x", "--table", "t"]).exits(2);
    let path = site.path().join("part");
    let nowhere = ["--to", path.to_str().unwrap(), "--path", "no/where"];
    restore(&site, &id, &nowhere).exits(5).says("no/where is not in");
    let absolute = data.join("plain/deep");
    restore(&site, &id, &["--to", path.to_str().unwrap(), "--path", absolute.to_str().unwrap()]).ok();
    assert_same_tree(&absolute, &path.join("plain/deep"));
}

#[test]
fn exported_as_tar_it_is_the_same_without_mainstay() {
    let (site, data) = site();
    Tree::sample(&data, 5).unwrap();
    let id = id(&create(&site, &data, &[]).ok());
    let (archive, to) = (site.path().join("a.tar"), site.path().join("to"));
    site.run(&["backup", "export", &id, "--output", archive.to_str().unwrap()]).ok().says("export ok");
    fs::create_dir(&to).unwrap();
    let (archive, place) = (archive.to_str().unwrap(), to.to_str().unwrap());
    let flags = ["--xattrs", "--xattrs-include=*", "-xpf", archive, "-C", place];
    Program::new("tar").run(&flags).ok();
    // tar has no word for a socket, none for short holes, and its header no time before 1970.
    let is_lost = |line: &String| {
        ["holes should be", "socket", "attributes"].iter().any(|part| line.contains(part))
            || line.contains("mtime should be -")
    };
    let left: Vec<_> = differences(&data, &to).into_iter().filter(|line| !is_lost(line)).collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn in_place_asks_for_the_name_and_a_dry_run_changes_nothing() {
    let (site, data) = site();
    fs::write(data.join("file"), "one").unwrap();
    let id = id(&create(&site, &data, &[]).ok());
    fs::write(data.join("file"), "two!").unwrap();
    fs::write(data.join("extra"), "extra").unwrap();
    let path = data.to_str().unwrap();
    restore(&site, &id, &[]).exits(6).says("is not empty");
    restore(&site, &id, &["--delta"]).exits(6).says(&format!("--yes={path}"));
    restore(&site, &id, &["--delta", "--yes=/other"]).exits(6);
    let plan = restore(&site, &id, &["--delta", "--delete", "--dry-run"]).ok();
    plan.says("would overwrite file").says("would delete extra").says("1 overwritten");
    assert_eq!(fs::read(data.join("file")).unwrap(), b"two!");
    restore(&site, &id, &["--delta", "--delete", &format!("--yes={path}")]).ok().says("restore ok");
    assert_eq!(fs::read(data.join("file")).unwrap(), b"one");
    assert!(!data.join("extra").exists());
    fs::remove_dir_all(&data).unwrap();
    restore(&site, &id, &["--dry-run"]).ok().says("1 new");
    assert!(!data.exists());
    restore(&site, &id, &[]).ok();
    assert_eq!(fs::read(data.join("file")).unwrap(), b"one");
}

#[test]
fn a_file_that_changes_while_it_is_read_makes_it_incomplete_with_exit_3() {
    let (site, data) = site();
    fs::write(data.join("file"), "x").unwrap();
    fs::create_dir_all(data.join("gone")).unwrap();
    create(&site, &data, &["--exclude", "*.tmp"]).ok().says("0 left out, 0 problems");
    let busy = data.join("busy");
    let file = fs::File::create(&busy).unwrap();
    file.set_len(256 << 20).unwrap();
    file.write_all_at(&[1; 1 << 20], 200 << 20).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n: u64 = 0;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                n += 1;
                file.write_all_at(&n.to_le_bytes(), (n % 1000) << 18).unwrap();
            }
        });
        let ran = create(&site, &data, &[]);
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        ran
    });
    let ran = ran.exits(3).says("/busy changed while it was read").says("is incomplete");
    let id = id(&ran);
    let to = site.path().join("x");
    let delete = ["--to", to.to_str().unwrap(), "--delta", "--delete"];
    restore(&site, &id, &delete).exits(6).says("what it could not read would be deleted");
}

#[test]
fn what_may_not_be_read_is_named_and_makes_it_incomplete_with_exit_3() {
    let (site, data) = site();
    fs::create_dir(data.join("closed")).unwrap();
    for name in ["open", "shut", "closed/inside"] {
        fs::write(data.join(name), name).unwrap();
    }
    for name in ["shut", "closed"] {
        fs::set_permissions(data.join(name), PermissionsExt::from_mode(0o000)).unwrap();
    }
    let arguments = ["backup", "create", "acme", "--directory", data.to_str().unwrap()];
    // Root reads everything.
    let ran = match rustix::process::geteuid().is_root() {
        true => {
            Program::new("chown").run(&["-R", "65534:65534", site.path().to_str().unwrap()]).ok();
            let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
            site.program().under(&nobody).run(&arguments)
        }
        false => site.run(&arguments),
    };
    let ran = ran.exits(3).says("closed").says("shut").says("Permission denied").says("is incomplete");
    let made = id(&ran);
    for restic in testkit::restic::installed() {
        let listed = site.restic(&restic, &["--no-lock", "snapshots", "--json"]).ok();
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
        assert!(listed[0]["tags"].as_array().unwrap().contains(&"incomplete".into()), "{listed}");
    }
    let to = site.path().join("to");
    restore(&site, &made, &["--to", to.to_str().unwrap()]).ok();
    assert_eq!(fs::read(to.join("open")).unwrap(), b"open");
    assert!(!to.join("shut").exists() && !to.join("closed/inside").exists());
    fs::set_permissions(data.join("closed"), PermissionsExt::from_mode(0o700)).unwrap();
}

#[test]
fn what_was_excluded_stays_out_and_everything_else_comes_back() {
    let (site, data) = site();
    let files =
        ["a.log", "keep.log", "deep/b.log", "deep/keep.log", "deep/text", "cache/thing", "mounted/file"];
    for name in &files[..6] {
        fs::create_dir_all(data.join(name).parent().unwrap()).unwrap();
        fs::write(data.join(name), name).unwrap();
    }
    fs::write(data.join("cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n").unwrap();
    let disk = SmallDisk::mount(&data.join("mounted"), "1m");
    if disk.is_some() {
        fs::write(data.join(files[6]), "on another file system").unwrap();
    }
    let excludes = ["--exclude", "*.log", "--exclude", "!keep.log", "--exclude-caches", "--one-file-system"];
    let id = id(&create(&site, &data, &excludes).ok());
    let to = site.path().join("to");
    restore(&site, &id, &["--to", to.to_str().unwrap()]).ok();
    let is_wanted = |name: &str| !["a.log", "deep/b.log", "cache/thing", "mounted/file"].contains(&name);
    let wanted: Vec<_> = files_below(&data).into_iter().filter(|(name, _)| is_wanted(name)).collect();
    assert_eq!(wanted.len(), 4);
    assert_eq!(files_below(&to), wanted);
    assert!(disk.is_none() || to.join("mounted").is_dir(), "the place of the mount comes back");
    site.assert_sound();
}

#[test]
fn damage_is_named_file_by_file_with_exit_4_and_the_rest_is_restored() {
    let (site, data) = site();
    fill(&data, 20, 5_000);
    let id = id(&create(&site, &data, &[]).ok());
    let packs = Program::new("find")
        .run(&[site.repository().join("data").to_str().unwrap(), "-type", "f"])
        .ok()
        .text();
    let largest = packs.lines().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap().to_owned();
    let mut bytes = fs::read(&largest).unwrap();
    bytes[100] ^= 1;
    fs::remove_file(&largest).unwrap();
    fs::write(&largest, bytes).unwrap();
    let to = site.path().join("to");
    let ran = restore(&site, &id, &["--to", to.to_str().unwrap()]).exits(4);
    let ran = ran.says("integrity check failed: 1 files").says("warning: d");
    assert!(!ran.stderr.contains("restore ok"));
    assert_eq!(differences(&data, &to).iter().filter(|line| line.contains("missing")).count(), 1);
}

#[test]
fn one_file_comes_back_where_it_was() {
    let (site, data) = site();
    let file = data.join("file");
    fs::write(&file, "one").unwrap();
    let id = id(&create(&site, &file, &[]).ok());
    fs::remove_file(&file).unwrap();
    restore(&site, &id, &[]).ok();
    assert_eq!(fs::read(&file).unwrap(), b"one");
}

#[test]
fn a_full_disk_stops_the_restore_with_its_reason() {
    let (site, data) = site();
    fill(&data, 60, 200_000);
    let id = id(&create(&site, &data, &[]).ok());
    let Some(small) = SmallDisk::mount(&site.path().join("small"), "4m") else { return };
    let ran = restore(&site, &id, &["--to", small.path().join("to").to_str().unwrap()]);
    ran.exits(1).says("No space left on device").says("--delta");
}

#[test]
fn a_full_or_read_only_disk_under_the_repository_costs_nothing() {
    let site = Site::bare(MAINSTAY);
    let data = site.path().join("data");
    fs::create_dir(&data).unwrap();
    fill(&data, 4, 100_000);
    let Some(disk) = SmallDisk::mount(&site.repository(), "3m") else { return };
    site.run(&["init", "--no-recovery-key"]).ok();
    let first = id(&create(&site, &data, &[]).ok());
    fill(&data, 60, 100_000);
    for _ in 0..3 {
        create(&site, &data, &[]).exits(1).says("No space left");
    }
    assert_eq!(site.ids(), std::slice::from_ref(&first));
    site.run(&["check", "--read-data"]).ok();
    disk.remount("ro");
    create(&site, &data, &[]).exits(1).says("Read-only");
    for arguments in [&["backup", "delete", &first][..], &["forget", "--keep-last", "1"], &["prune"]] {
        site.run(arguments).exits(1).says("Read-only");
    }
    // Reading needs no right to write.
    site.run(&["check", "--read-data"]).ok();
    site.run(&["backup", "verify", &first]).ok().says("this verification is not remembered");
    restore(&site, &first, &["--to", site.path().join("to").to_str().unwrap()]).ok();
    disk.remount("rw,size=200m");
    create(&site, &data, &[]).ok();
    site.assert_sound();
}

#[test]
fn the_repository_inside_the_directory_is_left_out_and_never_deleted() {
    let site = Site::bare(MAINSTAY);
    let data = site.path().join("data");
    fs::create_dir_all(data.join("deep [x]* \\")).unwrap();
    fs::write(data.join("file"), "one").unwrap();
    let repository = data.join("deep [x]* \\/repository");
    let program = site.program().with("MAINSTAY_REPOSITORY", &repository);
    program.run(&["init", "--no-recovery-key"]).ok();
    let path = data.to_str().unwrap();
    let arguments = ["backup", "create", "acme", "--directory", path];
    for _ in 0..2 {
        let ran = program.run(&arguments).ok().says("repository").says("is left out").says("1 left out");
        assert!(!ran.stderr.contains("config"), "{}", ran.stderr);
    }
    let listed = program.run(&["backup", "export", "acme/data"]);
    assert_eq!(listed.code, Some(5), "an export asks for an id: {}", listed.stderr);
    let newest = program.run(&["backup", "list"]).ok().text();
    let newest = newest.lines().nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let archive = program.run(&["backup", "export", &newest]).ok().stdout;
    assert!(archive.windows(4).any(|bytes| bytes == b"file"));
    assert!(!archive.windows(9).any(|bytes| bytes == b"snapshots"), "the repository is in its own backup");
    // Restored in place, what the backup does not have goes; the repository is none of that.
    fs::write(data.join("extra"), "extra").unwrap();
    let yes = format!("--yes={path}");
    program.run(&["backup", "restore", &newest, "--delta", "--delete", &yes]).ok();
    assert!(!data.join("extra").exists() && repository.join("config").exists());
    program.run(&["check", "--read-data"]).ok();
    // The repository itself, or a part of it, is no directory to back up.
    for inside in [repository.clone(), repository.join("keys")] {
        let arguments = ["backup", "create", "acme", "--directory", inside.to_str().unwrap()];
        program.run(&arguments).exits(6).says("in, the repository");
    }
}

#[test]
fn a_file_with_holes_is_exported_with_holes() {
    let (site, data) = site();
    let file = fs::File::create(data.join("sparse")).unwrap();
    file.set_len(90 << 20).unwrap();
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"middle", 40_000_000).unwrap();
    let only = fs::File::create(data.join("hole only")).unwrap();
    only.set_len(70 << 20).unwrap();
    let id = id(&create(&site, &data, &[]).ok());
    let (archive, to) = (site.path().join("a.tar"), site.path().join("to"));
    site.run(&["backup", "export", &id, "--output", archive.to_str().unwrap()]).ok();
    assert!(fs::metadata(&archive).unwrap().len() < 30 << 20, "holes are not in the archive");
    fs::create_dir(&to).unwrap();
    let (archive, place) = (archive.to_str().unwrap(), to.to_str().unwrap());
    Program::new("tar").run(&["-xpf", archive, "-C", place]).ok();
    let left = differences(&data, &to);
    assert!(left.iter().all(|line| line.contains("attributes")), "{left:#?}");
    // A second reader, which we did not write either.
    let script = "import sys, tarfile\nfor m in tarfile.open(sys.argv[1]): print(m.name, m.size)";
    let names = Program::new("python3").run(&["-c", script, archive]).ok().text();
    assert!(names.contains(&format!("sparse {}\n", 90 << 20)), "{names}");
    assert!(names.contains(&format!("hole only {}\n", 70 << 20)), "{names}");
}

#[test]
fn owners_go_by_their_names_unless_by_number() {
    if !means::is_root("give files away") {
        return;
    }
    let (site, data) = site();
    let file = data.join("file");
    fs::write(&file, "x").unwrap();
    // A number that a name elsewhere has; the name that it has here is another one's.
    std::os::unix::fs::chown(&file, Some(1), Some(1)).unwrap();
    create(&site, &data, &[]).ok();
    let owner = |place: &Path| {
        let about = fs::metadata(place.join("file")).unwrap();
        (std::os::unix::fs::MetadataExt::uid(&about), std::os::unix::fs::MetadataExt::gid(&about))
    };
    for (flags, expected) in [(&[][..], (71, 72)), (&["--numeric-owner"], (1, 1))] {
        let to = site.path().join(format!("to-{}", flags.len()));
        let script = "mount -t tmpfs tmpfs /etc && printf 'daemon:x:71:72::/:/bin/sh\\n' > /etc/passwd && \
            printf 'daemon:x:72:\\n' > /etc/group && exec \"$@\"";
        let mut arguments = vec!["backup", "restore", "acme/data", "--to", to.to_str().unwrap()];
        arguments.extend(flags);
        site.program().under(&["unshare", "--mount", "sh", "-c", script, "sh"]).run(&arguments).ok();
        assert_eq!(owner(&to), expected, "{flags:?}");
    }
}

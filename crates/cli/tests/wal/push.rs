//! Archiving.

use std::fs;

use testkit::strace::{Fault, is_permitted};

use crate::scene::{MAINSTAY, SYSTEM_ID, Scene, make_data, name, segment};

#[test]
fn pitfall_03_the_same_bytes_again_are_fine_and_others_are_refused() {
    let scene = Scene::new();
    for more in [&["--no-agent"][..], &[]] {
        scene.write(3, 1);
        scene.push(3, more).ok();
        scene.push(3, more).ok();
        let before = fs::read(scene.object(&name(3))).unwrap();
        scene.write(3, 2);
        let refused = scene.push(3, more).exits(6);
        refused.says("is archived in").says("with other bytes").says("hint: two servers wrote");
        assert!(fs::read(scene.object(&name(3))).unwrap() == before, "it was overwritten");
    }
    scene.fetch(&name(3), &[]).ok();
    assert!(scene.fetched().unwrap() == segment(3, 1));
}

#[test]
fn pitfall_04_a_file_that_is_not_what_its_name_says_is_never_archived() {
    let scene = Scene::new();
    let whole = segment(3, 1);
    let mut foreign = whole.clone();
    foreign[24] ^= 1;
    let table = [
        (
            name(3),
            whole[..whole.len() - 8192].to_vec(),
            "has 1040384 bytes, and a segment of this cluster 1048576",
        ),
        (name(3), vec![0; 1 << 20], "does not begin as WAL"),
        (name(4), whole.clone(), "it begins at 0/300000, and one of its name would at 0/400000"),
        (name(3), foreign, "it belongs to the cluster"),
        ("00000002.history".to_owned(), b"nonsense\n".to_vec(), "makes no sense"),
        (format!("{}.00000028.backup", name(3)), b"nonsense\n".to_vec(), "is not the note of a base backup"),
    ];
    for (name, content, words) in table {
        let path = scene.wal(&name);
        fs::write(&path, content).unwrap();
        scene.site.run(&["wal", "push", path.to_str().unwrap(), "--no-agent"]).exits(1).says(words);
        scene.site.run(&["wal", "push", path.to_str().unwrap()]).exits(1).says(words);
        assert!(!scene.object(&name).exists());
    }
    let path = scene.wal("nonsense");
    fs::write(&path, b"").unwrap();
    scene.site.run(&["wal", "push", path.to_str().unwrap()]).exits(2).says("is no WAL file");
}

#[test]
fn pitfall_02_no_failure_ends_above_125() {
    let scene = Scene::new();
    scene.write(3, 1);
    let path = scene.wal(&name(3)).display().to_string();
    let program = scene.site.program();
    let wrong = program.clone().with("MAINSTAY_PASSWORD", "wrong");
    let nowhere = program.clone().with("MAINSTAY_REPOSITORY", "/nonexistent/repository");
    let nothing = program.clone().without("MAINSTAY_PASSWORD");
    let missing = scene.wal(&name(9)).display().to_string();
    for program in [&wrong, &nowhere, &nothing] {
        for more in [&["--no-agent"][..], &[]] {
            let ran = program.run(&[&["wal", "push", &path], more].concat());
            assert!((1..=125).contains(&ran.code.unwrap()), "{ran:?}");
        }
    }
    for line in [&["wal", "push", &missing][..], &["wal", "push"], &["wal", "push", &path, "--typo"]] {
        let ran = program.run(line);
        assert!((1..=125).contains(&ran.code.unwrap()), "{ran:?}");
    }
    assert!(!scene.object(&name(3)).exists());
}

#[test]
fn pitfall_01_killed_at_any_object_or_without_room_nothing_is_half_there_and_nothing_was_promised() {
    if !is_permitted() {
        return;
    }
    let scene = Scene::new();
    scene.write(3, 1);
    let path = scene.wal(&name(3)).display().to_string();
    let arguments = ["wal", "push", &path, "--no-agent"];
    let folder = scene.object(&name(3)).parent().unwrap().to_owned();
    fs::create_dir_all(&folder).unwrap();
    let faults = [
        Fault::kill("linkat").at(&folder),
        Fault::kill("fsync").at(&folder),
        Fault::error("fsync", "EIO").at(&folder),
        Fault::error("pwrite64", "ENOSPC").at(&folder),
        Fault::error("openat", "ENOSPC").at(&folder),
        Fault::kill("pwrite64").nth(1),
        Fault::kill("linkat").nth(1),
        Fault::kill("linkat").nth(2),
        Fault::kill("fsync").nth(2),
    ];
    for fault in faults {
        let faulted = fault.run(&scene.site.program(), &arguments);
        if faulted.happened && faulted.ran.code == Some(0) {
            // It was met by something that may fail.
            assert!(scene.object(&name(3)).exists(), "{fault:?}");
        }
        if scene.object(&name(3)).exists() {
            scene.fetch(&name(3), &["--no-agent"]).ok();
            assert!(scene.fetched().unwrap() == segment(3, 1), "{fault:?}");
            fs::remove_file(scene.object(&name(3))).unwrap();
        } else {
            assert_ne!(faulted.ran.code, Some(0), "{fault:?} {faulted:?}", faulted = faulted.ran);
        }
    }
    scene.push(3, &["--no-agent"]).ok();
    scene.site.assert_sound();
}

#[test]
fn pitfall_22_a_copy_does_not_archive_in_the_place_of_its_original() {
    let scene = Scene::new();
    scene.write(3, 1);
    scene.push(3, &[]).ok();
    // A copy on the same machine, by the same user: it has everything but the token.
    let copy = scene.site.path().join("copy");
    make_data(&copy);
    let theirs = copy.join("pg_wal").join(name(4));
    fs::write(&theirs, segment(4, 9)).unwrap();
    for more in [&["--no-agent"][..], &[]] {
        let ran = scene.site.run(&[&["wal", "push", theirs.to_str().unwrap()], more].concat()).exits(6);
        ran.says(&format!("timeline 1 of the cluster {SYSTEM_ID} is archived here by")).says("--take-over");
    }
    assert!(!scene.object(&name(4)).exists());
    scene.write(4, 1);
    scene.push(4, &[]).ok();
    // One that takes over says so, and then the original is the one that is refused.
    fs::write(copy.join("pg_wal").join(name(5)), segment(5, 9)).unwrap();
    let taken = copy.join("pg_wal").join(name(5));
    scene.site.run(&["wal", "push", taken.to_str().unwrap(), "--take-over"]).ok();
    scene.write(6, 1);
    scene.push(6, &["--no-agent"]).exits(6).says("is archived here by");
    fs::write(copy.join("pg_wal").join(name(6)), segment(6, 9)).unwrap();
    scene.site.run(&["wal", "push", copy.join("pg_wal").join(name(6)).to_str().unwrap(), "--no-agent"]).ok();
}

#[test]
fn pitfall_22_the_token_is_never_inside_the_data_directory() {
    let scene = Scene::new();
    scene.write(3, 1);
    let inside = scene.site.program().with("HOME", &scene.data);
    let path = scene.wal(&name(3)).display().to_string();
    inside.run(&["wal", "push", &path]).exits(2).says("of which copies have it too");
    let token = scene.site.path().join("shared/token");
    let named = inside.with("MAINSTAY_OWNER_FILE", &token);
    named.run(&["wal", "push", &path]).ok();
    assert_eq!(fs::read_to_string(&token).unwrap().trim().len(), 64);
}

#[test]
fn a_configured_repository_is_found_by_its_source() {
    let scene = Scene::new();
    scene.write(3, 1);
    let place = scene.site.path();
    let config = place.join("mainstay.toml");
    let tenant = |name: &str, url: &str| {
        format!(
            "[tenants.{name}]\nrepository = {{ url = \"{url}\", password = \"${{MAINSTAY_PASSWORD}}\" }}\n[tenants.{name}.sources.main]\ndatabase = \"postgresql:///app\"\n"
        )
    };
    let repository = scene.site.repository().display().to_string();
    fs::write(&config, tenant("acme", &repository) + &tenant("other", "/nonexistent/other")).unwrap();
    let program = scene.site.program().without("MAINSTAY_REPOSITORY").with("MAINSTAY_CONFIG", &config);
    let path = scene.wal(&name(3)).display().to_string();
    program.run(&["wal", "push", &path]).exits(2).says("several tenants are configured");
    for more in [&["--no-agent"][..], &[]] {
        program.run(&[&["wal", "push", &path, "--source", "acme/main"], more].concat()).ok();
        let to = scene.target().display().to_string();
        program.run(&[&["wal", "fetch", &name(3), &to, "--source", "acme/main"], more].concat()).ok();
    }
    let ran = testkit::program::Program::new(MAINSTAY).run(&["wal", "push", &path, "--no-agent"]);
    assert!((1..=125).contains(&ran.code.unwrap()));
    program.run(&["wal", "status", "--of", "acme"]).ok();
    // A flag is stronger than the environment, of a server that recovers too.
    let named = scene
        .site
        .program()
        .with("MAINSTAY_CONFIG", &config)
        .with("MAINSTAY_REPOSITORY", "/nonexistent/third");
    named.run(&["wal", "status", "--of", "acme"]).ok();
    assert!(scene.object(&name(3)).exists());
    // The agent of a configuration is named by it.
    let agents = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == config.as_os_str().as_encoded_bytes())
    });
    for agent in agents {
        crate::scene::signal(agent.file_name().to_str().unwrap().parse().unwrap(), "-KILL");
    }
}

#[test]
fn check_reads_archived_wal_and_names_what_is_damaged() {
    let scene = Scene::new();
    for number in 1..5 {
        scene.write(number, number as u8);
        scene.push(number, &["--no-agent"]).ok();
    }
    let checked = |more: &[&str]| {
        let ran = scene.site.run(&[&["check", "--json"], more].concat());
        let document: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        (
            ran.code,
            document["walFiles"].as_u64(),
            document["walRead"].as_u64(),
            document["problems"].to_string(),
        )
    };
    assert_eq!(checked(&[]), (Some(0), Some(4), Some(0), "[]".to_owned()));
    assert_eq!(checked(&["--read-data=26%"]), (Some(0), Some(4), Some(2), "[]".to_owned()));
    assert_eq!(checked(&["--read-data"]), (Some(0), Some(4), Some(4), "[]".to_owned()));
    let object = scene.site.repository().join(format!("wal/{SYSTEM_ID}/00000001/{}", name(3)));
    let mut bytes = fs::read(&object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&object).unwrap();
    fs::write(&object, bytes).unwrap();
    let (code, _, read, problems) = checked(&["--read-data"]);
    assert_eq!((code, read), (Some(4), Some(4)));
    assert!(problems.contains(&name(3)) && !problems.contains(&name(2)), "{problems}");
}

//! The whole road over SFTP, through the program as people start it: stock restic is the judge, and neither the end of
//! the writer nor of the server costs what was acknowledged.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use testkit::program::{Program, Ran};
use testkit::restic;
use testkit::site::{PASSWORD, Site, assert_restores, files_below, id_of, noisy_directory};
use testkit::sshd::Sshd;

/// Long enough for a machine that does many things at once.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server, a repository on it, and a directory to back up.
struct Far {
    server: Sshd,
    site: Site,
    program: Program,
}

impl Far {
    fn new() -> Self {
        let (server, site) = (Sshd::start(), Site::bare(env!("CARGO_BIN_EXE_mainstay")));
        let mut program = site.program().with("MAINSTAY_REPOSITORY", server.address(&site.repository()));
        for (name, value) in server.variables() {
            program = program.with(&name, value);
        }
        let far = Self { server, site, program };
        far.run(&["init", "--no-recovery-key"]).ok();
        far
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.program.run(arguments)
    }

    fn source(&self, name: &str, mib: u32) -> PathBuf {
        noisy_directory(self.site.path(), name, mib)
    }

    fn back_up(&self, source: &Path, more: &[&str]) -> Ran {
        self.run(&[&["backup", "create", "acme", "--directory", text(source)], more].concat())
    }

    fn assert_restores(&self, id: &str, source: &Path) {
        assert_restores(&self.program, id, source);
    }

    /// mainstay and every restic, over SFTP too, find nothing wrong. Locks of the dead do not count.
    fn assert_sound(&self) {
        self.run(&["check", "--read-data"]).ok();
        let address = self.server.address(&self.site.repository());
        for restic in restic::installed() {
            let option = self.server.restic_option();
            restic
                .run(Path::new(&address), PASSWORD, &["-o", &option, "--no-lock", "check", "--read-data"])
                .ok();
        }
    }

    fn packs(&self) -> usize {
        let folders = fs::read_dir(self.site.repository().join("data")).into_iter().flatten().flatten();
        folders.flat_map(|folder| fs::read_dir(folder.path())).flatten().count()
    }

    /// Wait until there are more packs than `before`, so that the middle of a backup is hit.
    fn wait_for_packs(&self, before: usize) {
        let begin = Instant::now();
        while self.packs() <= before {
            assert!(begin.elapsed() < PATIENCE, "no pack arrives");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn there_and_back_over_sftp_and_stock_restic_reads_the_same() {
    let far = Far::new();
    let source = far.source("source", 20);
    let ran = far.back_up(&source, &["--json"]).ok();
    let id = id_of(&ran);
    let shown = ran.text();
    assert!(shown.contains("\"uploadedBytes\": \"2") && shown.contains("\"costMicroUsd\": \"0\""), "{shown}");
    far.assert_restores(&id, &source);
    far.assert_sound();
    let stats = far.run(&["stats"]).ok().text();
    assert!(stats.contains("this run") && stats.contains("requests"), "{stats}");

    let address = far.server.address(&far.site.repository());
    let restored = far.site.path().join("by-restic");
    for restic in restic::installed() {
        let option = far.server.restic_option();
        let arguments = ["-o", &option, "restore", "latest", "--target", text(&restored)];
        restic.run(Path::new(&address), PASSWORD, &arguments).ok();
    }
    let found = files_below(&restored);
    assert_eq!(found.len(), 20);
    assert!(
        found.iter().map(|(_, content)| content).eq(files_below(&source).iter().map(|(_, content)| content))
    );
}

#[test]
fn the_cache_saves_requests_and_is_never_believed() {
    let far = Far::new();
    let source = far.source("source", 4);
    let id = id_of(&far.back_up(&source, &[]).ok());
    let cache = far.site.path().join("cache");
    let gets = |more: &[&str]| -> u64 {
        let shown = far.run(&[&["stats", "--json"], more].concat()).ok().text();
        let line = shown.lines().find(|line| line.contains("\"gets\"")).unwrap_or_default();
        line.chars().filter(char::is_ascii_digit).collect::<String>().parse().expect("a number")
    };
    let without = gets(&["--no-cache"]);
    let told = ["--cache-dir", text(&cache)];
    assert_eq!(gets(&told), without, "an empty cache saves nothing");
    let with = gets(&told);
    assert!(with < without, "{with} {without}");
    let files: Vec<_> = files_below(&cache).into_iter().map(|(name, _)| cache.join(name)).collect();
    let stored = cache.join("stored");
    let files: Vec<_> = files.into_iter().filter(|file| file.starts_with(&stored)).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        fs::write(file, "planted").unwrap();
    }
    far.run(&[&["backup", "verify", &id], &told[..]].concat()).ok();
    // check looks at the store: what is damaged there is found, whatever the cache remembers.
    let index = files_below(&far.site.repository()).into_iter().find(|(name, _)| name.starts_with("index/"));
    let index = far.site.repository().join(index.expect("an index file").0);
    fs::remove_file(&index).unwrap();
    fs::write(&index, "damaged").unwrap();
    far.run(&[&["check"], &told[..]].concat()).exits(4);
}

#[test]
fn what_the_server_lacks_or_refuses_has_its_words_and_code() {
    let far = Far::new();
    let unknown = far.site.path().join("nothing-known");
    fs::write(&unknown, "").unwrap();
    let stranger = far.program.clone().with("MAINSTAY_SFTP_KNOWN_HOSTS", &unknown);
    stranger.run(&["backup", "list"]).exits(1).says("host key").says("SHA256:").says("--sftp-host-key");
    let keyless = far.program.clone().with("MAINSTAY_SFTP_KEY", &unknown);
    keyless.run(&["backup", "list"]).exits(2).says("--sftp-key");
    far.run(&["-r", "sftp://u:secret@127.0.0.1/p", "backup", "list"]).exits(2).says("password");
    let empty = far.server.address(&far.site.path().join("empty"));
    far.run(&["-r", &empty, "backup", "list"]).exits(5).says("mainstay init");
}

#[test]
fn kill_9_of_the_writer_costs_no_backup() {
    let far = Far::new();
    let source = far.source("first", 8);
    let first = id_of(&far.back_up(&source, &[]).ok());
    let large = far.source("large", 96);
    for _ in 0..3 {
        let before = far.packs();
        let arguments = ["backup", "create", "acme", "--directory", text(&large), "--limit-upload", "24M"];
        let mut writer = far.program.start(&arguments);
        far.wait_for_packs(before);
        writer.kill().unwrap();
        writer.wait().unwrap();
        far.run(&["check", "--read-data"]).ok();
        far.assert_restores(&first, &source);
    }
    let second = id_of(&far.back_up(&large, &[]).ok());
    far.assert_restores(&second, &large);
    far.assert_sound();
}

#[test]
fn a_server_that_dies_half_way_is_waited_for_or_ends_the_run_cleanly() {
    let mut far = Far::new();
    let source = far.source("first", 8);
    let first = id_of(&far.back_up(&source, &[]).ok());
    for (name, patience) in [("patient", "900"), ("impatient", "0")] {
        let large = far.source(name, 96);
        let before = far.packs();
        let arguments = [
            "backup",
            "create",
            "acme",
            "--directory",
            text(&large),
            "--limit-upload",
            "24M",
            "--retry-for",
            patience,
        ];
        let writer = far.program.start(&arguments);
        far.wait_for_packs(before);
        far.server.kill();
        if patience == "0" {
            Ran::wait(writer).exits(1);
            far.server.resume();
        } else {
            std::thread::sleep(Duration::from_secs(2));
            far.server.resume();
            let ran = Ran::wait(writer).ok().says("trying again");
            far.assert_restores(&id_of(&ran), &large);
        }
        far.assert_sound();
        far.assert_restores(&first, &source);
    }
}

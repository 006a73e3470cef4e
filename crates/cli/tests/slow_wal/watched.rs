//! The observer looks at the log of a real cluster, by the repository alone; and a gap is followed by a full backup.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::server::{Place, Server};

fn configure(place: &Place, server: &Server<'_>, promise: &str) {
    place.configure(&format!(
        "[tenants.acme]\nrepository = {{ url = \"PLACE/repository\", password = \"${{MAINSTAY_PASSWORD}}\" }}\n\
         [tenants.acme.sources.main]\ncluster = \"{}\"\n{promise}\n",
        server.uri("postgres")
    ));
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// Whole segments of the first timeline.
fn segments(place: &Place) -> Vec<PathBuf> {
    place.archived().into_iter().filter(|path| name_of(path).len() == 24).collect()
}

#[test]
fn pitfall_09_pitfall_10_the_observer_sees_gaps_and_silence_though_the_server_is_dead() {
    let place = Place::new();
    let push = place.archive_command("host-a");
    let mut primary = place.initdb("a").start(&[("archive_mode", "on"), ("archive_command", &push)]);
    configure(&place, &primary, "wal = { max_lag = \"1h\" }\nrpo = \"2h\"");
    let watch = || place.configured(&["watch", "--once"]);
    let run = || place.configured(&["run", "acme/main"]).ok().stderr;
    watch().exits(7).says("alarm acme/main: there is no good backup");
    primary.write(100);
    assert!(run().contains("cluster: full"));
    primary.write(5_000);
    primary.archive_all();
    watch().ok();
    assert!(run().contains("cluster: increment 1"));

    // A segment behind the newest backup is lost; what is behind it was there for a while.
    let before = segments(&place);
    primary.write(10_000);
    primary.archive_all();
    let new: Vec<_> = segments(&place).into_iter().filter(|path| !before.contains(path)).collect();
    let lost = &new[new.len() - 2];
    let kept = fs::read(lost).unwrap();
    fs::remove_file(lost).unwrap();
    place.archived_minutes_ago(10);
    let gap = format!("{0} to {0}", name_of(lost));
    watch().exits(7).says(&format!("alarm acme/main/wal: WAL is missing: {gap}; no recovery goes past it"));
    let said = run();
    assert!(said.contains(&format!("WAL is missing in the archive, {gap}")), "{said}");
    assert!(said.contains("cluster: full"), "{said}");
    // Behind the gap there is a base backup now.
    watch().ok();
    assert!(run().contains("cluster: increment 1"));
    fs::write(lost, kept).unwrap();

    // Nothing comes any more, and nobody is there who could say so.
    primary.stop("QUIT");
    watch().ok();
    place.archived_minutes_ago(90);
    let ran =
        watch().exits(7).says("alarm acme/main/wal: the newest archived WAL came on").says("max_lag, 1h");
    assert!(ran.stderr.contains("archive_timeout") && !ran.stderr.contains("rpo"), "{}", ran.stderr);
    let shown = place.configured(&["--json", "watch", "--once"]).exits(7).text();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let alarm = &shown["alarms"][0];
    assert!(alarm["name"] == "acme/main/wal" && alarm["fault"] == "late", "{shown}");
    what_is_lost_for_good_is_seen(&place, &primary);
}

/// A timeline whose history was never archived, no log at all, and an rpo that backups alone do not keep.
fn what_is_lost_for_good_is_seen(place: &Place, primary: &Server<'_>) {
    let watch = || place.configured(&["watch", "--once"]);
    place.archived_minutes_ago(10);
    watch().ok();
    let last = segments(place).pop().unwrap();
    let next = last.parent().unwrap().with_file_name("00000002");
    fs::create_dir(&next).unwrap();
    let moved = next.join(name_of(&last).replacen("00000001", "00000002", 1));
    fs::copy(&last, moved).unwrap();
    place.archived_minutes_ago(10);
    watch()
        .exits(7)
        .says("alarm acme/main/wal: there is WAL of timeline 2 and not its history, 00000002.history");
    fs::remove_dir_all(place.repository().join("wal")).unwrap();
    watch().exits(7).says("alarm acme/main/wal: no WAL of this cluster is archived here");
    // Nobody promises WAL, and by base backups alone nothing is as young as that.
    configure(place, primary, "rpo = \"1s\"");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !watch().stderr.contains("longer ago than the rpo, 1s") {
        assert!(Instant::now() < deadline, "nobody misses it");
    }
    configure(place, primary, "");
    watch().ok();
}

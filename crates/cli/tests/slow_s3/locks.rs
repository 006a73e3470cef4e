//! Object Lock: what is written stays, whatever rights an attacker has (threats 1 and 6).

use testkit::s3::{S3, with_credentials};
use testkit::site::{files_below, id_of};

use crate::attack::{destroy, each, last_change};
use crate::{BUCKET, Far, ceph, text};

/// A bucket with Object Lock, and so with versions.
const LOCKED: &str = "locked";

/// Whoever has the right opens a lock in GOVERNANCE mode with it.
const BYPASS: &str = "x-amz-bypass-governance-retention: true";

fn make_locked(s3: &S3) {
    s3.ask("PUT", LOCKED, &["x-amz-bucket-object-lock-enabled: true"], "");
}

fn address(s3: &S3, prefix: &str, days: u32) -> String {
    format!("{}&object-lock=compliance:{days}d", s3.url(LOCKED, prefix))
}

/// Name and version of all that is there or was.
fn versions(s3: &S3) -> Vec<(String, String)> {
    let listed = s3.ask("GET", &format!("{LOCKED}?versions="), &[], "");
    let entries = each(&listed, "Version");
    assert!(!listed.contains("<IsTruncated>true"), "one page is enough");
    // The canary of the probe is locked too, for an hour.
    let entries = entries.into_iter().filter(|entry| !entry.contains("/x/probe/lock-"));
    entries.map(|entry| (each(entry, "Key")[0].to_owned(), each(entry, "VersionId")[0].to_owned())).collect()
}

/// Until when a version is locked, as the server says it; empty where it is not.
pub(crate) fn locked_until(s3: &S3, key: &str, version: &str) -> String {
    let answer = s3.answer("GET", &format!("{LOCKED}/{key}?retention=&versionId={version}"), &[], "");
    let text = answer.text();
    match answer.code {
        Some(0) => {
            assert!(text.contains("<Mode>COMPLIANCE</Mode>"), "{text}");
            each(&text, "RetainUntilDate")[0].to_owned()
        }
        _ => String::new(),
    }
}

fn is_to_stay(key: &str) -> bool {
    !(key.contains("/locks/") || key.contains("/x/"))
}

#[test]
fn what_is_locked_survives_the_owner_of_the_bucket_threat_1() {
    let s3 = ceph();
    make_locked(&s3);
    let far = Far::bare(&address(&s3, "p", 30), with_credentials);
    far.run(&["init", "--no-recovery-key"]).ok();
    let source = far.source("tree", 8);
    let id = id_of(&far.back_up(&source, &[]).ok());
    let good = last_change(&s3, LOCKED);
    let before = versions(&s3);
    let month = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(30 * 24);
    for (key, version) in &before {
        let until = locked_until(&s3, key, version);
        assert_eq!(until.is_empty(), !is_to_stay(key), "{key} {until}");
        if let Ok(until) = until.parse::<jiff::Timestamp>() {
            assert!(until.duration_since(month).abs() < jiff::SignedDuration::from_mins(15), "{key} {until}");
        }
    }
    for kind in ["data/", "index/", "snapshots/", "keys/", "config"] {
        assert!(before.iter().any(|(key, _)| key.starts_with(&format!("p/{kind}"))), "{kind}");
    }

    destroy(&s3, LOCKED);
    let earlier = "<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>2026-01-01T00:00:00Z</RetainUntilDate></Retention>";
    let governed = earlier.replace("COMPLIANCE", "GOVERNANCE");
    let soon = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string();
    let soon = format!("{}Z", &soon[..19]);
    for (key, version) in &before {
        let at = |what: &str| format!("{LOCKED}/{key}?{what}versionId={version}");
        // What is not locked the attacker could lock himself.
        let shorter =
            [earlier, &governed, &earlier.replace("2026-01-01T00:00:00Z", &soon)].map(str::to_owned);
        for body in shorter.iter().filter(|_| is_to_stay(key)) {
            s3.answer("PUT", &at("retention=&"), &[BYPASS], body);
        }
        let deleted = s3.answer("DELETE", &at(""), &[BYPASS], "");
        assert_eq!(deleted.code == Some(0), !is_to_stay(key), "{key}: {}", deleted.text());
    }
    let after = versions(&s3);
    assert!(before.iter().filter(|(key, _)| is_to_stay(key)).all(|one| after.contains(one)));
    assert_ne!(far.run(&["backup", "list"]).code, Some(0));
    // WAL counts as well, whatever is in it.
    s3.ask("PUT", &format!("{LOCKED}/p/wal/7/00000002/00000002.history"), &[], "sealed");
    locks_are_extended_whatever_can_be_read(&s3, &far);

    let at = |arguments: &[&str]| far.run(&[&["--at", good.as_str()], arguments].concat()).ok();
    at(&["check", "--read-data"]);
    let target = far.site.path().join("back");
    at(&["backup", "restore", &id, "--to", text(&target)]);
    assert!(files_below(&target) == files_below(&source));
}

/// Configuration, keys and all the rest are hidden or overwritten, so that nobody can tell what is needed.
fn locks_are_extended_whatever_can_be_read(s3: &S3, far: &Far) {
    for days in [40, 50] {
        let extend = ["lock", "extend", "--for", &format!("{days}d")];
        let ran = far.run(&extend);
        assert!(matches!(ran.code, Some(4 | 6)), "{}", ran.text());
        let ran = ran.says("--at");
        assert!(ran.text().contains("are now locked until"), "{}", ran.text());
        for (key, version) in versions(s3).iter().filter(|(key, _)| is_to_stay(key)) {
            let until: jiff::Timestamp = locked_until(s3, key, version).parse().expect("a lock");
            let wanted = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days - 1);
            assert!(until > wanted, "{key} {until}");
        }
        // Now with the configuration as it was, and no key at all.
        let listed = s3.ask("GET", &format!("{LOCKED}?versions="), &[], "");
        let newest = [each(&listed, "DeleteMarker"), each(&listed, "Version")].concat();
        let newest = newest
            .iter()
            .filter(|one| one.contains("<Key>p/config<") && one.contains("<IsLatest>true"))
            .map(|one| each(one, "VersionId")[0]);
        for version in newest.collect::<Vec<_>>() {
            s3.answer("DELETE", &format!("{LOCKED}/p/config?versionId={version}"), &[], "");
        }
    }
}

#[test]
fn a_lock_that_does_not_hold_is_found_out_threat_6() {
    let s3 = ceph();
    make_locked(&s3);
    let far = Far::bare(&address(&s3, "p", 30), with_credentials);
    far.run(&["init", "--no-recovery-key"]).ok().says("COMPLIANCE mode held");
    let shown = far.run(&["doctor"]).ok().text();
    assert!(shown.contains("COMPLIANCE mode held"), "{shown}");
    what_a_writer_may_not_see_is_no_alarm(&s3, &far);
    let left: Vec<_> = each(&s3.ask("GET", LOCKED, &[], ""), "Key").into_iter().map(str::to_owned).collect();
    assert!(left.iter().all(|key| !key.contains("probe")), "{left:?}");
    // A bucket that cannot lock is no place for an address that asks for it.
    let plain = format!("{}&object-lock=compliance:30d", s3.url(BUCKET, "p"));
    let far = Far::bare(&plain, with_credentials);
    far.run(&["init"]).exits(2).says("without Object Lock").says("make a bucket with Object Lock");
    for wrong in ["governance:30d", "compliance", "compliance:30", "compliance:0d"] {
        let url = format!("{}&object-lock={wrong}", s3.url(LOCKED, "p"));
        far.program.clone().with("MAINSTAY_REPOSITORY", url).run(&["init"]).exits(2).says("compliance");
    }
    // moto takes every lock and lets it be shortened.
    let moto = S3::moto();
    make_locked(&moto);
    let far = Far::bare(&address(&moto, "p", 30), with_credentials);
    far.run(&["init"]).exits(1).says("could be shortened").says("do not rely on locks");
    let document = crate::json(&far.run(&["--json", "doctor"]).exits(1));
    assert!(document.to_string().contains("could be shortened"), "{document}");
}

/// Neither to list versions nor to read them, nor to see locks is among a writer's rights.
fn what_a_writer_may_not_see_is_no_alarm(s3: &S3, far: &Far) {
    let deny = |actions: &str| {
        let policy = format!(
            "{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Deny\",\"Principal\":\"*\",\
             \"Action\":[\"s3:ListBucketVersions\",\"s3:GetObjectVersion\"{actions}],\
             \"Resource\":[\"arn:aws:s3:::{LOCKED}\",\"arn:aws:s3:::{LOCKED}/*\"]}}]}}"
        );
        s3.ask("PUT", &format!("{LOCKED}?policy="), &[], &policy);
        far.run(&["doctor"]).ok().text()
    };
    let shown = deny("");
    assert!(shown.contains("COMPLIANCE mode held"), "{shown}");
    let shown = deny(",\"s3:GetObjectRetention\"");
    // A gateway may show a lock in the headers of an object whoever asks.
    let is_seen = shown.contains("COMPLIANCE mode held");
    assert!(is_seen || shown.contains("cannot be seen with these credentials"), "{shown}");
    assert!(!shown.contains("problem  protection"), "{shown}");
    s3.ask("DELETE", &format!("{LOCKED}?policy="), &[], "");
}

/// Nobody writes or deletes: all that a locker may do beside is to extend.
fn deny_writing(s3: &S3) {
    let policy = format!(
        "{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Deny\",\"Principal\":\"*\",\
         \"Action\":[\"s3:PutObject\",\"s3:DeleteObject\",\"s3:DeleteObjectVersion\"],\
         \"Resource\":[\"arn:aws:s3:::{LOCKED}/*\"]}}]}}"
    );
    s3.ask("PUT", &format!("{LOCKED}?policy="), &[], &policy);
}

/// How many hours each version of a kind is still locked.
fn hours(s3: &S3, kind: &str) -> Vec<i64> {
    let now = jiff::Timestamp::now();
    let of_kind = versions(s3).into_iter().filter(|(key, _)| key.starts_with(&format!("p/{kind}")));
    let left = of_kind.map(|(key, version)| {
        let until: jiff::Timestamp = locked_until(s3, &key, &version).parse().expect("a lock");
        until.duration_since(now).as_hours()
    });
    left.collect()
}

#[test]
fn locks_of_packs_that_are_used_again_are_extended_by_a_locker_threat_1() {
    let s3 = ceph();
    make_locked(&s3);
    let far = Far::bare(&address(&s3, "p", 2), with_credentials);
    far.run(&["init", "--no-recovery-key"]).ok();
    let source = far.source("tree", 8);
    far.back_up(&source, &[]).ok();
    let packs_of_kept = hours(&s3, "data/").len();
    let other = far.source("other", 5);
    let dropped = id_of(&far.back_up(&other, &[]).ok());
    far.run(&["backup", "delete", &dropped]).ok();
    let packs = hours(&s3, "data/").len();
    assert!(packs > packs_of_kept);

    let wrong = far.program.clone().with("MAINSTAY_PASSWORD", "another one");
    wrong.run(&["lock", "extend", "--for", "30d"]).exits(2).says("wrong password");
    assert!(hours(&s3, "data/").iter().all(|hours| *hours <= 48), "nothing was changed");

    deny_writing(&s3);
    let extend = |more: &[&str]| far.json(&[&["lock", "extend"], more].concat());
    let planned = extend(&["--for", "30d", "--dry-run"]);
    assert!(hours(&s3, "data/").iter().all(|hours| *hours <= 48), "nothing was changed");
    let done = extend(&["--for", "30d"]);
    for field in ["objects", "bytes", "extended", "requests", "costMicroUsd"] {
        assert_eq!(done[field], planned[field], "{field}");
    }
    assert_eq!(done["requests"]["puts"], done["extended"].to_string(), "one call for each");
    assert!(done["costMicroUsd"].as_str().unwrap().parse::<u64>().unwrap() > 0, "{done}");
    let is_long = |hours: &i64| *hours > 29 * 24;
    let long = |kind: &str| hours(&s3, kind).into_iter().filter(is_long).count();
    assert_eq!(long("data/"), packs_of_kept, "what nothing needs is left alone");
    assert_eq!((long("config"), long("keys/"), long("snapshots/")), (1, 1, 1));
    assert_eq!(long("index/"), hours(&s3, "index/").len());

    // Nothing is left to do, and nothing is shortened.
    for span in ["10d", "29d"] {
        let again = extend(&["--for", span]);
        assert_eq!((&again["extended"], &again["enough"]), (&0.into(), &done["extended"]), "{again}");
    }
    assert_eq!(extend(&["--for", "31d", "--slack", "7d", "--dry-run"])["extended"], 0);
    assert_eq!(long("data/"), packs_of_kept);

    one_that_fails_keeps_no_other_from_being_extended(&s3, &far);
    a_hidden_backup_keeps_its_locks(&s3, &far);
    a_thief_is_noticed(&s3, &far);
    for wrong in [&["--for", "4000d"][..], &["--until", "2020-01-01T00:00:00Z"], &["--for", "0d"], &[]] {
        far.run(&[&["lock", "extend"], wrong].concat()).exits(2);
    }
    let plain = far.program.clone().with("MAINSTAY_REPOSITORY", s3.url(BUCKET, "p"));
    plain.run(&["lock", "extend", "--for", "30d"]).exits(2).says("without Object Lock");
    let site = testkit::site::Site::new(env!("CARGO_BIN_EXE_mainstay"));
    site.run(&["lock", "extend", "--for", "30d"]).exits(2).says("s3:// alone");
}

/// Of one object the lock cannot be set, of another one not even be asked for.
fn one_that_fails_keeps_no_other_from_being_extended(s3: &S3, far: &Far) {
    let deny = |action: &str, key: &str| {
        format!(
            "{{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":[\"s3:{action}\"],\
             \"Resource\":[\"arn:aws:s3:::{LOCKED}/{key}\"]}}"
        )
    };
    let rules =
        [deny("PutObjectRetention", "p/config"), deny("GetObjectRetention", "p/snapshots/*")].join(",");
    let policy = format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{rules}]}}");
    s3.ask("PUT", &format!("{LOCKED}?policy="), &[], &policy);
    let ran = far.run(&["lock", "extend", "--for", "35d"]).exits(1).says("2 of the locks were not extended");
    assert!(ran.text().contains("are now locked until"), "{}", ran.text());
    s3.ask("DELETE", &format!("{LOCKED}?policy="), &[], "");
    let is_longer = |hours: &i64| *hours > 34 * 24;
    assert!(hours(s3, "keys/").iter().all(is_longer));
    assert!(hours(s3, "data/").iter().any(is_longer));
    assert!(!hours(s3, "config").iter().any(is_longer) && !hours(s3, "snapshots/").iter().any(is_longer));
}

/// Somebody takes a snapshot away, so that nothing seems to need its packs: they are extended all the same.
fn a_hidden_backup_keeps_its_locks(s3: &S3, far: &Far) {
    let id = id_of(&far.back_up(&far.source("third", 5), &[]).ok());
    let listed = s3.ask("GET", LOCKED, &[], "");
    let snapshots = each(&listed, "Contents").into_iter().filter(|one| one.contains("<Key>p/snapshots/"));
    let newest = snapshots.max_by_key(|one| each(one, "LastModified")[0]).unwrap();
    s3.ask("DELETE", &format!("{LOCKED}/{}", each(newest, "Key")[0]), &[], "");
    let before = hours(s3, "data/").iter().filter(|hours| **hours <= 48).count();
    assert!(before > 0);
    far.run(&["lock", "extend", "--for", "40d"]).exits(4).says(&id).says("disappeared");
    assert!(hours(s3, "data/").iter().all(|hours| *hours > 39 * 24));
    assert!(hours(s3, "snapshots/").iter().all(|hours| *hours > 39 * 24));
}

/// Somebody hides a pack and overwrites another one: all is kept, and said.
fn a_thief_is_noticed(s3: &S3, far: &Far) {
    let mut packs: Vec<_> = versions(s3).into_iter().filter(|(key, _)| key.starts_with("p/data/")).collect();
    packs.retain(|(key, version)| {
        locked_until(s3, key, version).parse::<jiff::Timestamp>().unwrap()
            > jiff::Timestamp::now() + jiff::SignedDuration::from_hours(29 * 24)
    });
    let [(hidden, first), (overwritten, second), ..] = &packs[..] else { panic!("{packs:?}") };
    s3.ask("DELETE", &format!("{LOCKED}/{hidden}"), &[], "");
    s3.ask("PUT", &format!("{LOCKED}/{overwritten}"), &[], "junk");
    let ran = far.run(&["lock", "extend", "--for", "60d"]).exits(4).says("--at");
    assert!(ran.stderr.contains(hidden.trim_start_matches("p/")), "{}", ran.stderr);
    assert!(ran.stderr.contains("stored again") && ran.stderr.contains(&overwritten[2..]), "{}", ran.stderr);
    for (key, version) in [(hidden, first), (overwritten, second)] {
        let until: jiff::Timestamp = locked_until(s3, key, version).parse().unwrap();
        assert!(until > jiff::Timestamp::now() + jiff::SignedDuration::from_hours(59 * 24), "{key}");
    }
    assert!(hours(s3, "data/").iter().all(|hours| *hours > 59 * 24), "needed or not");
}

/// Hide what is there below any of `folders`.
fn hide(s3: &S3, folders: &[&str]) {
    for key in each(&s3.ask("GET", LOCKED, &[], ""), "Key") {
        if folders.iter().any(|folder| key.starts_with(&format!("p/{folder}"))) {
            s3.ask("DELETE", &format!("{LOCKED}/{key}"), &[], "");
        }
    }
}

/// The thief knows what tells of a backup, hides that too, and leaves configuration and keys alone.
#[test]
fn backups_that_are_hidden_with_all_that_tells_of_them_are_missed_threat_1() {
    let s3 = ceph();
    make_locked(&s3);
    let far = Far::bare(&address(&s3, "p", 2), with_credentials);
    far.run(&["init", "--no-recovery-key"]).ok();
    let ids = ["one", "two", "three", "four"].map(|name| id_of(&far.back_up(&far.source(name, 3), &[]).ok()));
    // What we delete ourselves is no theft, neither before prune nor after it.
    far.run(&["backup", "delete", &ids[0]]).ok();
    far.run(&["lock", "extend", "--for", "3d"]).ok();
    far.run(&["prune", "--cooling-off", "0h"]).ok();
    far.run(&["backup", "delete", &ids[1]]).ok();
    far.run(&["lock", "extend", "--for", "4d"]).ok();
    let are_long = |days: i64| {
        let kinds = ["data/", "index/", "snapshots/"].map(|kind| hours(&s3, kind));
        kinds.iter().all(|hours| !hours.is_empty() && hours.iter().all(|hours| *hours >= 24 * days - 1))
    };
    assert!(!are_long(4), "what nothing needs is left alone");
    let third = far.json(&["backup", "get", &ids[2]])["snapshot"].as_str().unwrap().to_owned();
    hide(&s3, &[&format!("snapshots/{third}"), &format!("x/record/{third}")]);
    far.run(&["lock", "extend", "--for", "40d"]).exits(4).says(&third).says("no tombstone tells of it");
    assert!(are_long(40), "needed or not");
    hide(&s3, &["snapshots/", "index/", "data/", "x/record/"]);
    far.run(&["lock", "extend", "--for", "50d"]).exits(4).says("no tombstone tells of it").says("--at");
    assert!(are_long(50), "hidden or not");
}

#[test]
fn prune_beside_locks_says_what_stays_and_until_when() {
    let s3 = ceph();
    make_locked(&s3);
    let far = Far::bare(&address(&s3, "p", 2), with_credentials);
    far.run(&["init", "--no-recovery-key"]).ok();
    let (source, other) = (far.source("tree", 8), far.source("other", 5));
    let kept = id_of(&far.back_up(&source, &[]).ok());
    let dropped = id_of(&far.back_up(&other, &[]).ok());
    let before = last_change(&s3, LOCKED);
    far.run(&["backup", "delete", &dropped]).ok();
    let prune = |more: &[&str]| far.json(&[&["prune", "--cooling-off", "0h"], more].concat());
    let planned = prune(&["--dry-run"]);
    let done = prune(&[]);
    let count = |document: &serde_json::Value, field: &str| document["report"][field].as_u64().unwrap();
    let gone = count(&done, "removedPacks") + count(&done, "repackedPacks");
    assert!(gone > 0, "{done}");
    for document in [&planned, &done] {
        let older = &document["olderVersions"];
        assert_eq!(
            (&older["packs"], &older["locked"], &older["allPacks"]),
            (&gone.into(), &gone.into(), &gone.into()),
            "{document}"
        );
        let until: jiff::Timestamp = older["lockedUntil"].as_str().unwrap().parse().unwrap();
        assert!(until > jiff::Timestamp::now() + jiff::SignedDuration::from_hours(47), "{document}");
    }
    far.assert_restores(&kept, &source);
    far.run(&["check", "--read-data"]).ok();
    // What was pruned is out of sight, and not gone.
    let target = far.site.path().join("back");
    far.run(&["--at", &before, "backup", "restore", &dropped, "--to", text(&target)]).ok();
    assert!(files_below(&target) == files_below(&other));
    // A plain bucket frees what is deleted, and says nothing of versions.
    let plain = Far::bare(&s3.url(BUCKET, "p"), with_credentials);
    plain.run(&["init", "--no-recovery-key"]).ok();
    let id = id_of(&plain.back_up(&plain.source("tree", 5), &[]).ok());
    plain.run(&["backup", "delete", &id]).ok();
    let done = plain.json(&["prune", "--cooling-off", "0h"]);
    assert!(count(&done, "removedPacks") > 0 && done["olderVersions"].is_null(), "{done}");
}

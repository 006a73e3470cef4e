//! H7: from one repository to the next, in another cloud, without a gap.

use std::time::{Duration, Instant};

use testkit::gcs::{Gcs, TOKEN};
use testkit::proxy::Proxy;
use testkit::s3::{S3, with_credentials};
use testkit::site::{PASSWORD, id_of};

use crate::{BUCKET, Far, text};

#[test]
fn h7_a_repository_moves_to_another_cloud_without_a_gap() {
    let (s3, gcs) = (S3::moto(), Gcs::start());
    s3.make_bucket(BUCKET);
    let proxy = Proxy::start(s3.service().port());
    let (old, new) = (s3.url_through(proxy.port(), BUCKET, "repo2"), gcs.url("repo3"));
    let far = Far::bare(&old, |program| with_credentials(program).with("GOOGLE_OAUTH_ACCESS_TOKEN", TOKEN));
    let other_password = PASSWORD.replace('C', "D");
    let (own_file, new_file) = (far.site.path().join("own"), far.site.path().join("new"));
    std::fs::write(&own_file, PASSWORD).unwrap();
    std::fs::write(&new_file, &other_password).unwrap();
    far.run(&["init", "--no-recovery-key"]).ok();
    let at_new =
        far.program.clone().with("MAINSTAY_REPOSITORY", &new).with("MAINSTAY_PASSWORD", other_password);
    at_new.run(&["init", "--no-recovery-key"]).ok();
    let sources: Vec<_> = ["one", "second", "the third"].map(|name| far.source(name, 40)).into();
    let mut ids: Vec<_> = sources.iter().map(|source| id_of(&far.back_up(source, &[]).ok())).collect();
    let mirror = ["mirror", &old, &new, "--to-password-file", text(&new_file)];

    // Nothing is done by looking.
    let plan = far.json(&[&mirror[..], &["--dry-run"]].concat());
    assert_eq!((plan["missing"].as_array().unwrap().len(), &plan["dryRun"]), (3, &true.into()), "{plan}");
    let listed = || {
        let listed = at_new.run(&["backup", "list"]).ok().text();
        listed.lines().skip(1).map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(listed().is_empty());

    // Killed in the middle; begun again, it goes on.
    let mut killed = far.program.start(&[&mirror[..], &["--limit-download", "16M"]].concat());
    let (begin, before) = (Instant::now(), proxy.bytes());
    while proxy.bytes() < before + (60 << 20) {
        assert!(begin.elapsed() < Duration::from_secs(120), "nothing is read");
        std::thread::sleep(Duration::from_millis(20));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let done = far.json(&mirror);
    assert_eq!((&done["verified"], &done["retired"]), (&3.into(), &false.into()), "{done}");
    let read: u64 = done["bytes"].as_str().unwrap().parse().unwrap();
    assert!(read < 110 << 20, "what was stored is not copied again: {done}");
    ids.reverse();
    assert_eq!(listed(), ids);
    let again = far.json(&mirror);
    assert_eq!((&again["skipped"], &again["verified"]), (&3.into(), &0.into()), "{again}");

    // Both get the next night; then the old one is given up, but not while somebody backs up into it.
    let both = ["--dest", &old, "--dest-password-file", text(&own_file), "--dest", &new];
    let both = [&both[..], &["--dest-password-file", text(&new_file)]].concat();
    ids.insert(0, id_of(&far.back_up(&sources[0], &both).ok()));
    let large = far.source("a larger one", 64);
    let slow = ["backup", "create", "acme", "--directory", text(&large), "--limit-upload", "16M"];
    let (begin, before) = (Instant::now(), proxy.bytes());
    let writer = far.program.start(&slow);
    while proxy.bytes() < before + (16 << 20) {
        assert!(begin.elapsed() < Duration::from_secs(120), "nothing is sent");
        std::thread::sleep(Duration::from_millis(20));
    }
    let retire = [&mirror[..], &["--retire"]].concat();
    far.run(&retire).exits(6).says("in use");
    ids.insert(0, id_of(&testkit::program::Ran::wait(writer).ok()));
    let done = far.json(&retire);
    assert_eq!((&done["verified"], &done["retired"]), (&1.into(), &true.into()), "{done}");
    assert_eq!(listed(), ids);

    // Whoever did not hear of it is told; everything is still there to be read, and compared in the new place.
    far.back_up(&sources[0], &[]).exits(6).says("was retired on").says(&new);
    far.assert_restores(ids.last().unwrap(), &sources[0]);
    at_new.run(&["check", "--read-data"]).ok();
    // And back, should it have been a mistake.
    let back = ["mirror", &new, &old, "--from-password-file", text(&new_file)];
    far.json(&back);
    far.back_up(&sources[0], &[]).ok();
}

//! A damaged repository, repaired as an operator would.

use std::fs;

use testkit::tree::assert_same_tree;

use crate::{create, fill, id, restore, site};

#[test]
fn damage_is_named_repaired_and_healed_by_the_next_backup() {
    let (site, data) = site();
    fill(&data, 20, 200_000);
    let first = id(&create(&site, &data, &[]).ok());
    let packs = || testkit::site::files_below(&site.repository().join("data"));
    let (name, bytes) = packs().into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let pack = site.repository().join("data").join(name);
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, damaged).unwrap();

    let found = site.run(&["check", "--read-data"]);
    let found = found.exits(4).says("integrity check failed").says("mainstay repair --dry-run");
    assert!(found.text().contains("of its") && found.text().contains("/data/d"), "{}", found.text());
    let before = testkit::site::files_below(&site.repository());
    let planned = site.run(&["repair", "--dry-run"]).ok();
    assert!(planned.text().contains("nothing was changed"), "{}", planned.text());
    assert_eq!(testkit::site::files_below(&site.repository()), before);
    site.run(&["repair", "packs", "--replace"]).exits(2);

    let repaired = site.run(&["repair"]).ok();
    assert!(
        repaired.text().contains("1 damaged") && repaired.text().contains("saved as"),
        "{}",
        repaired.text()
    );
    let list = site.run(&["backup", "list", "--json"]).ok().text();
    assert!(list.contains(&format!("{first}-2")) && list.contains("\"incomplete\": true"), "{list}");
    site.run(&["check", "--read-data"]).exits(4);

    // The source still has what was lost: it is stored again, and the first backup is whole again.
    create(&site, &data, &[]).ok();
    site.run(&["check", "--read-data"]).ok();
    let to = site.path().join("to");
    restore(&site, &first, &["--to", to.to_str().unwrap()]).ok();
    assert_same_tree(&data, &to);
    site.assert_sound();
}

#[test]
fn parity_heals_a_lost_pack_without_the_source() {
    let (site, data) = site();
    fill(&data, 20, 200_000);
    create(&site, &data, &[]).ok();
    site.run(&["parity", "--shards", "9"]).exits(6).says("1 to 8 shards");
    let told = site.run(&["parity"]).ok();
    assert!(told.text().contains("0 packs were protected; 2 more are now"), "{}", told.text());
    fs::remove_dir_all(&data).unwrap();
    let before = testkit::site::files_below(&site.repository().join("data"));
    for (name, _) in &before {
        fs::remove_file(site.repository().join("data").join(name)).unwrap();
    }
    site.run(&["check"]).exits(4);
    let healed = site.run(&["repair"]).ok();
    assert!(healed.text().contains("2 healed by parity"), "{}", healed.text());
    assert_eq!(testkit::site::files_below(&site.repository().join("data")), before);
    site.assert_sound();
}

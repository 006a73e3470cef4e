//! WAL that is copied into another repository, and a repository that was given up.

use std::fs;

use crate::scene::{Scene, make_data, name, segment};

/// A second repository of the scene, and the program that works on it.
fn second(scene: &Scene) -> (String, testkit::program::Program) {
    let place = scene.site.path().join("second").display().to_string();
    let program = scene.site.program().with("MAINSTAY_REPOSITORY", &place);
    program.run(&["init", "--no-recovery-key"]).ok();
    (place, program)
}

#[test]
fn a_push_into_a_repository_that_was_given_up_is_refused_and_told_where_to_go() {
    let scene = Scene::new();
    let (place, at_second) = second(&scene);
    let first = scene.site.repository().display().to_string();
    for number in 3..6 {
        scene.write(number, 1);
        scene.push(number, &[]).ok();
    }
    let json = |arguments: &[&str]| -> serde_json::Value {
        let ran = scene.site.run(&[arguments, &["--json"]].concat()).ok();
        serde_json::from_str(&ran.text()).unwrap()
    };
    let plan = json(&["mirror", &first, &place, "--dry-run"]);
    assert_eq!((&plan["wal"]["files"], &plan["dryRun"]), (&3.into(), &true.into()), "{plan}");
    let done = json(&["mirror", &first, &place]);
    assert_eq!((&done["wal"]["copied"], &done["wal"]["compared"]), (&3.into(), &3.into()), "{done}");
    // What comes in while nobody looks is copied before the end.
    scene.write(6, 1);
    scene.push(6, &["--no-agent"]).ok();
    let done = json(&["mirror", &first, &place, "--retire"]);
    assert_eq!((&done["wal"]["copied"], &done["retired"]), (&1.into(), &true.into()), "{done}");

    // Also of what is there nobody is told that it is archived, by the agent that has the repository open neither.
    scene.write(7, 1);
    for more in [&[][..], &["--no-agent"]] {
        for number in [6, 7] {
            scene.push(number, more).exits(6).says("was retired on").says(&place);
        }
    }
    let path = scene.wal(&name(7)).display().to_string();
    at_second.run(&["wal", "push", &path, "--no-agent"]).ok();
    at_second.run(&["wal", "push", &scene.wal(&name(6)).display().to_string(), "--no-agent"]).ok();
    // A copy of the cluster is refused there as it was before.
    let copy = scene.site.path().join("copy");
    make_data(&copy);
    let theirs = copy.join("pg_wal").join(name(8));
    fs::write(&theirs, segment(8, 9)).unwrap();
    let order = ["wal", "push", theirs.to_str().unwrap(), "--no-agent"];
    at_second.run(&order).exits(6).says("is archived here by");
    let to = scene.target().display().to_string();
    for number in 3..8 {
        at_second.run(&["wal", "fetch", &name(number), &to, "--timeout", "1s", "--no-agent"]).ok();
        assert!(scene.fetched().unwrap() == segment(number, 1));
    }
    // Without a base backup nothing of WAL is copied by copy alone.
    let copied = json(&["copy", "--to", &place]);
    assert_eq!(copied["wal"]["copied"], 0, "{copied}");
    let stats = at_second.run(&["stats", "--json"]).ok().text();
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["walSegments"], "5", "{stats}");
    assert!(at_second.run(&["stats"]).ok().text().contains("in 5 segments"));
}

//! Each tenant has a room of its own: repository, key, limits.

use std::fs;

use crate::Office;

#[test]
fn c24_each_tenant_has_its_own_repository_which_the_others_key_does_not_open() {
    let office = Office::of_two("");
    office.run(&["run"]).ok();
    for (tenant, other) in [("acme", "beta"), ("beta", "acme")] {
        let own = office.path().join("repositories").join(tenant);
        let password = office.path().join("passwords").join(other);
        let with = |password: &std::path::Path, what: &[&str]| {
            let base = ["-r", own.to_str().unwrap(), "--password-file", password.to_str().unwrap()];
            office.run(&[&base, what].concat())
        };
        with(&password, &["backup", "list"]).exits(2).says("password");
        let own_password = office.path().join("passwords").join(tenant);
        let listed = with(&own_password, &["backup", "list"]).ok().text();
        assert!(listed.contains(tenant) && !listed.contains(other), "{listed}");
        // Stock restic reads it with that key alone.
        for restic in testkit::restic::installed() {
            let secret = fs::read_to_string(&own_password).unwrap();
            restic.run(&own, secret.trim(), &["check", "--read-data"]).ok();
            let wrong = fs::read_to_string(&password).unwrap();
            assert!(restic.run(&own, wrong.trim(), &["snapshots"]).code != Some(0));
        }
    }
    // Without a repository, all that are configured are looked into, each with its own key.
    let listed = office.run(&["backup", "list"]).ok().text();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let to = office.path().join("to");
    office.run(&["backup", "restore", "beta/papers", "--to", to.to_str().unwrap()]).ok();
    assert_eq!(fs::read_to_string(to.join("paper")).unwrap(), "what beta wrote");
    // Where one is named, nothing of the others is opened, and what is wrong with theirs is not met.
    fs::remove_file(office.path().join("passwords/acme")).unwrap();
    office.run(&["backup", "list"]).ok().says("repositories/acme is left out");
    let there = office.path().join("there");
    for of_beta in [
        &["backup", "list", "beta"][..],
        &["backup", "restore", "beta/papers", "--to", there.to_str().unwrap()],
    ] {
        let ran = office.run(of_beta).ok();
        assert!(!ran.stderr.contains("acme"), "{}", ran.stderr);
    }
}

#[test]
fn commands_on_one_repository_ask_whose_it_is() {
    let office = Office::of_two("");
    office.run(&["run"]).ok();
    office.run(&["check"]).exits(2).says("--of").says("acme, beta");
    office.run(&["check", "--of", "acme"]).ok();
    office.run(&["check", "--of", "gamma"]).exits(5).says("no tenant gamma").says("acme, beta");
    office.run(&["prune", "--of", "beta"]).ok();
    // A tenant's backup by hand goes into the tenant's repository.
    let path = office.path().join("acme");
    office.run(&["backup", "create", "acme", "--directory", path.to_str().unwrap()]).ok();
    office
        .run(&["backup", "create", "gamma", "--directory", path.to_str().unwrap()])
        .exits(2)
        .says("no destination");
    let listed = office.run(&["backup", "list", "--of", "acme"]).ok().text();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    // Made once more, nothing is touched.
    office.run(&["init"]).ok().says("tenant acme has a repository already");
}

#[test]
fn one_tenant_without_a_password_keeps_no_other_from_a_repository() {
    let office = Office::of_two("");
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    let source = |name: &str| format!("[tenants.{name}.sources.papers]\ndirectory = \"ROOT/acme\"\n");
    office.configure(&format!("{text}{}{}", source("gamma"), source("hera")));
    office.secret("passwords/hera", &"Canary-of-hera-".repeat(6));
    let ran = office.run(&["init", "--no-recovery-key"]).exits(3);
    ran.says("tenant gamma has no repository: secret file").says("1 of 4 tenants have no repository");
    assert!(office.path().join("repositories/hera/config").exists());
    office.run(&["run"]).exits(3).says("run failed source=gamma/papers").says("backup ok id=hera-papers-");
    // All of several without one are no part of something: what they lack is said as of one.
    office.configure(&format!(
        "[repository]\nurl = \"ROOT/others\"\npassword = \"file:ROOT/none/{{tenant}}\"\n{}{}",
        source("gamma"),
        source("hera")
    ));
    office.run(&["init", "--no-recovery-key"]).exits(2).says("2 of 2 tenants have no repository");
}

#[test]
fn a_tenant_that_stores_as_much_as_it_may_is_refused_and_the_others_are_not() {
    let office = Office::of_two("");
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    office.configure(&format!("{text}[tenants.acme.limits]\nstored = \"1K\"\nupload = \"1G\"\n"));
    office.file("acme/large", &"no two lines of it are alike, or they would be one: ".repeat(1000));
    office.run(&["run"]).ok();
    office
        .run(&["run"])
        .exits(3)
        .says("run failed source=acme/papers: tenant acme stores")
        .says("may store 1.0KiB");
    let listed = office.run(&["backup", "list", "--of", "beta"]).ok().text();
    assert_eq!(listed.lines().count(), 3, "{listed}");
}

/// One after the other, whatever is wrong with one of them; damage is the worst that can be said.
#[test]
fn prune_and_check_go_over_all_tenants_and_name_what_is_wrong_with_one() {
    let office = Office::of_two("");
    office.run(&["run"]).ok();
    let checked = office.run(&["check", "--all", "--read-data"]).ok().text();
    let sound =
        |tenant: &str| checked.lines().any(|line| line.starts_with(&format!("{tenant}: sound: 1 snap")));
    assert!(sound("acme") && sound("beta"), "{checked}");
    assert!(office.run(&["prune", "--all"]).ok().text().contains("beta: freed"));
    office.run(&["check", "--all", "--of", "acme"]).exits(2);
    let key = office.path().join("passwords/acme");
    fs::rename(&key, office.path().join("away")).unwrap();
    let ran = office.run(&["prune", "--all"]).exits(3).says("acme: ").says("for 1 of 2 tenants");
    assert!(ran.text().contains("beta: freed"));
    fs::rename(office.path().join("away"), &key).unwrap();
    for folder in fs::read_dir(office.path().join("repositories/acme/data")).unwrap() {
        fs::remove_dir_all(folder.unwrap().path()).unwrap();
    }
    office.run(&["check", "--all"]).exits(4).says("acme: integrity check failed");
    let told = office.json(&["check", "--all"]);
    let of = |number: usize| &told["tenants"][number];
    assert!(of(0)["tenant"] == "acme" && of(0)["error"].as_str().unwrap().contains("integrity"), "{told}");
    assert!(of(1)["error"] == "" && of(1)["result"]["problems"].as_array().unwrap().is_empty(), "{told}");
}

/// Only a lower bound is asked: that it is no faster than it may be.
#[test]
fn a_tenant_sends_no_faster_than_it_may() {
    let office = Office::of_two("");
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    office.configure(&format!("{text}[tenants.acme.limits]\nupload = \"400K\"\n"));
    testkit::tree::fill_with_noise(&office.path().join("acme"), 1, 2);
    let began = std::time::Instant::now();
    let ran = office.json(&["run", "acme"]);
    let (seconds, stored) = (began.elapsed().as_secs_f64(), &ran["runs"][0]["records"][0]["storedBytes"]);
    let stored = stored.as_str().unwrap().parse::<f64>().unwrap();
    assert!(stored > 2e6, "{ran}");
    let least = stored / (400.0 * 1024.0);
    assert!(seconds > least * 0.9, "{seconds} seconds for what takes {least}");
}

#[test]
fn names_that_leave_a_room_are_refused() {
    for name in ["\"../beta\"", "\"a/b\"", "\"..\"", "\"\"", "\"-x\"", "\"a\\nb\""] {
        let office = Office::new(&format!(
            "[repository]\nurl = \"ROOT/r\"\n[tenants.{name}.sources.s]\ndirectory = \"/d\"\n"
        ));
        office.run(&["config", "check"]).exits(2).says("tenant: name");
        let office = Office::new(&format!(
            "[repository]\nurl = \"ROOT/r\"\n[tenants.t.sources.{name}]\ndirectory = \"/d\"\n"
        ));
        office.run(&["config", "check"]).exits(2).says("source: name");
    }
}

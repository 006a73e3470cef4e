//! `config check` and `config show`, the `.env` beside the file, and where a configuration is looked for.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::Office;

#[test]
fn mistakes_are_shown_together_with_line_key_and_advice() {
    let office = Office::new(
        "[repository]\nurl = \"/r\"\n[tenants.a.sources.s]\ndirectory = \"/d\"\nmax_age = \"soon\"\n",
    );
    office.run(&["config", "check"]).exits(2).says("mainstay.toml:5: ").says("no span of time");
    office.configure("[defaults]\nshedule = \"@daily\"\n");
    let ran = office.run(&["config", "check"]).exits(2);
    ran.says("mainstay.toml:2: unknown key `shedule`").says("perhaps schedule was meant");
    office.configure(
        "[repository]\nurl = \"/r\"\n[tenants.a.sources.s]\ndirectory = \"/d\"\nschedule = \"@dayly\"\n\
         [tenants.b.sources.s]\ntime_zone = \"Mars\"\ndatabase = \"x\"\n[tenants.c.sources.s]\n",
    );
    let ran = office.run(&["config", "check"]).exits(2);
    ran.says(":5: ").says(":7: ").says("nothing says what is backed up");
    office.configure("[repository]\nurl = \"/r\"\n[tenants.a]\nlimits = { upload = \"10 furlongs\" }\n");
    office.run(&["config", "check"]).exits(2).says("mainstay.toml:4").says("no unit");
    // What is not carried out is said, and is no mistake.
    office.configure("[repository]\nurl = \"/r\"\n[tenants.a.sources.s]\ndatabase = \"x\"\nrto = \"1h\"\n");
    office.run(&["config", "check"]).ok().says("rto is not carried out by this version");
    office.configure(
        "[repository]\nurl = \"/r\"\n[tenants.a.sources.s]\ncluster = \"postgresql://h\"\n\
         wal = { max_lag = \"2h\" }\nrpo = \"5m\"\n",
    );
    office.run(&["config", "check"]).ok().says(":5: ").says("further behind than rpo");
}

#[test]
fn a_mistake_stops_what_needs_the_configuration_and_nothing_else() {
    let office = Office::new("nonsense");
    office.run(&["run", "--due"]).exits(2).says("mainstay.toml:1");
    office.run(&["key", "generate"]).ok();
    let nowhere = office.program.clone().with("MAINSTAY_CONFIG", office.path().join("gone.toml"));
    nowhere.run(&["status"]).exits(2).says("gone.toml");
    let none = office.program.clone().without("MAINSTAY_CONFIG");
    none.run(&["run"]).exits(2).says("there is no configuration").says("/etc/mainstay/mainstay.toml");
}

/// Whoever needs a restore at once is told how to have it without the file, beside what is wrong with that.
#[test]
fn a_mistake_does_not_hide_the_way_to_restore_without_the_configuration() {
    let office = Office::of_two("");
    office.run(&["run", "acme"]).ok();
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    office.configure(&text.replace("[defaults]", "[defaults]\nshedule = \"@daily\""));
    let path = |name: &str| office.path().join(name).to_str().unwrap().to_owned();
    let (place, password, back) = (path("repositories/acme"), path("passwords/acme"), path("back"));
    let restore =
        ["backup", "restore", "acme/papers", "-r", &place, "--password-file", &password, "--to", &back];
    office.run(&restore).exits(2).says("perhaps schedule was meant").says("--no-hooks");
    office.run(&[&restore[..], &["--no-hooks"]].concat()).ok();
    assert!(office.path().join("back/paper").exists());
}

#[test]
fn restores_are_in_no_repository_to_be_learned_from() {
    let office = Office::of_two("");
    office.run(&["runs", "--restores", "--rebuild"]).exits(2).says("--rebuild");
}

#[test]
fn every_value_is_shown_with_its_place_and_no_secret_is() {
    let office = Office::of_two("schedule = \"@hourly\"\nretention = { keep_daily = 3 }");
    let shown = office.run(&["config", "show", "acme"]).ok().text();
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
    assert!(line("tenants.acme.sources.papers.schedule").contains("\"@hourly\""), "{shown}");
    assert!(line("tenants.acme.sources.papers.schedule").ends_with("mainstay.toml:5"), "{shown}");
    assert!(line("tenants.acme.sources.papers.jitter").ends_with("# built in"));
    assert!(line("tenants.acme.repository.password").contains("passwords/acme"));
    assert!(!shown.contains("Canary") && !shown.contains("beta"), "{shown}");
    let schema = office.run(&["config", "schema"]).ok().text();
    assert!(serde_json::from_str::<serde_json::Value>(&schema).unwrap()["properties"]["tenants"].is_object());
}

/// Weaker than the environment, and readable by its owner alone.
#[test]
fn u2_a_env_file_beside_the_configuration_is_read_and_kept_private() {
    let office = Office::new(
        "[tenants.acme]\nrepository = { url = \"ROOT/r\", password = \"${ACME_KEY}\" }\n\
         [tenants.acme.sources.papers]\ndirectory = \"ROOT/acme\"\n",
    );
    office.file("acme/paper", "text");
    let strong = "Canary-in-a-file-".repeat(6);
    office.secret(".env", &format!("# keys\nexport ACME_KEY='{strong}'\n"));
    office.run(&["init", "--no-recovery-key"]).ok();
    office.run(&["run"]).ok();
    // The environment is stronger.
    let other = office.program.clone().with("ACME_KEY", "another");
    other.run(&["check"]).exits(2).says("password");
    fs::set_permissions(office.path().join(".env"), PermissionsExt::from_mode(0o644)).unwrap();
    office.run(&["run"]).exits(2).says(".env can be read by others").says("chmod 600");
    // What it says of the repository holds too, until a flag says otherwise.
    let named = office.path().join("named");
    office.secret(".env", &format!("MAINSTAY_REPOSITORY={}\nMAINSTAY_PASSWORD={strong}\n", named.display()));
    office.run(&["init", "--no-recovery-key"]).ok();
    office.run(&["check"]).ok();
    assert!(named.join("config").exists());
    office.run(&["-r", "/nonexistent", "check"]).exits(5);
    office.secret(".env", "this is no variable");
    let ran = office.run(&["run"]).exits(2).says(".env:1:");
    assert!(!ran.stderr.contains("this is no variable"), "{}", ran.stderr);
}

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

/// What is stronger than the file is seen to be, and whose word it is.
#[test]
fn what_the_environment_says_in_place_of_the_file_is_shown_with_its_variable() {
    let office = Office::new(
        "[repository]\nurl = \"ROOT/r\"\n[tenants.acme.sources.papers]\ndirectory = \"ROOT/acme\"\n",
    );
    let shown = |program: &testkit::program::Program| program.run(&["config", "show"]).ok().text();
    let line = |shown: &str, key: &str| {
        let found = shown.lines().find(|line| line.split(' ').next() == Some(key));
        found.unwrap_or_else(|| panic!("{key}: {shown}")).to_owned()
    };
    let plain = shown(&office.program);
    assert!(line(&plain, "repository.url").ends_with("mainstay.toml:2"), "{plain}");
    assert!(!plain.contains("password"), "{plain}");
    office.secret(".env", "MAINSTAY_REPOSITORY=/elsewhere\nMAINSTAY_PASSWORD=Canary-of-the-environment\n");
    let stronger = shown(&office.program);
    let is_said = |key: &str, value: &str, variable: &str| {
        let line = line(&stronger, key);
        assert!(line.contains(value) && line.ends_with(&format!("# {variable}")), "{line}");
    };
    is_said("repository.url", "\"/elsewhere\"", "MAINSTAY_REPOSITORY");
    is_said("repository.password", "\"${MAINSTAY_PASSWORD}\"", "MAINSTAY_PASSWORD");
    is_said("tenants.acme.repository.password", "\"${MAINSTAY_PASSWORD}\"", "MAINSTAY_PASSWORD");
    // Tenants keep their repositories.
    assert!(line(&stronger, "tenants.acme.repository.url").ends_with("mainstay.toml:2"), "{stronger}");
    assert!(!stronger.contains("Canary"), "{stronger}");
    let flags = ["-r", "sftp://u:Canary@h//srv", "--password-file", "/run/key", "config", "show"];
    let flagged = office.run(&flags).ok().text();
    assert!(line(&flagged, "repository.url").contains("sftp://u:…@h//srv"), "{flagged}");
    assert!(line(&flagged, "repository.password").ends_with("MAINSTAY_PASSWORD_FILE"), "{flagged}");
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

/// What the configuration asks of all its sources holds for a command by hand too.
#[test]
fn t9_forget_by_hand_is_held_to_the_minimum_unless_somebody_says_why() {
    let office = Office::of_two("schedule = \"@daily\"");
    for _ in 0..2 {
        office.run(&["run", "acme"]).ok();
    }
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    let with_copies = text.replace("[defaults]", "[defaults]\ncopies = [\"ROOT/copy\"]");
    office.configure(&format!("[minimum]\nretention = \"30d\"\n{with_copies}"));
    let count = || office.run(&["backup", "list", "--of", "acme"]).ok().text().lines().count() - 1;
    let place = office.path().join("repositories/acme");
    let password = office.path().join("passwords/acme");
    let by_address =
        ["-r", &format!("file://{}/", place.display()), "--password-file", password.to_str().unwrap()];
    let copy = office.path().join("copy");
    office.run(&["-r", copy.to_str().unwrap(), "forget", "--keep-last", "1"]).exits(6).says("asks for 30d");
    let few = ["forget", "--keep-last", "1"];
    for who in [&["--of", "acme"][..], &by_address] {
        let ran = office.run(&[&few[..], who].concat()).exits(6);
        ran.says("acme/papers would be kept for 1d, and [minimum] asks for 30d").says("--below-minimum=WHY");
        office.run(&[&few[..], who, &["--dry-run"]].concat()).ok().says("asks for 30d");
    }
    assert_eq!(count(), 2);
    // What keeps as much goes through; so does a repository that is nobody's.
    office.run(&["forget", "--of", "acme", "--keep-last", "30"]).ok();
    office.run(&["forget", "--of", "acme", "--keep-last", "1", "--below-minimum", " "]).exits(2);
    let why = "--below-minimum=the customer has left";
    office.run(&["forget", "--of", "acme", "--keep-last", "1", why]).ok().says("the customer has left");
    assert_eq!(count(), 1);
    // A mistake in the configuration does not keep anybody from freeing a disk who says so.
    office.configure(&format!("{text}shedule = \"@daily\"\n"));
    let by_hand = ["forget", "--keep-last", "1"];
    let ran = office.run(&[&by_hand[..], &by_address].concat()).exits(2);
    ran.says("perhaps schedule was meant").says("--below-minimum=WHY");
    office.run(&[&by_hand[..], &by_address, &["--below-minimum=the disk is full"]].concat()).ok();
    // Where the configuration says why, that is enough.
    office.configure(&format!("[minimum]\nretention = \"30d\"\n{text}below_minimum = \"a trial\"\n"));
    office.run(&["forget", "--of", "beta", "--keep-last", "1"]).ok();
}

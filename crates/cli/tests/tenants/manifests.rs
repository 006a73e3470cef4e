//! Units, crontabs, and what comes from other systems: lists of tenants, and a `.env` with names of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use testkit::s3::{ACCESS_KEY, S3, SECRET_KEY};

use crate::Office;

/// systemd itself is the judge.
#[test]
fn t14_c20_units_are_what_systemd_accepts() {
    let office = Office::new("");
    let units = office.path().join("units");
    fs::create_dir(&units).unwrap();
    let binary = env!("CARGO_BIN_EXE_mainstay");
    let write = ["manifests", "systemd", "--output", units.to_str().unwrap(), "--binary", binary];
    let shown = office.run(&write).ok().text();
    let paths: Vec<_> = shown.lines().map(str::to_owned).collect();
    assert_eq!(paths.len(), 4, "{shown}");
    let judged = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&paths).output().unwrap();
    let words = String::from_utf8_lossy(&judged.stderr).into_owned();
    assert!(judged.status.success() && !words.contains(units.to_str().unwrap()), "{words}");
    let timer = fs::read_to_string(units.join("mainstay.timer")).unwrap();
    for line in ["OnCalendar=*-*-* 02:30:00", "RandomizedDelaySec=900", "Persistent=true"] {
        assert!(timer.lines().any(|known| known == line), "{timer}");
    }
    let service = fs::read_to_string(units.join("mainstay.service")).unwrap();
    assert!(
        service.contains("User=mainstay\n") && service.contains("mainstay.toml run --due\n"),
        "{service}"
    );
    // What a judge that says no looks like.
    let broken = units.join("broken.service");
    fs::write(&broken, service.replace("Type=oneshot", "Type=never")).unwrap();
    let judged = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&broken).output().unwrap();
    assert!(String::from_utf8_lossy(&judged.stderr).contains("broken.service"));
    // The same again is nothing new; what somebody changed stays.
    office.run(&write).ok();
    fs::write(units.join("mainstay.timer"), "changed").unwrap();
    office.run(&write).exits(6).says("--force");
    office.run(&[&write[..], &["--force"]].concat()).ok();
    let crontab = office.run(&["manifests", "cron", "--calendar", "*/5 * * * *"]).ok().text();
    assert!(
        crontab
            .lines()
            .any(|line| line.starts_with("*/5 * * * * mainstay /usr/local/bin/mainstay --config ")),
        "{crontab}"
    );
    office.run(&["manifests", "cron", "--calendar", "sometimes"]).exits(2).says("five fields");
    office.run(&["manifests", "systemd", "--user", "a b"]).exits(2);
}

#[test]
fn c20_a_list_of_tenants_becomes_a_configuration() {
    let office = Office::new("[repository]\nurl = \"ROOT/repositories\"\ninclude = [\"tenants.toml\"]\n");
    office
        .file("tenants.conf", "# tenant database variable\nacme app ACME_PW\nacme shop\nbeta crm BETA_PW\n");
    let list = office.path().join("tenants.conf");
    let made = office.run(&["config", "import", list.to_str().unwrap()]).ok().text();
    office.configure("include = [\"tenants.toml\"]\n[repository]\nurl = \"ROOT/repositories\"\n");
    office.file("tenants.toml", &made);
    office.run(&["config", "check"]).ok();
    let shown = office.run(&["config", "show"]).ok().text();
    for line in [
        "tenants.acme.sources.app.password",
        "tenants.acme.sources.shop.database",
        "tenants.beta.sources.crm.schedule",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert!(shown.contains("\"30 2 * * *\"") && shown.contains("\"${BETA_PW}\""), "{shown}");
    office.file("tenants.conf", "acme app CanaryPassw0rd!\n");
    let ran = office.run(&["config", "import", list.to_str().unwrap()]).exits(2).says("tenants.conf:1");
    assert!(!ran.stderr.contains("Canary"));
}

/// The file as that system has it, and no other configuration.
#[test]
fn u2_the_env_of_the_original_names_the_repository_and_what_opens_it() {
    let s3 = S3::moto();
    s3.make_bucket("customer");
    let office = Office::new("");
    office.file("data/paper", "text");
    let password = "Canary-of-the-original-".repeat(4);
    let (access, secret) = ("mainstay", "CanarySecretKey");
    office.secret(
        ".env",
        &format!(
            "SFTP_HOST=files.example\nSFTP_PORT=22\nSFTP_USER=backup\nREMOTE_ENDPOINT={}\nREMOTE_BUCKET_NAME=customer\n\
             REMOTE_PATH=/backup/rustic\nREMOTE_ACCESS_KEY_ID={access}\nREMOTE_SECRET_ACCESS_KEY={secret}\n\
             RUSTIC_ENCRYPTION_PASSWORD={password}\n",
            s3.endpoint()
        ),
    );
    let file = office.path().join(".env");
    let program = office.program.clone().with("MAINSTAY_CONFIG", &file);
    program.run(&["init", "--no-recovery-key"]).ok();
    let data = office.path().join("data");
    program.run(&["backup", "create", "customer", "--directory", data.to_str().unwrap()]).ok();
    let listed = program.run(&["backup", "list"]).ok().text();
    assert!(listed.contains("s3://customer/backup/rustic"), "{listed}");
    assert!(s3.ask("GET", "customer?prefix=backup/rustic/snapshots", &[], "").contains("<Key>"));
    assert!(!listed.contains("Canary"));
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    program.run(&["backup", "list"]).exits(2).says("chmod 600");
    assert!(Path::new(&file).exists());
}

/// The Secret as pgBackRest has it: its second place is the repository, the third that of the copies, and what the file says
/// at the moment is what opens them.
#[test]
fn h6_what_s3_conf_says_opens_a_repository_and_that_of_its_copies() {
    let s3 = S3::rclone();
    ["second", "third"].iter().for_each(|bucket| s3.make_bucket(bucket));
    let place = |number: u8, bucket: &str| {
        let from = |key: &str| format!("\"pgbackrest:ROOT/s3.conf#repo{number}-{key}\"");
        format!(
            "{{ url = \"{}\", password = {}, credentials = {{ AWS_ACCESS_KEY_ID = {}, AWS_SECRET_ACCESS_KEY = {} }} }}",
            s3.url(bucket, "pg"),
            from("cipher-pass"),
            from("s3-key"),
            from("s3-key-secret")
        )
    };
    let (second, third) = (place(2, "second"), place(3, "third"));
    let office = Office::new(&format!(
        "[tenants.acme]\nrepository = {second}\n[tenants.acme.sources.papers]\ndirectory = \"ROOT/papers\"\n\
         copies = [{third}]\n[tenants.other]\nrepository = {third}\n"
    ));
    office.file("papers/paper", "text");
    let write = |secret: &str| {
        let of = |number: u8, secret: &str| {
            let pass = format!("Canary-{number}-of=pgbackrest#").repeat(4);
            format!(
                "repo{number}-cipher-pass={pass}\nrepo{number}-s3-key={ACCESS_KEY}\nrepo{number}-s3-key-secret={secret}\n"
            )
        };
        office.secret("s3.conf", &format!("[global]\n{}{}", of(2, SECRET_KEY), of(3, secret)));
    };
    write(SECRET_KEY);
    office.run(&["init", "--no-recovery-key"]).ok();
    office.run(&["run"]).ok();
    let count =
        |tenant: &str| office.run(&["backup", "list", "--of", tenant]).ok().text().lines().count() - 1;
    assert_eq!((count("acme"), count("other")), (1, 1));
    // The server looks at signatures: with another secret of the third place the copy alone is missing.
    write("CanaryOfSomebodyElse");
    let ran = office.run(&["run"]).exits(3).says("run incomplete source=acme/papers");
    assert!(!ran.stderr.contains("Canary"), "{}", ran.stderr);
    write(SECRET_KEY);
    office.run(&["run"]).ok();
    assert_eq!((count("acme"), count("other")), (3, 3));
}

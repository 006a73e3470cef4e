//! Databases of a real PostgreSQL as configured sources.

use std::fs;

use pg::throwaway::SUPERUSER;
use testkit::postgres::Postgres;

use crate::Office;

/// Of one server all databases but those that are left out; a new one joins by itself; one of them fails alone.
#[test]
fn every_database_of_a_server_is_backed_up_and_watched_by_itself() {
    let server = Postgres::start();
    for name in ["app", "shop", "scratch_1"] {
        server.psql_in("postgres", &format!("CREATE DATABASE {name}"));
    }
    let address = format!("postgresql://{SUPERUSER}@127.0.0.1:{}/postgres", server.port());
    let office = Office::new(&format!(
        "[tenants.acme]\nrepository = {{ url = \"ROOT/repository\", password = \"file:ROOT/password\" }}\n\
         [tenants.acme.defaults]\npassword = \"file:ROOT/server\"\nmax_age = \"1h\"\nschedule = \"@daily\"\n\
         [tenants.acme.sources.all]\ndatabases = \"{address}\"\nexclude = [\"scratch_*\", \"postgres\"]\nper_host = 1\n\
         [tenants.acme.sources.main]\ndatabase = \"{}\"\nper_host = 1\n",
        address.trim_end_matches("postgres").to_owned() + "app"
    ));
    office.secret("password", &"Canary-of-a-repository-".repeat(4));
    office.secret("server", server.password());
    office.run(&["init", "--no-recovery-key"]).ok();
    office.run(&["watch", "--once"]).exits(7).says("alarm acme/all: there is no good backup");
    let ran = office.run(&["run", "--due"]).ok();
    ran.says("backup ok id=acme-app-").says("backup ok id=acme-shop-").says("backup ok id=acme-main-");
    let listed = || office.run(&["backup", "list"]).ok().text();
    assert_eq!(listed().lines().count(), 4, "{}", listed());
    office.run(&["watch", "--once"]).ok();
    // Without its history, a machine still knows that all of them are there.
    fs::remove_dir_all(office.path().join(".local")).unwrap();
    assert_eq!(office.json(&["run", "--due", "--dry-run"])["due"].as_array().unwrap().len(), 0);
    server.psql_in("postgres", "CREATE DATABASE later");
    office.run(&["run", "acme/all"]).ok().says("backup ok id=acme-later-");
    assert_eq!(listed().lines().count(), 7, "{}", listed());
    is_not_taken_for_another_source(&office);
    // The password of the server stands nowhere.
    let shown =
        format!("{}{}", office.run(&["config", "show"]).ok().text(), office.run(&["runs"]).ok().text());
    assert!(!shown.contains(server.password()), "{shown}");
    office.secret("server", "wrong");
    office.run(&["run", "acme/main"]).exits(1).says("run failed source=acme/main");
}

/// A database that is called as another source is gets a name that says of which server it is; neither passes for the other.
fn is_not_taken_for_another_source(office: &Office) {
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    office.file("shop/price", "a price");
    office.configure(&format!("{text}[tenants.acme.sources.shop]\ndirectory = \"ROOT/shop\"\n"));
    office.run(&["run", "acme/shop"]).ok().says("backup ok id=acme-shop-");
    office.run(&["run", "acme/all"]).ok().says("backup ok id=acme-all.shop-");
    let back = office.path().join("back");
    office.run(&["backup", "restore", "acme/shop", "--to", back.to_str().unwrap()]).ok();
    assert_eq!(fs::read_to_string(back.join("price")).unwrap(), "a price");
    office.configure(&text);
}

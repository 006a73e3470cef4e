//! What servers tell of themselves, and globals brought to another server.

use pg::globals::Globals;
use pg::pending_roles::{PendingRoles, sweep};
use pg::roles::{MadeRoles, database_properties_sql};
use pg::server::Server;
use testkit::postgres::{Postgres, installed};

fn facts_of(server: &Postgres) -> Server {
    Server::open(server.client(), &server.session("postgres")).unwrap()
}

const GLOBALS: &str = r#"
CREATE ROLE "group ""one'" NOINHERIT CREATEROLE;
CREATE ROLE "member \ two" LOGIN PASSWORD 'se''cret' CONNECTION LIMIT 3 VALID UNTIL '2040-01-01 00:00:00+00';
CREATE ROLE admin LOGIN SUPERUSER REPLICATION BYPASSRLS CREATEDB;
GRANT "group ""one'" TO "member \ two" WITH ADMIN OPTION;
COMMENT ON ROLE admin IS 'it''s the \ admin';
ALTER ROLE "member \ two" SET search_path TO "$user", 'odd,schema', public;
ALTER ROLE admin SET work_mem TO '7MB';
CREATE DATABASE "app ""db'" OWNER "member \ two" ENCODING 'LATIN1' TEMPLATE template0 CONNECTION LIMIT 17;
ALTER DATABASE "app ""db'" SET timezone TO 'Europe/Vienna';
ALTER ROLE admin IN DATABASE "app ""db'" SET my.custom_setting TO 'a ''quoted'' value';
COMMENT ON DATABASE "app ""db'" IS 'the ''app''';
REVOKE CONNECT ON DATABASE "app ""db'" FROM PUBLIC;
GRANT CONNECT ON DATABASE "app ""db'" TO admin WITH GRANT OPTION;
"#;

#[test]
fn pitfall_27_globals_come_back_on_another_server() {
    for bin_dir in installed() {
        let (old, new) = (Postgres::start_with(&bin_dir), Postgres::start_with(&bin_dir));
        old.psql(GLOBALS);
        let globals = facts_of(&old).globals().unwrap();
        let json = serde_json::to_string(&globals).unwrap();
        assert_eq!(serde_json::from_str::<Globals>(&json).unwrap(), globals);
        assert!(!format!("{globals:?}").contains("SCRAM"));

        let target = facts_of(&new);
        let untouched = target.globals().unwrap();
        let made = target.make_roles(&globals, None).unwrap();
        assert_eq!(made.roles, ["admin", "group \"one'", "member \\ two"]);
        assert_eq!(made.memberships, [("group \"one'".to_owned(), "member \\ two".to_owned())]);
        assert_eq!(target.make_roles(&globals, None).unwrap(), MadeRoles::default());
        assert_eq!(target.unmake_roles(&made, &[]).unwrap(), Vec::<String>::new());
        assert_eq!(target.globals().unwrap(), untouched);
        assert_eq!(target.make_roles(&globals, None).unwrap(), made);
        let facts = globals.databases.iter().find(|facts| facts.name == "app \"db'").unwrap();
        target.create_database(&facts.name, Some(facts)).unwrap();
        target.execute(&database_properties_sql(&globals, facts, &facts.name)).unwrap();

        let mut restored = target.globals().unwrap();
        // The superuser was there and was left alone, password and all.
        let own = |globals: &Globals| globals.roles.iter().find(|role| role.name == "postgres").cloned();
        assert!(own(&restored).is_some());
        restored.roles.iter_mut().find(|role| role.name == "postgres").unwrap().verifier =
            own(&globals).unwrap().verifier;
        assert_eq!(restored, globals);
        let session = new.session("app \"db'");
        assert!(Server::open(new.client(), &session).unwrap().is_empty("app \"db'").unwrap());
    }
}

#[test]
fn roles_that_are_there_are_left_alone() {
    let (old, new) = (Postgres::start(), Postgres::start());
    old.psql("CREATE ROLE app SUPERUSER LOGIN PASSWORD 'old'");
    new.psql("CREATE ROLE app NOLOGIN PASSWORD 'new'");
    let target = facts_of(&new);
    let before = target.globals().unwrap();
    let made = target.make_roles(&facts_of(&old).globals().unwrap(), None).unwrap();
    assert_eq!(made, MadeRoles::default());
    assert_eq!(target.globals().unwrap(), before);
}

#[test]
fn roles_that_are_kept_stay_also_when_their_note_cannot_be_dropped() {
    let (old, new) = (Postgres::start(), Postgres::start());
    old.psql("CREATE ROLE app LOGIN; CREATE ROLE people; GRANT people TO app");
    let target = facts_of(&new);
    let made = PendingRoles::make(&target, &facts_of(&old).globals().unwrap(), 7).unwrap();
    let note = "mainstay_restore_00000007";
    // Somebody looks into every database.
    let session = new.session(note);
    let mut looking = session.command(&new.client().program("psql"));
    let mut looking = looking.args(["-X", "-c", "SELECT pg_sleep(600)"]).spawn().unwrap();
    let seen =
        format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{note}' AND query LIKE '%sleep%'");
    while new.psql(&seen) == "0" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    made.keep().unwrap();
    assert!(target.exists(note).unwrap());
    looking.kill().unwrap();
    looking.wait().unwrap();
    new.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()");
    while sweep(&target).unwrap().iter().any(|swept| swept.obstacle.is_some()) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(!target.exists(note).unwrap());
    let members =
        "SELECT count(*) FROM pg_auth_members WHERE roleid = 'people'::regrole AND member = 'app'::regrole";
    assert_eq!(new.psql(members), "1");
}

#[test]
fn databases_are_listed_created_renamed_dropped() {
    let server = Postgres::start();
    let facts = facts_of(&server);
    assert!(server.client().version().same_major(facts.version()));
    let odd = "odd \"name' = \n-- \\";
    assert_eq!(facts.databases().unwrap(), ["postgres"]);
    assert!(!facts.exists(odd).unwrap());
    facts.create_database(odd, None).unwrap();
    assert!(facts.exists(odd).unwrap());
    assert!(facts.is_empty(odd).unwrap());
    assert!(facts.size(odd).unwrap().0 > 1 << 20);
    server.psql_in(odd, "CREATE TYPE t AS ENUM ()");
    assert!(!facts.is_empty(odd).unwrap());
    facts.rename_database(odd, "plain").unwrap();
    assert_eq!(facts.databases().unwrap(), ["plain", "postgres"]);
    server.psql_in("plain", "DROP TYPE t; SELECT lo_create(0)");
    assert!(!facts.is_empty("plain").unwrap());
    facts.drop_database("plain").unwrap();
    facts.drop_database("plain").unwrap();
    assert!(!facts.exists("plain").unwrap());
    assert!(facts.size("plain").unwrap_err().to_string().contains("does not exist"));
    let data_dir = server.cluster().data_dir();
    assert_eq!(std::path::Path::new(&facts.data_directory().unwrap()), data_dir);
    assert_eq!(facts.extensions("postgres").unwrap()[0].name, "plpgsql");
}

#[test]
fn a_user_without_rights_reads_globals_without_verifiers() {
    let server = Postgres::start();
    server.psql("CREATE ROLE poor LOGIN PASSWORD 'pw'; CREATE DATABASE own OWNER poor");
    let connection = server.connection("own").with("user", "poor").unwrap();
    let session =
        pg::connection::Session::open(connection.with_password(Some(model::secret::Secret::new("pw"))))
            .unwrap();
    let facts = Server::open(server.client(), &session).unwrap();
    let globals = facts.globals().unwrap();
    assert!(globals.roles.iter().any(|role| role.name == "poor"));
    assert!(globals.roles.iter().all(|role| role.verifier.is_none()));
    // A tenant may be shut out of the database that everybody asks first.
    server.psql("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC");
    let facts = Server::open(server.client(), &session).unwrap();
    assert_eq!(facts.databases().unwrap(), ["own", "postgres"]);
}

#[test]
fn queries_that_fail_say_so_in_the_servers_own_words() {
    let server = Postgres::start();
    let facts = facts_of(&server);
    let error = facts.create_database("postgres", None).unwrap_err().to_string();
    assert!(error.contains("database \"postgres\" already exists"), "{error}");
    assert!(facts.exists("nul\0").unwrap_err().to_string().contains("NUL"));
}

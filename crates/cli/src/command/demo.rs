//! `mainstay demo`: the whole story on a throw-away PostgreSQL in a temporary directory, which is gone afterwards.
//!
//! Back up, change 1 %, back up again, lose a table, restore, compare every row, check the repository, and let
//! stock restic read it where it is installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use engine::EngineError;
use engine::back_up_dump::{DumpSource, back_up_dump};
use engine::restore_dump::{RestoreOrder, carry_out, plan};
use engine::writing::Order;
use jiff::Timestamp;
use model::backup::BackupRecord;
use model::cancel::{CancelToken, Cancelled};
use model::progress::Progress;
use model::secret::Secret;
use model::size::ByteSize;
use pg::client::Clients;
use pg::connection::Session;
use pg::dump::DumpOptions;
use pg::server::{Server, TableContents};
use pg::throwaway::{Cluster, ClusterOptions};
use repo::Repository;
use repo::check::{CheckOptions, check};
use serde_json::json;

use crate::arguments::Demo;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::{database, interrupt, place};

const DATABASE: &str = "shop";

pub(crate) fn run(order: &Demo, environment: &Environment, face: &Face) -> Result<()> {
    let cancel = interrupt::watch_patiently()?;
    let told = tell(order, environment, face, &cancel);
    // Ctrl-C goes to the programs that we called, too: what they say then is only its consequence.
    match told {
        Err(_) if cancel.is_cancelled() => Err(EngineError::from(Cancelled).into()),
        told => told,
    }
}

fn tell(order: &Demo, environment: &Environment, face: &Face, cancel: &CancelToken) -> Result<()> {
    let start = Instant::now();
    let stage = Stage::set(order, environment, face, cancel.clone())?;
    let first = stage.back_up("first backup")?;
    stage.change()?;
    let second = stage.back_up("second backup, after a change of 1 % of the rows")?;
    let before = stage.contents()?;
    stage.lose_a_table(&before)?;
    stage.restore(&second)?;
    stage.compare(&before)?;
    stage.check()?;
    let restic = stage.ask_restic()?;
    stage.show_places(&second);
    let document = json!({
        "first": first,
        "second": second,
        "rowsCompared": before.iter().map(|table| table.rows).sum::<u64>().to_string(),
        "restic": restic,
        "seconds": start.elapsed().as_secs_f64(),
    });
    face.result(&document, || {
        format!(
            "\ndemo ok in {:.1} s: every row is back; server and repository are removed now",
            start.elapsed().as_secs_f64()
        )
    });
    Ok(())
}

/// Server, repository and what is needed to speak to both. Dropping it removes everything.
struct Stage<'a> {
    environment: &'a Environment,
    face: &'a Face,
    cancel: CancelToken,
    password: Secret,
    repository: Arc<Repository>,
    place: PathBuf,
    clients: Clients,
    session: Session,
    server: Server,
    rows: u32,
    // Dropped last, in this order: the server before its directory's neighbour.
    _cluster: Cluster,
    _directory: tempfile::TempDir,
}

impl<'a> Stage<'a> {
    fn set(order: &Demo, environment: &'a Environment, face: &'a Face, cancel: CancelToken) -> Result<Self> {
        let bin_dir = server_programs(order, environment)?;
        let clients = Clients::discover(Some(&bin_dir), std::ffi::OsStr::new(""))
            .map_err(CliError::io("looking for PostgreSQL's client programs"))?;
        let directory = tempfile::Builder::new().prefix("mainstay-demo-").tempdir();
        let directory = directory.map_err(CliError::io("making a temporary directory"))?;
        face.note(&format!("starting PostgreSQL from {} in a temporary directory", bin_dir.display()));
        let cluster = Cluster::start(&bin_dir, &ClusterOptions::default())
            .map_err(|error| CliError::new(Kind::Failed, format!("starting PostgreSQL: {error}")))?;
        let session = Session::open(cluster.connection(DATABASE)?)?;
        let server = Server::open(clients.newest().map_err(EngineError::from)?, &session)?;
        let password = Secret::generate().map_err(|error| CliError::new(Kind::Failed, error.to_string()))?;
        let place = directory.path().join("repository");
        let me = place::identity(environment);
        let store = place::store(&place.to_string_lossy(), environment)?;
        let repository = Arc::new(Repository::init(store, &password, &me.username, &me.hostname)?);
        let stage = Self {
            environment,
            face,
            cancel,
            password,
            repository,
            place,
            clients,
            session,
            server,
            rows: order.rows.max(100),
            _cluster: cluster,
            _directory: directory,
        };
        stage.fill()?;
        Ok(stage)
    }

    fn fill(&self) -> Result<()> {
        self.face.note(&format!(
            "filling database {DATABASE:?} with {} orders of {} customers",
            self.rows,
            self.rows / 10
        ));
        self.server.create_database(DATABASE, None)?;
        let (rows, customers) = (self.rows, self.rows / 10);
        self.server.execute_in(DATABASE, &[
            "SELECT setseed(0.42)",
            "CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, email text UNIQUE, since date)",
            "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int NOT NULL REFERENCES \
             customers, placed timestamptz NOT NULL, total numeric(10,2) NOT NULL, note text)",
            "CREATE TABLE events (id uuid PRIMARY KEY, at timestamptz, body jsonb)",
            &format!(
                "INSERT INTO customers SELECT i, 'Customer ' || md5(i::text), 'c' || i || '@example.com', \
                 date '2020-01-01' + i % 2000 FROM generate_series(1, {customers}) i"
            ),
            &format!(
                "INSERT INTO orders (customer, placed, total, note) SELECT 1 + (random() * ({customers} - 1))::int, \
                 timestamptz '2024-01-01' + i * interval '1 minute', (random() * 1000)::numeric(10,2), \
                 CASE WHEN i % 3 = 0 THEN 'deliver to ' || md5(i::text) END FROM generate_series(1, {rows}) i"
            ),
            &format!(
                "INSERT INTO events SELECT md5(i::text)::uuid, timestamptz '2024-01-01' + i * interval '1 second', \
                 jsonb_build_object('order', i, 'kind', (ARRAY['view','buy','return'])[1 + i % 3], 'token', md5('t' || i)) \
                 FROM generate_series(1, {rows}) i"
            ),
            "CREATE INDEX ON orders (customer)",
        ])?;
        Ok(())
    }

    fn back_up(&self, what: &str) -> Result<BackupRecord> {
        self.cancel.check().map_err(EngineError::from)?;
        let source = DumpSource {
            clients: &self.clients,
            session: &self.session,
            database: DATABASE,
            options: DumpOptions::default(),
        };
        let order = Order {
            tenant: "demo".parse().expect("a plain name is a tenant"),
            source: DATABASE.parse().expect("a plain name is a source"),
            label: String::new(),
            hold: false,
            identity: place::identity(self.environment),
            now: Timestamp::now(),
            level: None,
            cancel: self.cancel.clone(),
            progress: Progress::new(),
        };
        let start = Instant::now();
        let record = back_up_dump(&self.repository, &source, &order)?;
        let share = record.stored_bytes as f64 * 100.0 / record.size_bytes.max(1) as f64;
        self.face.note(&format!(
            "{what}: {} of dump, {} stored ({share:.1} %), {} tables, {:.1} s\n  {}",
            ByteSize(record.size_bytes),
            ByteSize(record.stored_bytes),
            record.relation_count,
            start.elapsed().as_secs_f64(),
            record.id
        ));
        Ok(record)
    }

    fn change(&self) -> Result<()> {
        self.face.note("changing 1 % of the rows of each table, side by side as the latest ones are");
        let percent = |rows: u32| format!("BETWEEN {} AND {}", rows / 2, rows / 2 + (rows / 100).max(1) - 1);
        let (rows, customers) = (percent(self.rows), percent(self.rows / 10));
        self.server.execute_in(
            DATABASE,
            &[
                &format!("UPDATE orders SET total = total + 1 WHERE id {rows}"),
                &format!("UPDATE events SET at = at + interval '1 hour' WHERE (body->>'order')::int {rows}"),
                &format!("UPDATE customers SET since = since + 1 WHERE id {customers}"),
            ],
        )?;
        Ok(())
    }

    fn contents(&self) -> Result<Vec<TableContents>> {
        Ok(self.server.table_contents(DATABASE)?)
    }

    fn lose_a_table(&self, before: &[TableContents]) -> Result<()> {
        self.face.note("somebody runs: DROP TABLE orders");
        self.server.execute_in(DATABASE, &["DROP TABLE orders"])?;
        if self.contents()? == before {
            return Err(CliError::new(
                Kind::Failed,
                "the table is still there, so the demo would prove nothing",
            ));
        }
        Ok(())
    }

    fn restore(&self, record: &BackupRecord) -> Result<()> {
        self.face.note(
            "restoring: the dump is verified first, then replaces the database's contents in one transaction",
        );
        let index = Arc::new(self.repository.load_index().map_err(EngineError::from)?);
        let order = RestoreOrder { clean: true, jobs: 1, ..RestoreOrder::default() };
        let plan = plan(&self.repository, &index, record, &self.clients, &self.session, order)?;
        let start = Instant::now();
        carry_out(&self.repository, &index, record, &plan, &Progress::new(), &self.cancel)?;
        self.face.note(&format!("restored {} rows in {:.1} s", plan.rows, start.elapsed().as_secs_f64()));
        Ok(())
    }

    fn compare(&self, before: &[TableContents]) -> Result<()> {
        let after = self.contents()?;
        if after != before {
            return Err(CliError::new(
                Kind::Failed,
                format!("the restored tables differ: {before:?} became {after:?}"),
            ));
        }
        let rows: u64 = after.iter().map(|table| table.rows).sum();
        self.face.note(&format!("compared all {rows} rows of {} tables: identical", after.len()));
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let options = CheckOptions { read_percent: 100 };
        let report = check(&self.repository, options, &Progress::new(), &self.cancel)?;
        if !report.problems.is_empty() {
            return Err(CliError::new(
                Kind::Damaged,
                format!("integrity check failed: {}", report.problems.join("; ")),
            ));
        }
        self.face.note(&format!(
            "checked the repository: {} snapshots, {} packs, {} blobs, every byte read: sound",
            report.snapshots, report.packs, report.blobs
        ));
        Ok(())
    }

    /// Whether stock restic, where it is installed, finds the repository sound.
    fn ask_restic(&self) -> Result<Option<bool>> {
        let mut command = Command::new("restic");
        command.args(["--no-cache", "--quiet", "-r"]).arg(&self.place).args(["check", "--read-data"]);
        command.env("RESTIC_PASSWORD", self.password.expose());
        let Ok(output) = command.stdin(Stdio::null()).output() else { return Ok(None) };
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(CliError::new(
                Kind::Failed,
                format!("stock restic finds the repository not sound: {words}"),
            ));
        }
        self.face.note("asked stock restic the same (`restic check --read-data`): sound");
        Ok(Some(true))
    }

    fn show_places(&self, record: &BackupRecord) {
        let snapshot = record.snapshot.map(|id| id.short()).unwrap_or_default();
        self.face.note(&format!(
            "\nThe repository is {}: config, keys/, data/, index/, snapshots/ as restic lays them out, and x/ for \
             mainstay's records.\nWith the password, stock restic reads it without mainstay:\n\
             \x20 restic -r REPOSITORY dump {snapshot} database.dump | pg_restore -d shop\n\
             \x20 restic -r REPOSITORY dump {snapshot} manifest.json",
            self.place.display()
        ));
    }
}

/// A directory with PostgreSQL's server programs: Debian and others keep them out of PATH.
fn server_programs(order: &Demo, environment: &Environment) -> Result<PathBuf> {
    let has_server =
        |directory: &Path| directory.join("initdb").is_file() && directory.join("postgres").is_file();
    let clients = database::clients(order.pg_bin_dir.as_deref(), environment.get("PATH"))?;
    let found = clients
        .all()
        .iter()
        .map(|client| client.bin_dir().to_owned())
        .find(|directory| has_server(directory));
    found.ok_or_else(|| {
        CliError::usage("no PostgreSQL server programs (initdb, postgres) were found").hint(
            "install PostgreSQL (apt-get install postgresql), or name its bin directory with --pg-bin-dir",
        )
    })
}

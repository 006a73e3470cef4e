//! The ledger: a table of numbered rows, each with a hash over those before it, and accounts whose balances they explain.

use std::time::SystemTime;

use crate::history::{Last, Point, lsn};
use crate::server::Server;

/// The table with the rows, as a restore of it alone is told.
pub(crate) const LEDGER: &str = "postgres.public.ledger";

/// Half of the rows is in the tablespace, where there is one. Words are two equal texts, so that half a row is seen; what is
/// fleeting is gone after a crash.
const TABLES: &[&str] = &[
    "CREATE TABLE ledger (n bigint PRIMARY KEY, amount int NOT NULL, nonce text NOT NULL, hash text NOT NULL) \
     PARTITION BY HASH (n)",
    "CREATE TABLE one_half PARTITION OF ledger FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
    "DO $$ BEGIN
       IF EXISTS (SELECT FROM pg_tablespace WHERE spcname = 'shelf') THEN
         SET LOCAL default_tablespace = shelf;
       END IF;
       CREATE TABLE other_half PARTITION OF ledger FOR VALUES WITH (MODULUS 2, REMAINDER 1);
     END $$",
    "CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL DEFAULT 0)",
    "INSERT INTO accounts SELECT generate_series(0, 19)",
    "CREATE TABLE words (n int PRIMARY KEY, word text NOT NULL, copy text NOT NULL)",
    "INSERT INTO words SELECT n, md5(n::text), md5(n::text) FROM generate_series(1, 4000) AS n",
    "CREATE INDEX ON words (word)",
    "CREATE TABLE scratch (n int, filler text)",
    "CREATE UNLOGGED TABLE fleeting AS SELECT generate_series(1, 2000) AS n",
    "CREATE FUNCTION book(nonce text) RETURNS text LANGUAGE plpgsql AS $$
     DECLARE last ledger; next ledger;
     BEGIN
       SELECT * INTO last FROM ledger ORDER BY n DESC LIMIT 1;
       next.n := coalesce(last.n, 0) + 1;
       next.amount := next.n * 37 % 101;
       next.nonce := nonce;
       next.hash := md5(coalesce(last.hash, '') || next.n || nonce);
       INSERT INTO ledger SELECT next.*;
       UPDATE accounts SET balance = balance - next.amount WHERE id = next.n % 20;
       UPDATE accounts SET balance = balance + next.amount WHERE id = next.n * 7 % 20;
       RETURN next.n || '|' || next.hash || '|' || pg_current_xact_id();
     END $$",
];

/// Where the log is, when that is, and on which timeline.
const HERE: &str = "SELECT pg_current_wal_insert_lsn() || '|' || \
    to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') || '|' || \
    substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)";

/// The last row, and how many there are.
const LAST: &str = "SELECT coalesce(max(n), 0) || '|' || count(*) || '|' || \
    coalesce((SELECT hash FROM ledger ORDER BY n DESC LIMIT 1), '') FROM ledger";

/// Each row follows the one before it.
const CHAINED: &str = "SELECT coalesce(bool_and(hash = md5(coalesce(before, '') || n || nonce)), true) \
    FROM (SELECT *, lag(hash) OVER (ORDER BY n) AS before FROM ledger) AS rows";

/// Each of these is to answer `t`.
const SOUND: &[&str] = &[
    CHAINED,
    "SELECT sum(balance) = 0 FROM accounts",
    "SELECT bool_and(balance = (SELECT coalesce(sum(CASE WHEN n * 7 % 20 = id THEN amount ELSE 0 END \
     - CASE WHEN n % 20 = id THEN amount ELSE 0 END), 0) FROM ledger)) FROM accounts",
    "SELECT count(*) = 0 FROM words WHERE word <> copy",
    "SELECT count(*) = 0 FROM fleeting",
];

pub(crate) fn create(server: &Server<'_>) {
    TABLES.iter().for_each(|sql| _ = server.psql(sql));
    // What is built for other distributions has no contrib modules.
    server.try_psql("CREATE EXTENSION amcheck");
}

/// Add a row; nothing where the server did not live to tell.
pub(crate) fn book(server: &Server<'_>, nonce: u64, name: Option<&str>) -> Option<Point> {
    let begun = SystemTime::now();
    let book = format!("SELECT book('{nonce:016x}')");
    let named = name.map(|name| format!("SELECT pg_create_restore_point('{name}') IS NULL"));
    let statements = [Some(book.as_str()), named.as_deref(), Some(HERE)];
    let said = server.try_each(&statements.into_iter().flatten().collect::<Vec<_>>())?;
    let lines: Vec<_> = said.lines().collect();
    let fields = |line: &str| line.split('|').map(str::to_owned).collect::<Vec<_>>();
    let (row, here) = (fields(lines[0]), fields(lines[lines.len() - 1]));
    Some(Point {
        number: row[0].parse().unwrap(),
        hash: row[1].clone(),
        xid: row[2].clone(),
        lsn: lsn(&here[0]),
        time: here[1].clone(),
        timeline: u32::from_str_radix(&here[2], 16).unwrap(),
        name: name.map(str::to_owned),
        begun,
    })
}

/// Whether indexes can be compared with their tables.
pub(crate) fn has_amcheck(server: &Server<'_>) -> bool {
    server.psql("SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'") == "1"
}

/// The last row; no row before it is missing.
#[track_caller]
pub(crate) fn last(server: &Server<'_>) -> Last {
    last_in(server, "postgres")
}

/// The same in another database, which has the ledger alone; there the rows follow each other.
#[track_caller]
pub(crate) fn last_alone(server: &Server<'_>, database: &str) -> Last {
    assert_eq!(server.psql_in(database, CHAINED), "t");
    last_in(server, database)
}

#[track_caller]
fn last_in(server: &Server<'_>, database: &str) -> Last {
    let said = server.psql_in(database, LAST);
    let fields: Vec<_> = said.split('|').collect();
    assert_eq!(fields[0], fields[1], "rows are missing");
    Last { number: fields[0].parse().unwrap(), hash: fields[2].to_owned() }
}

/// The rows follow each other, and balances are what they say.
#[track_caller]
pub(crate) fn assert_sound(server: &Server<'_>) {
    for sql in SOUND {
        assert_eq!(server.psql(sql), "t", "{sql}");
    }
}

//! Work for the primary while something else happens: the ledger grows, and everything around it changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testkit::world::dice::Dice;

use crate::history::Point;
use crate::ledger;
use crate::server::Server;

/// So long nobody asks a server again that does not answer.
const PAUSE: Duration = Duration::from_millis(50);

/// Do `work` while the primary is busy; what was booked meanwhile, and what `work` gave.
pub(crate) fn beside<T>(server: &Server<'_>, dice: &mut Dice, work: impl FnOnce() -> T) -> (Vec<Point>, T) {
    let is_over = AtomicBool::new(false);
    let (seed, other) = (dice.number(), dice.number());
    std::thread::scope(|scope| {
        let books = scope.spawn(|| keep_books(server, Dice::new(seed), &is_over));
        scope.spawn(|| make_noise(server, Dice::new(other), &is_over));
        let guard = Over(&is_over);
        let done = work();
        drop(guard);
        (books.join().unwrap(), done)
    })
}

/// Ends the work, also where a test panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn keep_books(server: &Server<'_>, mut dice: Dice, is_over: &AtomicBool) -> Vec<Point> {
    let mut booked = vec![];
    while !is_over.load(Ordering::SeqCst) {
        let nonce = dice.number();
        let name = dice.once_in(3).then(|| format!("point {nonce:x}"));
        match ledger::book(server, nonce, name.as_deref()) {
            Some(point) => booked.push(point),
            None => std::thread::sleep(PAUSE),
        }
    }
    booked
}

fn make_noise(server: &Server<'_>, mut dice: Dice, is_over: &AtomicBool) {
    let major = server.major();
    while !is_over.load(Ordering::SeqCst) {
        // What is there already, or not any more, is an error that nobody minds.
        if server.try_psql(&noise(&mut dice, major)).is_none() {
            std::thread::sleep(PAUSE);
        }
    }
}

/// A statement that changes files in a way of its own.
fn noise(dice: &mut Dice, major: u32) -> String {
    let (kind, which) = (dice.below(27), dice.below(3));
    match kind {
        0..=6 => format!(
            "WITH new AS (SELECT n, md5(random()::text) AS word FROM words WHERE n % 29 = {}) \
             UPDATE words SET word = new.word, copy = new.word FROM new WHERE words.n = new.n",
            dice.below(29)
        ),
        7 => format!("DELETE FROM words WHERE n % 40 = {}", dice.below(40)),
        8 => "INSERT INTO words SELECT n, md5(n::text), md5(n::text) FROM generate_series(1, 6000) AS n \
              ON CONFLICT DO NOTHING"
            .to_owned(),
        9 => format!("VACUUM {}", dice.choose(&["words", "scratch"])),
        10 => "VACUUM FULL words".to_owned(),
        11 => "REINDEX TABLE words".to_owned(),
        12 => "CHECKPOINT".to_owned(),
        13 | 14 => format!(
            "CREATE TABLE come_{which} AS SELECT n, repeat('x', 100) AS t FROM generate_series(1, 2000) AS n"
        ),
        15 => format!("DROP TABLE IF EXISTS come_{which}"),
        16 | 17 => {
            "INSERT INTO scratch SELECT n, repeat('y', 200) FROM generate_series(1, 1000) AS n".to_owned()
        }
        18 => "TRUNCATE scratch".to_owned(),
        19 => "DELETE FROM scratch WHERE n > 100".to_owned(),
        20 => "INSERT INTO fleeting SELECT generate_series(1, 500)".to_owned(),
        21 => "SELECT pg_switch_wal()".to_owned(),
        22 => {
            // Before 15 there is one way alone.
            let strategy = dice.choose(&["STRATEGY wal_log", "STRATEGY file_copy"]);
            format!("CREATE DATABASE extra_{which} {}", if major < 15 { "" } else { strategy })
        }
        23 => format!("DROP DATABASE IF EXISTS extra_{which} WITH (FORCE)"),
        // Where there is no tablespace, these are mistakes.
        24 => {
            let table = dice.choose(&["words", "scratch"]);
            format!("ALTER TABLE {table} SET TABLESPACE {}", dice.choose(&["shelf", "pg_default"]))
        }
        25 => format!("ALTER INDEX words_word_idx SET TABLESPACE {}", dice.choose(&["shelf", "pg_default"])),
        _ => format!("CREATE DATABASE extra_{which} TABLESPACE shelf"),
    }
}

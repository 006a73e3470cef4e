//! `mainstay wal receive`: WAL as the server writes it. Runs until a signal ends it, which is its orderly end.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use engine::receive_wal::{Keeper, ReceiveEvent, ReceiveOptions, flush_spool, receive_wal};
use engine::wal_owner::Owners;
use model::cancel::CancelToken;
use model::size::ByteSize;
use repo::threads::cores;
use serde_json::json;

use super::token;
use crate::arguments::{Global, Receive};
use crate::environment::Environment;
use crate::error::{CliError, Result};
use crate::face::Face;
use crate::{database, interrupt, place};

/// For one request: longer outages are waited for by the reception itself, which says so and can be ended.
const RETRY_FOR_S: u64 = 5;

pub(super) fn run(global: &Global, order: &Receive, environment: &Environment, face: &Face) -> Result<()> {
    // What is in hand is brought to disk first.
    let cancel = interrupt::watch_patiently()?;
    let making = format!("making {}", order.spool.display());
    DirBuilder::new().recursive(true).mode(0o700).create(&order.spool).map_err(CliError::io(&making))?;
    let hasty = environment.with([], face, |wire| wire.retry_for = wire.retry_for.min(RETRY_FOR_S));
    let repository = place::open(global, &hasty, face)?;
    let claim = token::of_receiver(order.owner_file.as_deref(), &order.spool, environment)?;
    let tell = |event| show(event, face);
    let keeper = Keeper {
        repository: &repository,
        claim: &claim,
        owners: Owners::default(),
        takes_over: order.take_over,
        cores: cores(),
        tell: &tell,
    };
    match order.flush_spool {
        true => flush(&keeper, &order.spool, face),
        false => receive(&keeper, order, environment, face, &cancel),
    }
}

fn flush(keeper: &Keeper<'_>, spool: &Path, face: &Face) -> Result<()> {
    let archived = flush_spool(keeper, spool)?;
    face.result(&json!({ "archived": archived }), || match archived.len() {
        0 => "the spool was empty".to_owned(),
        count => format!("{count} files of the spool are archived"),
    });
    Ok(())
}

fn receive(
    keeper: &Keeper<'_>,
    order: &Receive,
    environment: &Environment,
    face: &Face,
    cancel: &CancelToken,
) -> Result<()> {
    let session = database::session(None, &order.server, environment, face)?;
    let name = order.application_name.as_deref().or(environment.get("PGAPPNAME")).unwrap_or("mainstay");
    let connection = session.connection().clone().with("application_name", name)?;
    let variable = |name: &str| environment.get(name).map(str::to_owned);
    let options = ReceiveOptions {
        connection: &connection,
        environment: &variable,
        slot: order.slot.clone(),
        creates_slot: order.create_slot,
        accepts_gap: order.accept_gap,
        spool_max: order.spool_max,
        cancel,
    };
    Ok(receive_wal(keeper, &order.spool, &options)?)
}

fn show(event: ReceiveEvent, face: &Face) {
    match event {
        ReceiveEvent::Streams { place, timeline, start } => {
            face.note(&format!("receiving timeline {timeline} from {start} on from {place}"));
        }
        ReceiveEvent::Switched { timeline, at } => {
            face.note(&format!("the server goes on with timeline {timeline} at {at}"));
        }
        ReceiveEvent::Stored { name, bytes: 0 } => face.note(&format!("{name} was archived already")),
        ReceiveEvent::Stored { name, bytes } => face.note(&format!("archived {name}, {}", ByteSize(bytes))),
        ReceiveEvent::Kept { name, place } => face.warn(&format!(
            "{name} was archived when it was shorter; all of it is kept as {}",
            place.display()
        )),
        ReceiveEvent::Gap(words) => face.warn(&words),
        ReceiveEvent::ServerAway { words, pause } => {
            face.warn(&format!("{words}; trying again in {:.1} s", pause.as_secs_f32()));
        }
        ReceiveEvent::StoreAway { words, pause } => {
            let pause = pause.as_secs();
            face.warn(&format!("{words}; WAL stays in the spool, trying again in {pause} s"));
        }
        ReceiveEvent::SpoolFull(size) => {
            face.warn(&format!("{size} are in the spool, which takes no more until the repository does"));
        }
    }
}

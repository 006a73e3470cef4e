//! `mainstay wal …`: archive WAL, fetch it, and see what there is.

pub(crate) mod recovery;
mod whose;
mod token;
mod work;
mod agent;
mod push;
mod fetch;
mod receive;
mod status;
mod export;

use crate::arguments::{Global, Wal};
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;

pub(crate) fn run(global: &Global, order: Wal, environment: &Environment, face: &Face) -> Result<()> {
    match order {
        Wal::Push(order) => push::run(global, &order, environment, face),
        Wal::Fetch(order) => fetch::run(global, &order, environment, face),
        Wal::Receive(order) => receive::run(global, &order, environment, face),
        Wal::Status(order) => status::run(global, &order, environment, face),
        Wal::Export(order) => export::run(global, &order, environment, face),
        Wal::Agent(order) => agent::serve::run(global, &order, environment, face),
    }
}

//! Before cold packs are read: saying what is cold, asking for it, waiting for it.

use engine::warm_up::{self, Need};
use files::relative::RelativePath;
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::progress::Progress;
use model::size::ByteSize;
use repo::Repository;
use repo::index::Index;
use repo::repository::Listed;
use serde_json::{Value, json};
use store::archive::Archive;
use store::clock::SystemClock;

use crate::arguments::Global;
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;
use crate::place;
use crate::progress_line::ProgressLine;
use crate::warm_arguments::WarmUpArguments;

/// The archive behind the repository of this run, if there is one.
pub(crate) struct Warmer<'a> {
    archive: Option<Box<dyn Archive>>,
    flags: &'a WarmUpArguments,
    cancel: &'a CancelToken,
    face: &'a Face,
}

impl<'a> Warmer<'a> {
    /// Packs are cold where the repository is on two stores, and the cold one has archive classes.
    pub(crate) fn of(
        global: &Global,
        flags: &'a WarmUpArguments,
        environment: &Environment,
        cancel: &'a CancelToken,
        face: &'a Face,
    ) -> Result<Self> {
        let archive = match &global.repository_hot {
            Some(_) => environment.wire().archive(&place::address(global, environment)?)?,
            None => None,
        };
        Ok(Self { archive, flags, cancel, face })
    }

    /// How near what reading `record` takes is; of a directory its paths `only`, if there are any.
    pub(crate) fn look(
        &self,
        repository: &Repository,
        index: &Index,
        record: &BackupRecord,
        only: &[RelativePath],
    ) -> Result<Need> {
        self.look_at(|| {
            let data = warm_up::data_of(repository, index, record, only, self.cancel)?;
            Ok(warm_up::packs_of(repository, index, &data)?)
        })
    }

    /// How near those `packs` are that a command wants, which are looked for only where any can be cold.
    pub(crate) fn look_at(&self, packs: impl FnOnce() -> Result<Vec<Listed>>) -> Result<Need> {
        match &self.archive {
            Some(archive) => Ok(warm_up::look(&**archive, packs()?, self.cancel)?),
            None => Ok(Need::default()),
        }
    }

    /// Warm up all of `need`, and wait for it; false where only asking was wanted.
    pub(crate) fn warm(&self, mut need: Need) -> Result<bool> {
        let Some(archive) = &self.archive else { return Ok(self.goes_on(0, &need)) };
        let (progress, terms) = (Progress::new(), self.flags.terms());
        if !need.is_warm() {
            self.face.note(&describe(&need));
        }
        let line = ProgressLine::start(self.face, &progress);
        let asked = need.cold.len();
        warm_up::ask(&**archive, &mut need, &terms, &progress, self.cancel)?;
        if !self.flags.warm_up_only {
            warm_up::wait(&**archive, &mut need, &terms, &SystemClock::new(), &progress, self.cancel)?;
        }
        drop(line);
        Ok(self.goes_on(asked, &need))
    }

    /// Whether more than asking was wanted; else what was asked for is the result.
    fn goes_on(&self, asked: usize, need: &Need) -> bool {
        if self.flags.warm_up_only {
            let document = json!({ "asked": asked, "packs": to_json(need) });
            self.face.result(&document, || match need.is_warm() {
                true => "nothing is cold".to_owned(),
                false => format!("asked for {asked} packs; {}", describe(need)),
            });
        }
        !self.flags.warm_up_only
    }
}

/// For people.
pub(crate) fn describe(need: &Need) -> String {
    let part = |packs: &[Listed]| format!("{} packs ({})", packs.len(), ByteSize(warm_up::bytes(packs)));
    format!("cold      {}; on their way {}; warm {}", part(&need.cold), part(&need.warming), part(&need.warm))
}

/// For scripts.
pub(crate) fn to_json(need: &Need) -> Value {
    let part = |packs: &[Listed]| json!({ "packs": packs.len(), "bytes": warm_up::bytes(packs).to_string() });
    json!({ "cold": part(&need.cold), "warming": part(&need.warming), "warm": part(&need.warm) })
}

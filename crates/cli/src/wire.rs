//! How stores are reached: what a run tells them, the limits that all of them share, and the count of what went over
//! the wire.
//!
//! From the outside in: the cache, retries, limits, the meter, the store. So each try waits its turn and is counted.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use model::size::ByteSize;
use remote::Settings;
use remote::canary::Canary;
use remote::locker::Locker;
use remote::protection::Protection;
use repo::budget::Budget;
use serde_json::{Value, json};
use store::Store;
use store::archive::Archive;
use store::cache::{CACHE_SIZE_MAX, CacheStore, OWN_SIZE_MAX};
use store::limit::{LimitStore, Limits};
use store::meter::{Meter, MeterStore, Prices, Traffic};
use store::retry::{Patience, Retry, RetryStore, Witness};

use crate::error::{CliError, Result};
use crate::face::Face;
use crate::wire_arguments::WireArguments;

/// How long a bucket may take to say whether it keeps versions, when all else has answered.
const VERSIONS_WAIT: Duration = Duration::from_secs(10);

/// Where this machine keeps what can be made again.
pub(crate) struct Cache {
    /// The directory, if there is a home for it.
    pub(crate) directory: Option<PathBuf>,
    /// Whether stored files are remembered there in this run.
    pub(crate) remembers: bool,
}

/// A store whose every request waits its turn and is counted.
type Counted = LimitStore<MeterStore<Box<dyn Store>>>;

/// The wire of one run.
pub(crate) struct Wire {
    settings: Settings,
    patience: Patience,
    limits: Arc<Limits>,
    cache: Cache,
    budget: Budget,
    meters: Mutex<Vec<(String, Arc<Meter>)>>,
    face: Face,
}

impl Wire {
    /// With the flags of this run.
    pub(crate) fn new(flags: &WireArguments, mut settings: Settings, cache: Cache, face: Face) -> Self {
        let upload = flags.limit_upload.and_then(|rate| rate.0);
        let download = flags.limit_download.and_then(|rate| rate.0);
        if let Some(file) = &flags.sftp_key {
            settings = settings.with("sftp-key", file.to_string_lossy());
        }
        if let Some(pin) = &flags.sftp_host_key {
            settings = settings.with("sftp-host-key", pin);
        }
        Self {
            settings,
            patience: Patience { deadline: Duration::from_secs(flags.retry_for), ..Patience::default() },
            limits: Arc::new(
                Limits::new().upload(upload).download(download).requests(flags.max_requests.clone()),
            ),
            cache,
            budget: flags.memory.unwrap_or_else(Budget::usual),
            meters: Mutex::default(),
            face,
        }
    }

    /// The store at an address.
    pub(crate) fn open(&self, url: &str) -> Result<Arc<dyn Store>> {
        let store = self.tried_again(url)?;
        // A directory of this machine is as near as its cache would be.
        if !store.location().contains("://") {
            return Ok(Arc::new(store));
        }
        let own = || tempfile::Builder::new().prefix("mainstay-read-").tempdir();
        Ok(match &self.cache.directory {
            Some(directory) if self.cache.remembers && !remote::is_past(url) => {
                Arc::new(CacheStore::new(store, &directory.join("stored"), CACHE_SIZE_MAX))
            }
            _ => match own() {
                Ok(own) => Arc::new(CacheStore::of_this_run(store, own, OWN_SIZE_MAX)),
                Err(_) => Arc::new(store),
            },
        })
    }

    /// The same for the cold part of a repository on two stores: nothing that is named by a hash is read back to see
    /// whether it was stored, and nothing is remembered, since the hot part is read.
    pub(crate) fn open_cold(&self, url: &str) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(self.tried_again(url)?.trusting_hashes()))
    }

    /// A count of its own for the store at `location`.
    fn meter(&self, location: String) -> Arc<Meter> {
        let meter = Arc::new(Meter::new());
        self.meters.lock().unwrap_or_else(PoisonError::into_inner).push((location, meter.clone()));
        meter
    }

    fn tried_again(&self, url: &str) -> Result<RetryStore<Counted>> {
        let store = remote::open(url, &self.settings).map_err(CliError::from)?;
        let meter = self.meter(store.location());
        let store = LimitStore::new(MeterStore::new(store, meter), self.limits.clone());
        Ok(RetryStore::new(store, self.patience).witnessed(self.witness()))
    }

    /// Says that it is tried again, and why.
    fn witness(&self) -> Witness {
        let face = self.face.clone();
        Box::new(move |error, pause| {
            face.note(&format!("{error}; trying again in {:.1} s", pause.as_secs_f64()));
        })
    }

    /// What holds it back.
    pub(crate) fn limits(&self) -> Arc<Limits> {
        self.limits.clone()
    }

    /// What stores are told beside their addresses.
    pub(crate) fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// Tries calls again that are none of a store's, as patiently.
    pub(crate) fn retry(&self) -> Retry {
        Retry::new(self.patience).witnessed(self.witness())
    }

    /// What extends locks in the bucket at an address.
    pub(crate) fn locker(&self, url: &str) -> Result<Locker> {
        Ok(Locker::open(url, &self.settings)?)
    }

    /// What can be asked of the archive classes of the store at an address, if it has any.
    pub(crate) fn archive(&self, url: &str) -> Result<Option<Box<dyn Archive>>> {
        let Some(archive) = remote::archive::archive(url, &self.settings)? else { return Ok(None) };
        let archive = MeterStore::new(archive, self.meter(url.to_owned()));
        Ok(Some(Box::new(RetryStore::new(archive, self.patience))))
    }

    /// How much memory may be on its way.
    pub(crate) fn budget(&self) -> Budget {
        self.budget
    }

    /// What the bucket at an address does against deletion.
    pub(crate) fn protection(&self, url: &str) -> Result<Protection> {
        Ok(remote::protection::protection(url, &self.settings)?)
    }

    /// Whether the bucket at an address keeps versions, asked on a thread of its own while other things are done.
    pub(crate) fn versions(&self, url: &str) -> Versions {
        let (url, settings, (tell, told)) = (url.to_owned(), self.settings.clone(), mpsc::sync_channel(1));
        std::thread::spawn(move || {
            let keeps = remote::protection::keeps_versions(&url, &settings);
            // Where that fails, who asked has gone.
            tell.send(keeps.unwrap_or_default()).ok();
        });
        Versions(told)
    }

    /// Whether a lock holds in the bucket at an address; none where it asks for no locks.
    pub(crate) fn canary(&self, url: &str) -> Result<Option<Canary>> {
        Ok(remote::canary::try_canary(url, &self.settings)?)
    }

    /// Where this machine keeps what can be made again.
    pub(crate) fn cache_directory(&self) -> Option<&Path> {
        self.cache.directory.as_deref()
    }

    /// What went over the wire until now, and what it costs at list prices.
    pub(crate) fn use_so_far(&self) -> Use {
        let meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = Use { traffic: Traffic::default(), cost_micro_usd: 0 };
        for (location, meter) in meters.iter() {
            let traffic = meter.traffic();
            sum.traffic = sum.traffic + traffic;
            sum.cost_micro_usd += Prices::of(location).map_or(0, |prices| traffic.cost_micro_usd(&prices));
        }
        sum
    }
}

/// An answer that is on its way: whether a bucket keeps versions.
pub(crate) struct Versions(mpsc::Receiver<Option<bool>>);

impl Versions {
    /// The answer; `None` where there is none, or not in time.
    pub(crate) fn told(self) -> Option<bool> {
        self.0.recv_timeout(VERSIONS_WAIT).unwrap_or_default()
    }
}

/// What a run asked of its stores.
pub(crate) struct Use {
    traffic: Traffic,
    cost_micro_usd: u64,
}

impl Use {
    /// As a part of a JSON document.
    pub(crate) fn to_json(&self) -> Value {
        let Traffic { puts, gets, lists, deletes, uploaded_bytes, downloaded_bytes } = self.traffic;
        json!({
            "puts": puts.to_string(),
            "gets": gets.to_string(),
            "lists": lists.to_string(),
            "deletes": deletes.to_string(),
            "uploadedBytes": uploaded_bytes.to_string(),
            "downloadedBytes": downloaded_bytes.to_string(),
            "costMicroUsd": self.cost_micro_usd.to_string(),
        })
    }
}

impl std::ops::Add for Use {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            traffic: self.traffic + other.traffic,
            cost_micro_usd: self.cost_micro_usd + other.cost_micro_usd,
        }
    }
}

impl fmt::Display for Use {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Traffic { puts, gets, lists, deletes, uploaded_bytes, downloaded_bytes } = self.traffic;
        write!(
            out,
            "{} requests ({puts} put, {gets} get, {lists} list, {deletes} delete), {} up, {} down",
            self.traffic.requests(),
            ByteSize(uploaded_bytes),
            ByteSize(downloaded_bytes)
        )?;
        match self.cost_micro_usd {
            0 => Ok(()),
            cost => write!(out, ", about ${:.6}", cost as f64 / 1e6),
        }
    }
}

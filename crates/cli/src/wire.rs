//! How stores are reached: what a run tells them, the limits that all of them share, and the count of what went over
//! the wire.
//!
//! From the outside in: the cache, retries, limits, the meter, the store. So each try waits its turn and is counted.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::size::ByteSize;
use remote::Settings;
use remote::protection::Protection;
use repo::budget::Budget;
use serde_json::{Value, json};
use store::Store;
use store::cache::{CACHE_SIZE_MAX, CacheStore};
use store::limit::{LimitStore, Limits};
use store::meter::{Meter, MeterStore, Prices, Traffic};
use store::retry::{Patience, RetryStore};

use crate::error::{CliError, Result};
use crate::face::Face;
use crate::wire_arguments::WireArguments;

/// Where this machine keeps what can be made again.
pub(crate) struct Cache {
    /// The directory, if there is a home for it.
    pub(crate) directory: Option<PathBuf>,
    /// Whether stored files are remembered there in this run.
    pub(crate) remembers: bool,
}

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
            limits: Arc::new(Limits::new().upload(upload).download(download)),
            cache,
            budget: flags.memory.unwrap_or_else(Budget::usual),
            meters: Mutex::default(),
            face,
        }
    }

    /// The store at an address.
    pub(crate) fn open(&self, url: &str) -> Result<Arc<dyn Store>> {
        let store = remote::open(url, &self.settings).map_err(CliError::from)?;
        let meter = Arc::new(Meter::new());
        let entry = (store.location(), meter.clone());
        self.meters.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        let store = LimitStore::new(MeterStore::new(store, meter), self.limits.clone());
        let face = self.face;
        let tell = move |error: &store::StoreError, pause: Duration| {
            face.note(&format!("{error}; trying again in {:.1} s", pause.as_secs_f64()));
        };
        let store = RetryStore::new(store, self.patience).witnessed(Box::new(tell));
        // A directory of this machine is as near as its cache would be.
        Ok(
            match self
                .cache
                .directory
                .as_ref()
                .filter(|_| self.cache.remembers && store.location().contains("://"))
            {
                Some(directory) => {
                    Arc::new(CacheStore::new(store, &directory.join("stored"), CACHE_SIZE_MAX))
                }
                None => Arc::new(store),
            },
        )
    }

    /// How much memory may be on its way.
    pub(crate) fn budget(&self) -> Budget {
        self.budget
    }

    /// What the bucket at an address does against deletion.
    pub(crate) fn protection(&self, url: &str) -> Result<Protection> {
        Ok(remote::protection::protection(url, &self.settings)?)
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

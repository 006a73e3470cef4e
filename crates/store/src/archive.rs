//! What an archive class can do more than a store: an object is asked for, and can be read some hours later, for some
//! days. A capability of few stores, got where they are opened.
//!
//! Invariants: asking again for what is warm or on its way is no error and starts nothing twice; what is said of an
//! object is what the store itself knows, so it may be asked by another process and tomorrow.

use crate::key::Key;
use crate::store::StoreError;

/// How near an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warmth {
    /// It can be read.
    Warm,
    /// Somebody asked for it.
    Warming,
    /// Nobody did.
    Cold,
}

/// How fast it is to come, by the store's own names; the faster, the dearer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speed {
    /// Within half a day or two, for least.
    Bulk,
    /// Within hours.
    #[default]
    Standard,
    /// Within minutes, where the class has that.
    Expedited,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Days that it stays readable.
    pub days: u32,
    /// How fast it is to come.
    pub speed: Speed,
}

impl Default for Terms {
    /// A week, within hours.
    fn default() -> Self {
        Self { days: 7, speed: Speed::Standard }
    }
}

/// A store some of whose objects have to be asked for.
pub trait Archive: Send + Sync {
    /// How near the object is.
    ///
    /// # Errors
    /// What the store says; [`StoreError::NotFound`] where there is none.
    fn warmth(&self, key: &Key) -> Result<Warmth, StoreError>;

    /// Ask for the object.
    ///
    /// # Errors
    /// What the store says.
    fn warm_up(&self, key: &Key, terms: &Terms) -> Result<(), StoreError>;
}

/// The suite that every archive passes. `key` names an object in `store` that is cold; `pass_time` makes what was asked
/// for arrive.
///
/// # Panics
/// Where it does not keep a promise.
pub fn conforms(store: &dyn crate::Store, archive: &dyn Archive, key: &Key, pass_time: impl FnOnce()) {
    use crate::store::{Refusal, read};
    assert_eq!(archive.warmth(key).expect("warmth"), Warmth::Cold);
    let refused = read(store, key).expect_err("a cold object is not read");
    assert!(matches!(refused, StoreError::Refused { why: Refusal::Archived, .. }), "{refused}");
    for _ in 0..2 {
        archive.warm_up(key, &Terms::default()).expect("asking, and asking again");
    }
    pass_time();
    assert_eq!(archive.warmth(key).expect("warmth"), Warmth::Warm);
    assert!(!read(store, key).expect("a warm object").is_empty());
    archive.warm_up(key, &Terms::default()).expect("asking for what is warm");
    assert_eq!(archive.warmth(key).expect("warmth"), Warmth::Warm);
    let missing = "data/00/missing".parse().expect("a plain name is a key");
    assert!(archive.warmth(&missing).expect_err("nothing is there").is_not_found());
}

//! The few most recently used of many things that can be opened again.
//!
//! Looking for the oldest walks over all, which is fine for a few hundred and only done when something has to be opened
//! anyway.

use std::collections::HashMap;
use std::hash::Hash;

/// At most `max` values by key.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    max: usize,
    clock: u64,
    values: HashMap<K, (u64, V)>,
}

impl<K: Hash + Eq + Clone, V: Clone> Recent<K, V> {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, clock: 0, values: HashMap::with_capacity(max + 1) }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let (used, value) = self.values.get_mut(key)?;
        *used = self.clock;
        Some(value.clone())
    }

    /// Put one in; what was not used for longest goes out, and is handed back to be dropped outside of any lock.
    pub(crate) fn put(&mut self, key: K, value: V) -> Option<V> {
        self.clock += 1;
        self.values.insert(key, (self.clock, value));
        if self.values.len() <= self.max {
            return None;
        }
        let oldest = self.values.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone())?;
        self.values.remove(&oldest).map(|(_, value)| value)
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.values.remove(key).map(|(_, value)| value)
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.values.retain(|key, _| keep(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_not_used_for_longest_goes() {
        let mut recent = Recent::new(2);
        assert_eq!(recent.put("a", 1), None);
        assert_eq!(recent.put("b", 2), None);
        assert_eq!(recent.get(&"a"), Some(1));
        assert_eq!(recent.put("c", 3), Some(2));
        assert_eq!((recent.get(&"a"), recent.get(&"b"), recent.get(&"c")), (Some(1), None, Some(3)));
        recent.retain(|key| *key != "a");
        assert_eq!((recent.get(&"a"), recent.remove(&"c")), (None, Some(3)));
    }
}

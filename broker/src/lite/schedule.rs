//! Schedule: things that are to happen at a time, each once.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// What is to happen, by when and by what.
#[derive(Debug)]
pub(super) struct Schedule<T> {
    times: BTreeSet<(i64, T)>,
    what: HashMap<T, i64>,
}

impl<T> Default for Schedule<T> {
    fn default() -> Self {
        Schedule {
            times: BTreeSet::new(),
            what: HashMap::new(),
        }
    }
}

impl<T: Ord + Hash + Clone> Schedule<T> {
    /// It is to happen then, unless it is to happen anyway.
    pub(super) fn add(&mut self, what: T, at_ms: i64) {
        if !self.what.contains_key(&what) {
            self.times.insert((at_ms, what.clone()));
            self.what.insert(what, at_ms);
        }
    }

    /// It is to happen then and at no other time. True if it is the next of all.
    pub(super) fn set(&mut self, what: T, at_ms: i64) -> bool {
        if let Some(before_ms) = self.what.insert(what.clone(), at_ms) {
            self.times.remove(&(before_ms, what.clone()));
        }
        self.times.insert((at_ms, what));
        self.next_ms() == Some(at_ms)
    }

    /// Takes what is due.
    pub(super) fn take_due(&mut self, now_ms: i64) -> Vec<T> {
        let mut due = Vec::new();
        while let Some((at_ms, _)) = self.times.first()
            && *at_ms <= now_ms
            && let Some((_, what)) = self.times.pop_first()
        {
            self.what.remove(&what);
            due.push(what);
        }
        due
    }

    /// When the next is due, ms.
    pub(super) fn next_ms(&self) -> Option<i64> {
        self.times.first().map(|(at_ms, _)| *at_ms)
    }
}

//! Tally and Histograms: counts by what they are told apart by, for metrics that are counted while things happen.
//!
//! Bounded: beyond [`KEY_LIMIT`] keys new ones are not counted. A known key costs one lookup and no allocation when it is
//! borrowed.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::hash::Hash;

use dashmap::DashMap;

/// Most keys of one tally.
pub(crate) const KEY_LIMIT: usize = 50_000;

type Table<K, V> = DashMap<K, V, foldhash::fast::RandomState>;

/// A running count for each key.
#[derive(Debug)]
pub(crate) struct Tally<K: Eq + Hash> {
    counts: Table<K, u64>,
}

/// A histogram for each key, all with the same classes.
#[derive(Debug)]
pub(crate) struct Histograms<K: Eq + Hash> {
    /// Upper limits of the classes, inclusive; a last class has none.
    pub(crate) limits: &'static [u64],
    values: Table<K, Histogram>,
}

/// What was recorded under one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    /// One more than there are limits.
    pub(crate) counts: Vec<u64>,
    pub(crate) sum: u64,
}

impl<K: Eq + Hash> Default for Tally<K> {
    fn default() -> Self {
        Tally {
            counts: Table::default(),
        }
    }
}

impl<K: Eq + Hash + Ord + Clone> Tally<K> {
    /// Counts `count` more.
    pub(crate) fn add<Q>(&self, key: &Q, count: u64)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        change(&self.counts, key, |value| *value += count);
    }

    /// Everything counted so far, in order. No lock is held when this returns.
    pub(crate) fn read(&self) -> BTreeMap<K, u64> {
        snapshot(&self.counts)
    }

    /// Forgets what is not to be kept.
    pub(crate) fn retain(&self, keep: impl Fn(&K) -> bool) {
        self.counts.retain(|key, _| keep(key));
    }
}

impl<K: Eq + Hash + Ord + Clone> Histograms<K> {
    /// Nothing recorded yet.
    pub(crate) fn new(limits: &'static [u64]) -> Self {
        Histograms {
            limits,
            values: Table::default(),
        }
    }

    /// Takes one value; below zero counts as zero.
    pub(crate) fn record<Q>(&self, key: &Q, value: i64)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let value = u64::try_from(value).unwrap_or(0);
        let class = self.limits.partition_point(|limit| *limit < value);
        change(&self.values, key, |histogram: &mut Histogram| {
            histogram.counts.resize(self.limits.len() + 1, 0);
            histogram.counts[class] += 1;
            histogram.sum = histogram.sum.saturating_add(value);
        });
    }

    /// Everything recorded so far, in order. No lock is held when this returns.
    pub(crate) fn read(&self) -> BTreeMap<K, Histogram> {
        snapshot(&self.values)
    }

    /// Forgets what is not to be kept.
    pub(crate) fn retain(&self, keep: impl Fn(&K) -> bool) {
        self.values.retain(|key, _| keep(key));
    }
}

fn change<K, V, Q>(table: &Table<K, V>, key: &Q, change: impl FnOnce(&mut V))
where
    K: Eq + Hash + Borrow<Q>,
    V: Default,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    if let Some(mut value) = table.get_mut(key) {
        change(&mut value);
    } else if table.len() < KEY_LIMIT {
        change(&mut table.entry(key.to_owned()).or_default());
    }
}

fn snapshot<K: Eq + Hash + Ord + Clone, V: Clone>(table: &Table<K, V>) -> BTreeMap<K, V> {
    table
        .iter()
        .map(|entry| (entry.key().clone(), entry.value().clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_adds_up_by_key_and_takes_no_key_too_many() {
        let tally: Tally<String> = Tally::default();
        tally.add("a", 2);
        tally.add("a", 3);
        for key in 0..KEY_LIMIT {
            tally.add(&key.to_string(), 1);
        }
        let read = tally.read();
        assert_eq!((read.len(), read["a"]), (KEY_LIMIT, 5));
        tally.retain(|key| key == "a");
        assert_eq!(tally.read().len(), 1);
    }

    #[test]
    fn classes_are_inclusive_and_the_last_has_no_limit() {
        let histograms: Histograms<String> = Histograms::new(&[1, 10]);
        for value in [-5, 0, 1, 2, 10, 11] {
            histograms.record("a", value);
        }
        let read = histograms.read();
        assert_eq!(read["a"].counts, [3, 2, 1]);
        assert_eq!(read["a"].sum, 24);
    }
}

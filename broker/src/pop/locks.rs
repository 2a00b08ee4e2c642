//! QueueLocks of pops: one pop of a group at a time takes from a queue, so that no two get the same messages.
//!
//! Held for a read and an append. Another pop passes a locked queue by; an ack in order waits for it.
//! Reference: `PopMessageProcessor.QueueLockManager`.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard};

/// A queue as one group sees it.
type Key = (String, String, i32);

/// The queues somebody pops right now: at most as many as handlers run.
#[derive(Debug, Default)]
pub struct PopLocks {
    held: Mutex<HashSet<Key>>,
    released: Condvar,
}

/// A locked queue, until dropped.
#[derive(Debug)]
pub struct PopLock<'a> {
    locks: &'a PopLocks,
    key: Key,
}

impl PopLocks {
    /// Nothing locked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Locks the queue, unless somebody has.
    pub fn try_lock(&self, topic: &str, group: &str, queue_id: i32) -> Option<PopLock<'_>> {
        let key = (topic.to_owned(), group.to_owned(), queue_id);
        let is_free = self.held().insert(key.clone());
        is_free.then(|| PopLock { locks: self, key })
    }

    /// Locks the queue, waiting while somebody else has it.
    pub fn lock(&self, topic: &str, group: &str, queue_id: i32) -> PopLock<'_> {
        let key = (topic.to_owned(), group.to_owned(), queue_id);
        let mut held = self.held();
        while !held.insert(key.clone()) {
            held = self
                .released
                .wait(held)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        PopLock { locks: self, key }
    }

    /// Whether somebody has the queue.
    pub fn is_locked(&self, topic: &str, group: &str, queue_id: i32) -> bool {
        self.held()
            .contains(&(topic.to_owned(), group.to_owned(), queue_id))
    }

    fn held(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for PopLock<'_> {
    fn drop(&mut self) {
        self.locks.held().remove(&self.key);
        self.locks.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_locked_for_one_group_until_the_lock_is_dropped() {
        let locks = PopLocks::new();
        let first = locks.try_lock("t", "g", 0);
        assert!(first.is_some() && locks.try_lock("t", "g", 0).is_none());
        assert!(locks.try_lock("t", "g", 1).is_some() && locks.try_lock("t", "h", 0).is_some());
        drop(first);
        assert!(locks.try_lock("t", "g", 0).is_some());
    }

    #[test]
    fn who_waits_gets_the_queue_when_it_is_free() {
        let locks = PopLocks::new();
        let first = locks.lock("t", "g", 0);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| drop(locks.lock("t", "g", 0)));
            drop(first);
            waiting.join().unwrap();
        });
        assert!(locks.held().is_empty());
    }
}

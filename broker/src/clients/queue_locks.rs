//! Queue locks: which client of a group consumes a queue in order.
//!
//! A lock lives for [`LOCK_LIFE_MS`] and clients renew theirs every 20 s, so the queues of a dead client come free by
//! themselves. Locks are kept in memory only: after a restart each client asks again. Reference: `RebalanceLockManager`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use remoting::body::MessageQueue;

/// How long a lock lives without being renewed.
pub const LOCK_LIFE_MS: i64 = 60_000;

/// The locks of all groups.
#[derive(Debug, Default)]
pub struct QueueLocks {
    groups: Mutex<HashMap<String, HashMap<MessageQueue, Lock>>>,
}

#[derive(Debug)]
struct Lock {
    client_id: String,
    renewed_ms: i64,
}

impl Lock {
    fn is_expired(&self, now_ms: i64) -> bool {
        now_ms - self.renewed_ms > LOCK_LIFE_MS
    }
}

impl QueueLocks {
    /// No locks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Locks those of `queues` that are free, or renews them; returns the ones that the client has now.
    pub fn lock_batch(
        &self,
        group: &str,
        queues: &BTreeSet<MessageQueue>,
        client_id: &str,
        now_ms: i64,
    ) -> BTreeSet<MessageQueue> {
        let mut groups = self.groups();
        let locks = groups.entry(group.to_owned()).or_default();
        let mut locked = BTreeSet::new();
        for queue in queues {
            let is_free = locks
                .get(queue)
                .is_none_or(|lock| lock.client_id == client_id || lock.is_expired(now_ms));
            if is_free {
                locks.insert(
                    queue.clone(),
                    Lock {
                        client_id: client_id.to_owned(),
                        renewed_ms: now_ms,
                    },
                );
                locked.insert(queue.clone());
            }
        }
        locked
    }

    /// Gives back those of `queues` that the client has.
    pub fn unlock_batch(&self, group: &str, queues: &BTreeSet<MessageQueue>, client_id: &str) {
        let mut groups = self.groups();
        let Some(locks) = groups.get_mut(group) else {
            return;
        };
        for queue in queues {
            if locks.get(queue).is_some_and(|lock| lock.client_id == client_id) {
                locks.remove(queue);
            }
        }
        if locks.is_empty() {
            groups.remove(group);
        }
    }

    /// Whether any queue of the group is locked: the group consumes in order.
    pub fn has_unexpired(&self, group: &str, now_ms: i64) -> bool {
        self.groups()
            .get(group)
            .is_some_and(|locks| locks.values().any(|lock| !lock.is_expired(now_ms)))
    }

    /// Forgets expired locks.
    pub fn expire(&self, now_ms: i64) {
        self.groups().retain(|_, locks| {
            locks.retain(|_, lock| !lock.is_expired(now_ms));
            !locks.is_empty()
        });
    }

    fn groups(&self) -> std::sync::MutexGuard<'_, HashMap<String, HashMap<MessageQueue, Lock>>> {
        self.groups
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(ids: &[i32]) -> BTreeSet<MessageQueue> {
        ids.iter().map(|id| MessageQueue::new("t", "b", *id)).collect()
    }

    #[test]
    fn a_queue_belongs_to_one_client_until_given_back_or_expired() {
        let locks = QueueLocks::new();
        assert_eq!(locks.lock_batch("g", &queues(&[0, 1]), "a", 0), queues(&[0, 1]));
        assert_eq!(locks.lock_batch("g", &queues(&[1, 2]), "b", 0), queues(&[2]));
        assert_eq!(
            locks.lock_batch("h", &queues(&[1]), "b", 0),
            queues(&[1]),
            "groups do not compete"
        );

        locks.unlock_batch("g", &queues(&[1, 2]), "a");
        assert_eq!(
            locks.lock_batch("g", &queues(&[1, 2]), "a", 0),
            queues(&[1]),
            "b's queue was not a's to give"
        );

        assert_eq!(
            locks.lock_batch("g", &queues(&[0]), "b", LOCK_LIFE_MS),
            queues(&[])
        );
        assert_eq!(
            locks.lock_batch("g", &queues(&[0]), "b", LOCK_LIFE_MS + 1),
            queues(&[0])
        );
    }

    #[test]
    fn expired_locks_are_forgotten() {
        let locks = QueueLocks::new();
        locks.lock_batch("g", &queues(&[0]), "a", 0);
        assert!(locks.has_unexpired("g", LOCK_LIFE_MS));
        assert!(!locks.has_unexpired("g", LOCK_LIFE_MS + 1));
        locks.expire(LOCK_LIFE_MS + 1);
        assert!(locks.groups().is_empty());
    }
}

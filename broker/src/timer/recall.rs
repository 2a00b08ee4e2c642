//! Recall: handles of waiting messages, and what is being taken back at this moment.
//!
//! ```text
//!   handle = base64url("v1 topic brokerName timestamp uniqKey"),   timestamp = TIMER_OUT_MS + 1
//! ```
//!
//! A recall is a message of its own, stored for the same slot; when the slot is delivered, it takes its target out. Between
//! the moment it is promised and the moment the timer has followed the queue to it, it stands in [`Recalls`], so that a
//! delivery that begins meanwhile knows of it. Reference: `RecallMessageHandle`, `RecallMessageProcessor`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

const VERSION: &str = "v1";
/// Recalls that may be on their way into the wheel.
const MAX_IN_FLIGHT: usize = 100_000;

/// What a handle says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecallHandle {
    /// Where the message is to go.
    pub topic: String,
    /// The broker that keeps it.
    pub broker_name: String,
    /// As written; a handle may hold anything.
    pub timestamp: String,
    /// The message's unique key.
    pub uniq_key: String,
}

impl RecallHandle {
    /// The handle of a message that waits in the slot `out_ms`.
    pub fn encode(topic: &str, broker_name: &str, out_ms: i64, uniq_key: &str) -> String {
        // The slot's own time may be the very moment before it; the reference adds one, too.
        let timestamp = out_ms + 1;
        URL_SAFE.encode(format!("{VERSION} {topic} {broker_name} {timestamp} {uniq_key}"))
    }

    /// Reads a handle; `None` when it is none.
    pub fn decode(handle: &str) -> Option<Self> {
        let text = URL_SAFE.decode(handle).ok()?;
        let text = String::from_utf8_lossy(&text);
        let mut words = text.split(' ').map(str::to_owned);
        if words.next()? != VERSION {
            return None;
        }
        let handle = RecallHandle {
            topic: words.next()?,
            broker_name: words.next()?,
            timestamp: words.next()?,
            uniq_key: words.next()?,
        };
        // Java's split drops empty words at the end.
        (!handle.uniq_key.is_empty() || words.any(|word| !word.is_empty())).then_some(handle)
    }
}

/// Why a recall cannot be promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooLate {
    /// The message may have been delivered.
    Due,
    /// Too many recalls are on their way.
    TooMany,
}

/// Recalls promised and not yet in the wheel, by their delete key. A leaf lock.
#[derive(Debug, Default)]
pub(crate) struct Recalls {
    promised: Mutex<HashMap<String, usize>>,
}

impl Recalls {
    /// Promises that the message with this key is not delivered, if it cannot have been: its slot begins after now.
    ///
    /// `now_ms` is read under the lock: whoever delivers looks here when its slot has begun.
    pub(crate) fn promise(
        &self,
        key: &str,
        out_ms: i64,
        now_ms: impl FnOnce() -> i64,
    ) -> Result<(), TooLate> {
        let mut promised = self.lock();
        if promised.len() >= MAX_IN_FLIGHT {
            return Err(TooLate::TooMany);
        }
        if now_ms() > out_ms {
            return Err(TooLate::Due);
        }
        *promised.entry(key.to_owned()).or_default() += 1;
        Ok(())
    }

    /// The recall is in the wheel, or was not stored.
    pub(crate) fn forget(&self, key: &str) {
        let mut promised = self.lock();
        if let Some(count) = promised.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                promised.remove(key);
            }
        }
    }

    /// Whether a message must not be delivered.
    pub(crate) fn contains(&self, key: &str) -> bool {
        self.lock().contains_key(key)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the answer of a Java 5.5.0 broker.
    const JAVA: &str = "djEgRnhUaW1lciBmeC1icm9rZXIgMTc5NTM3NzMzODAwMSBGRDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMjQxNkM0RTBFMkYyQTcwNkMxMjEyMDExNQ==";

    #[test]
    fn handles_are_those_of_the_reference() {
        let handle = RecallHandle::decode(JAVA).unwrap();
        assert_eq!((&*handle.topic, &*handle.broker_name), ("FxTimer", "fx-broker"));
        assert_eq!(handle.timestamp, "1795377338001");
        assert_eq!(
            handle.uniq_key,
            "FD000000000000000000000000000002416C4E0E2F2A706C12120115"
        );
        let encoded = RecallHandle::encode("FxTimer", "fx-broker", 1_795_377_338_000, &handle.uniq_key);
        assert_eq!(encoded, JAVA);
    }

    #[test]
    fn what_is_no_handle_is_none() {
        for text in ["", "v1 a b c d", "v1 a b 1", "v2 a b 1 k", "v1 a b 1 ", "  "] {
            assert_eq!(
                RecallHandle::decode(&URL_SAFE.encode(text)).is_some(),
                text == "v1 a b c d",
                "{text:?}"
            );
        }
        assert_eq!(RecallHandle::decode("no base64!"), None);
        assert_eq!(RecallHandle::decode(&URL_SAFE.encode([0xFF, 0xFE])), None);
    }

    #[test]
    fn a_recall_is_promised_until_its_slot_begins_and_known_until_it_is_filed() {
        let recalls = Recalls::default();
        assert_eq!(recalls.promise("k", 5_000, || 5_001), Err(TooLate::Due));
        assert_eq!(recalls.promise("k", 5_000, || 5_000), Ok(()));
        assert_eq!(recalls.promise("k", 5_000, || 4_000), Ok(()));
        recalls.forget("k");
        assert!(recalls.contains("k"));
        recalls.forget("k");
        recalls.forget("k");
        assert!(!recalls.contains("k"));
    }
}

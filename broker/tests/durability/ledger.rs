//! What producers and consumers know of the broker: the expectations a crash is held against.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Instant;

/// A message the broker said was stored.
#[derive(Clone, Debug)]
pub struct Acked {
    pub queue_id: i32,
    pub queue_offset: i64,
    pub at: Instant,
}

/// Everything that was sent, acknowledged, seen and committed so far, by key of the message.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Sent, whether acknowledged or not.
    pub sent: HashSet<String>,
    pub acked: HashMap<String, Acked>,
    /// What a consumer was given: (queue, offset) -> key.
    pub seen: HashMap<(i32, i64), String>,
    /// When which offset was committed, by queue.
    pub commits: HashMap<i32, Vec<(Instant, i64)>>,
    /// Refused sends by response code, with one remark each.
    pub refused: BTreeMap<i32, (usize, String)>,
}

impl Ledger {
    /// Adds what another connection knows.
    pub fn merge(&mut self, other: Ledger) {
        self.sent.extend(other.sent);
        self.acked.extend(other.acked);
        self.seen.extend(other.seen);
        for (queue_id, commits) in other.commits {
            self.commits.entry(queue_id).or_default().extend(commits);
        }
        for (code, (count, remark)) in other.refused {
            let entry = self.refused.entry(code).or_insert((0, remark));
            entry.0 += count;
        }
    }

    /// Forgets what was given back to nobody: messages a power loss took legally.
    pub fn forget(&mut self, key: &str) {
        self.acked.remove(key);
    }
}

/// The body that belongs to a key: a check of every byte needs no copy of what was sent.
pub fn body_of(key: &str) -> Vec<u8> {
    let mut state = key.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let length = 20 + (state >> 20) as usize % 900;
    let mut body = format!("{key}|").into_bytes();
    while body.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        body.push(b'a' + (state >> 60) as u8);
    }
    body
}

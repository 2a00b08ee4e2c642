//! Ledger: which half messages are over, and where the newest copy of those is that a check has put back.
//!
//! ```text
//!   half queue   ... 40 | 41 42 43 44 45 46          44 is a copy of 41: an end for 41 ends 44
//!                over  next    x     ^   x           x: over, not passed yet
//! ```
//!
//! Everything before `next` is over: ended, discarded or put back. One byte is kept for each half message from there to
//! the last that is over, and an entry for each put-back one. A pure table: it knows no store and no time.

use std::collections::{HashMap, VecDeque};

use super::half_message::TransactionKey;

/// The most half messages between the first open one and the last; beyond, ends are answered with "busy" until the
/// check has passed some. At one byte each.
pub(crate) const SPAN_LIMIT: usize = 64 * 1024 * 1024;
/// The most copies put back that are remembered; of more, an end of an older copy ends nothing. About 40 bytes each.
pub(crate) const PUT_BACK_LIMIT: usize = 4 * 1024 * 1024;

/// How a half message came to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its message is in its topic.
    Committed,
    /// Its producer does not want it.
    RolledBack,
    /// An op record of an earlier run of the broker says so, not how.
    Recorded,
    /// A copy took its place.
    PutBack,
    /// It went to the topic of those that nobody answers for, or cannot be read any more.
    GivenUp,
}

/// Where a half message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It can end; the queue offset is that of its newest copy.
    Open(u64),
    /// It is over; how is known until the check has passed it.
    Over(Option<End>),
    /// Too far behind the first open one to be kept track of.
    OutOfReach,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    next: u64,
    /// From `next` on; those after its end are open.
    ends: VecDeque<Option<End>>,
    newest: HashMap<TransactionKey, u64>,
    /// The same by queue offset, ascending, so that those that were passed can be forgotten.
    put_back: VecDeque<(u64, TransactionKey)>,
}

impl Ledger {
    /// Nothing is over but what lies before `next`.
    pub(crate) fn beginning_at(next: u64) -> Self {
        Ledger {
            next,
            ..Self::default()
        }
    }

    /// The first half message that the check has not passed.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Whether the half message at this queue offset is over; of a put-back one only its newest copy is not.
    pub(crate) fn is_over(&self, queue_offset: u64) -> bool {
        matches!(self.standing_of(queue_offset), Standing::Over(_))
    }

    /// Where the half message with this key stands that is, or was, at this queue offset.
    pub(crate) fn standing(&self, queue_offset: u64, key: &TransactionKey) -> Standing {
        let newest = self.newest.get(key).copied().unwrap_or(0);
        self.standing_of(newest.max(queue_offset))
    }

    fn standing_of(&self, queue_offset: u64) -> Standing {
        let Some(place) = self.place(queue_offset) else {
            return Standing::Over(None);
        };
        match self.ends.get(place) {
            Some(Some(end)) => Standing::Over(Some(*end)),
            _ if place >= SPAN_LIMIT => Standing::OutOfReach,
            _ => Standing::Open(queue_offset),
        }
    }

    /// Notes how a half message came to be over. The first word counts.
    pub(crate) fn end(&mut self, queue_offset: u64, end: End) {
        let Some(place) = self.place(queue_offset).filter(|place| *place < SPAN_LIMIT) else {
            return;
        };
        if self.ends.len() <= place {
            self.ends.resize(place + 1, None);
        }
        self.ends[place].get_or_insert(end);
    }

    /// Notes that a copy took the place of a half message. Copies come in the order of their queue offsets.
    pub(crate) fn put_back(&mut self, queue_offset: u64, copy: u64, key: TransactionKey) {
        self.end(queue_offset, End::PutBack);
        self.note_copy(copy, key);
    }

    /// Notes that the half message at this queue offset is a copy of earlier ones.
    pub(crate) fn note_copy(&mut self, copy: u64, key: TransactionKey) {
        if self.newest.len() < PUT_BACK_LIMIT {
            self.newest.insert(key, copy);
            self.put_back.push_back((copy, key));
        }
    }

    /// Passes everything before `next`.
    pub(crate) fn pass(&mut self, next: u64) {
        let Some(passed) = self.place(next) else { return };
        self.ends.drain(..passed.min(self.ends.len()));
        self.next = next;
        while let Some((copy, key)) = self.put_back.front().copied()
            && copy < next
        {
            self.put_back.pop_front();
            if self.newest.get(&key) == Some(&copy) {
                self.newest.remove(&key);
            }
        }
    }

    fn place(&self, queue_offset: u64) -> Option<usize> {
        let place = queue_offset.checked_sub(self.next)?;
        Some(usize::try_from(place).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use store::record::encode::{RecordStyle, encode};
    use store::{Message, record};

    use super::*;

    fn key(name: &str) -> TransactionKey {
        let host: SocketAddr = "10.0.0.1:1".parse().unwrap();
        let mut bytes = Vec::new();
        let style = RecordStyle {
            version_by_topic_length: false,
            append_property_crc: false,
        };
        let message = Message {
            topic: "T",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: 1,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            properties: &format!("UNIQ_KEY\u{1}{name}\u{2}"),
            body: b"",
        };
        encode(&message, style, &mut bytes);
        TransactionKey::of(&record::decode(&bytes).unwrap())
    }

    #[test]
    fn what_the_check_passed_is_over_and_what_it_did_not_is_open_until_it_ends() {
        let mut ledger = Ledger::beginning_at(40);
        assert_eq!(ledger.standing(39, &key("a")), Standing::Over(None));
        assert_eq!(ledger.standing(43, &key("a")), Standing::Open(43));

        ledger.end(43, End::Committed);
        ledger.end(43, End::RolledBack);
        assert_eq!(
            ledger.standing(43, &key("a")),
            Standing::Over(Some(End::Committed))
        );
        assert!(!ledger.is_over(42) && !ledger.is_over(44));

        ledger.pass(43);
        assert!(ledger.is_over(42) && ledger.is_over(43) && !ledger.is_over(44));
        ledger.pass(100);
        assert_eq!(ledger.standing(43, &key("a")), Standing::Over(None));
        ledger.pass(50);
        assert_eq!(ledger.next(), 100, "progress never goes back");
    }

    #[test]
    fn an_end_for_any_copy_ends_the_newest_one() {
        let mut ledger = Ledger::beginning_at(0);
        ledger.put_back(0, 7, key("a"));
        ledger.pass(1);
        ledger.put_back(7, 9, key("a"));
        for copy in [0, 7, 9] {
            assert_eq!(ledger.standing(copy, &key("a")), Standing::Open(9));
        }
        assert_eq!(ledger.standing(0, &key("b")), Standing::Over(None));

        ledger.end(9, End::RolledBack);
        assert_eq!(
            ledger.standing(0, &key("a")),
            Standing::Over(Some(End::RolledBack))
        );

        ledger.pass(10);
        assert!(
            ledger.newest.is_empty() && ledger.put_back.is_empty(),
            "nothing is kept of what was passed"
        );
        assert_eq!(ledger.standing(0, &key("a")), Standing::Over(None));
    }

    #[test]
    fn what_is_out_of_reach_costs_no_memory() {
        let mut ledger = Ledger::beginning_at(0);
        assert_eq!(ledger.standing(u64::MAX, &key("a")), Standing::OutOfReach);
        ledger.end(u64::MAX, End::Recorded);
        ledger.end(SPAN_LIMIT as u64, End::Recorded);
        assert!(ledger.ends.is_empty());
    }
}

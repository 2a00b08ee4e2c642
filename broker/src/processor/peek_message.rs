//! PEEK_MESSAGE: what a group would pop next, without taking it.
//!
//! When it shows nothing because a queue cannot be read it is refused, as a pull and a pop are.
//! Reference: `PeekMessageProcessor`.

use common::names::PopRetryNaming;
use remoting::body::topic::TopicConfig;
use remoting::codes::response_code;
use remoting::header::{PeekMessageRequestHeader, PopMessageResponseHeader};
use remoting::request::{Handled, Outcome, Request, Response};
use store::{AllMessages, GetOutcome, GetRequest, GetStatus};

use crate::broker::Broker;
use crate::processor::pop_checks::{self, Wanted};
use crate::processor::refusals::queue_unreadable;
use crate::registry::order_info::GroupQueue;

/// Messages of one peek, at most; who wants more gets so many.
const MAX_PEEK_MESSAGES: i32 = 32;
/// Reads of one peek that may find nothing and go on behind it, at most. Each passes a queue's file, or 800 lost messages.
const MAX_VAIN_READS: u32 = 64;

type PeekRequest<'a> = Request<'a, PeekMessageRequestHeader<'a>>;

/// Looks at the queues as a pop would.
pub(crate) fn peek_message(broker: &Broker, request: PeekRequest<'_>) -> Handled {
    let header = &request.header;
    pop_checks::require_readable_broker(broker, "peeking")?;
    let topic_config = pop_checks::require_readable(
        broker,
        Wanted {
            topic: &header.topic,
            group: &header.consumer_group,
            queue_id: header.queue_id,
            connection: request.connection(),
        },
    )?;
    let mut peek = Peek {
        broker,
        header,
        body: Vec::new(),
        message_count: 0,
        rest: 0,
        met_unreadable: false,
        vain_reads_left: MAX_VAIN_READS,
    };
    peek.look(&topic_config);
    if peek.message_count == 0 && peek.met_unreadable {
        return Err(queue_unreadable());
    }
    Ok(peek.answer())
}

struct Peek<'a> {
    broker: &'a Broker,
    header: &'a PeekMessageRequestHeader<'a>,
    body: Vec<u8>,
    message_count: i32,
    rest: i64,
    /// A queue has messages, and the disk failed to tell which.
    met_unreadable: bool,
    vain_reads_left: u32,
}

impl Peek<'_> {
    /// One time in five the retry topic comes first.
    fn look(&mut self, topic_config: &TopicConfig) {
        let chance = self.broker.random.below(100);
        let retry_first = chance % 5 == 0;
        let naming = PopRetryNaming::configured(self.broker.config.get().enable_retry_topic_v2);
        let retry_topic = naming.topic(&self.header.topic, &self.header.consumer_group);
        let retry_topic = self.broker.topics.get(&retry_topic);
        if let Some(retry_topic) = retry_topic.as_deref().filter(|_| retry_first) {
            self.look_at_topic(retry_topic, chance);
        }
        if self.header.queue_id < 0 {
            self.look_at_topic(topic_config, chance);
        } else {
            self.look_at_queue(&topic_config.topic_name, self.header.queue_id);
        }
        if let Some(retry_topic) = retry_topic.as_deref().filter(|_| !retry_first) {
            self.look_at_topic(retry_topic, chance);
        }
    }

    fn look_at_topic(&mut self, topic_config: &TopicConfig, chance: i32) {
        let queues = topic_config.read_queue_nums;
        for i in 0..queues {
            self.look_at_queue(&topic_config.topic_name, (chance + i) % queues);
        }
    }

    fn look_at_queue(&mut self, topic: &str, queue_id: i32) {
        let group = &*self.header.consumer_group;
        let queue = GroupQueue {
            topic,
            group,
            queue_id,
        };
        let offset = pop_checks::peek_offset(self.broker, queue);
        self.rest += (self.broker.store.max_offset(topic, queue_id) - offset).max(0);
        let room = self.header.max_msg_nums.clamp(1, MAX_PEEK_MESSAGES) - self.message_count;
        if room <= 0 {
            return;
        }
        let mut request = GetRequest {
            topic,
            queue_id,
            offset,
            max_messages: usize::try_from(room).unwrap_or(0),
            max_bytes: None,
            filter: &AllMessages,
        };
        let mut found = self.broker.store.get(&request, &mut self.body);
        while is_elsewhere(&found, request.offset) && self.vain_reads_left > 0 {
            self.vain_reads_left -= 1;
            request.offset = found.next_begin_offset;
            found = self.broker.store.get(&request, &mut self.body);
        }
        self.met_unreadable |= found.status == GetStatus::ReadFailed;
        self.message_count += i32::try_from(found.message_count).unwrap_or(i32::MAX);
    }

    fn answer(self) -> Outcome {
        let (code, status) = if self.body.is_empty() {
            (response_code::PULL_NOT_FOUND, GetStatus::NoMessageInQueue)
        } else {
            (response_code::SUCCESS, GetStatus::Found)
        };
        let header = PopMessageResponseHeader {
            pop_time: 0,
            invisible_time: 0,
            revive_qid: 0,
            rest_num: self.rest,
            start_offset_info: None,
            msg_offset_info: None,
            order_count_info: None,
        };
        if code == response_code::SUCCESS {
            self.broker.stats.record_get(
                &self.header.consumer_group,
                &self.header.topic,
                u32::try_from(self.message_count).unwrap_or(0),
                self.body.len() as u64,
            );
        }
        Response::new(code)
            .remark(status.name())
            .header(&header)
            .body(self.body)
            .into()
    }
}

/// Whether what comes next is not where the read began: the offset is outside the queue, or the messages there were lost. A
/// pop commits its way past them, a peek commits nothing; the reference's goes on once, and from outside the queue alone.
fn is_elsewhere(found: &GetOutcome, offset: i64) -> bool {
    let may_go_on = matches!(
        found.status,
        GetStatus::OffsetTooSmall
            | GetStatus::OffsetOverflowBadly
            | GetStatus::OffsetFoundNull
            | GetStatus::MessageWasRemoving
    );
    may_go_on && found.next_begin_offset != offset
}

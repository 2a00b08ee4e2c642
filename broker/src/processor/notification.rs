//! NOTIFICATION, POLLING_INFO: whether a group has something to pop, waiting until it has; and how many wait.
//!
//! Reference: `NotificationProcessor`, `PollingInfoProcessor`.

use common::names::PopRetryNaming;
use remoting::header::{
    NotificationRequestHeader, NotificationResponseHeader, PollingInfoRequestHeader,
    PollingInfoResponseHeader,
};
use remoting::request::{Handled, Outcome, Request, Response};
use store::{MessageFilter as _, QueueOffset};

use crate::broker::Broker;
use crate::filter::expression::ExpressionFilter;
use crate::filter::tags;
use crate::hold::pop::{Poll, PollKind};
use crate::processor::pop_checks::{self, Wanted};
use crate::processor::pop_message::limits;
use crate::registry::order_info::GroupQueue;

type NotificationRequest<'a> = Request<'a, NotificationRequestHeader<'a>>;

/// Answers whether there is a message, or waits for one.
pub(crate) fn notification(broker: &Broker, request: NotificationRequest<'_>) -> Handled {
    let header = &request.header;
    pop_checks::require_readable_broker(broker, "peeking")?;
    let wanted = Wanted {
        topic: &header.topic,
        group: &header.consumer_group,
        queue_id: header.queue_id,
        connection: request.connection(),
    };
    pop_checks::require_readable(broker, wanted)?;
    let (expression_type, expression) = (header.exp_type.as_deref(), header.exp.as_deref());
    let look = Look {
        broker,
        header,
        filter: pop_checks::filter_of(broker, wanted, expression_type, expression)?,
    };
    if look.has_message() {
        return Ok(answer(true, false));
    }
    Ok(wait(&request, look))
}

fn answer(has_msg: bool, polling_full: bool) -> Outcome {
    let header = NotificationResponseHeader {
        has_msg,
        polling_full,
    };
    Response::success().header(&header).into()
}

/// One look at what a group may pop.
struct Look<'a> {
    broker: &'a Broker,
    header: &'a NotificationRequestHeader<'a>,
    filter: ExpressionFilter,
}

impl Look<'_> {
    fn has_message(&self) -> bool {
        let header = self.header;
        let in_own_topic = match header.queue_id {
            any if any < 0 => self.in_topic(&header.topic, &self.filter),
            queue_id => self.in_queue(&header.topic, queue_id, &self.filter),
        };
        in_own_topic || self.in_retry_topics()
    }

    fn in_retry_topics(&self) -> bool {
        let config = self.broker.config.get();
        let configured = PopRetryNaming::configured(config.enable_retry_topic_v2);
        let all = ExpressionFilter::of_tags(&tags::all(&self.header.topic));
        let reads = |naming: PopRetryNaming| {
            naming == configured
                || (configured == PopRetryNaming::V2 && config.retrieve_message_from_pop_retry_topic_v1)
        };
        [PopRetryNaming::V1, PopRetryNaming::V2]
            .into_iter()
            .filter(|naming| reads(*naming))
            .any(|naming| {
                let topic = naming.topic(&self.header.topic, &self.header.consumer_group);
                self.in_topic(&topic, &all)
            })
    }

    fn in_topic(&self, topic: &str, filter: &ExpressionFilter) -> bool {
        let queues = self
            .broker
            .topics
            .get(topic)
            .map_or(0, |config| config.read_queue_nums);
        (0..queues).any(|queue_id| self.in_queue(topic, queue_id, filter))
    }

    fn in_queue(&self, topic: &str, queue_id: i32, filter: &ExpressionFilter) -> bool {
        let queue = GroupQueue {
            topic,
            group: &self.header.consumer_group,
            queue_id,
        };
        let attempt_id = self.header.attempt_id.as_deref();
        let now_ms = self.broker.clock.wall_ms();
        let is_blocked = self.header.order
            && self
                .broker
                .order_info
                .blocked_until_ms(queue, attempt_id, 0, now_ms)
                .is_some();
        if is_blocked {
            return false;
        }
        let offset = pop_checks::peek_offset(self.broker, queue);
        let rest = self.broker.store.max_offset(topic, queue_id) - offset;
        rest > 0 && (!self.looks_at_tags(rest) || self.has_wanted(topic, queue_id, offset, rest, filter))
    }

    /// Only a few messages are looked at one by one.
    fn looks_at_tags(&self, rest: i64) -> bool {
        let config = self.broker.config.get();
        config.use_message_filter_for_notification
            && rest <= i64::from(config.max_message_filter_num_for_notification)
    }

    fn has_wanted(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        rest: i64,
        filter: &ExpressionFilter,
    ) -> bool {
        let from = QueueOffset(u64::try_from(offset).unwrap_or(0));
        let count = usize::try_from(rest).unwrap_or(0);
        let entries = self.broker.store.queue_entries(topic, queue_id, from, count);
        entries.iter().any(|entry| {
            filter.by_tags_code(entry.tags_code)
                && self
                    .broker
                    .store
                    .read_at(entry.physical_offset)
                    .is_some_and(|record| filter.by_record(&record))
        })
    }
}

/// Holds the request until there is something, or its time is up.
fn wait(request: &NotificationRequest<'_>, look: Look<'_>) -> Outcome {
    let (broker, header) = (look.broker, look.header);
    let now_ms = broker.clock.wall_ms();
    let deadline_ms =
        pop_checks::waits_until_ms(header.born_time, header.poll_time, now_ms, request.is_resumed());
    let Some(deadline_ms) = deadline_ms else {
        return answer(false, false);
    };
    let poll = Poll {
        kind: PollKind::Notification,
        topic: &header.topic,
        group: &header.consumer_group,
        queue_id: header.queue_id,
        filter: look.filter.clone(),
        look_again_ms: deadline_ms,
    };
    let parked = broker
        .pop_hold
        .park(poll, limits(broker), || request.park(), request.connection());
    if parked.is_err() {
        return answer(false, true);
    }
    // A message may have arrived since.
    if look.has_message() {
        broker
            .pop_hold
            .wake_notification(&header.topic, &header.consumer_group, header.queue_id);
    }
    Outcome::Parked
}

/// POLLING_INFO: how many pops wait for a queue.
pub(crate) fn polling_info(broker: &Broker, request: Request<'_, PollingInfoRequestHeader>) -> Handled {
    let header = &request.header;
    pop_checks::require_readable_broker(broker, "peeking")?;
    pop_checks::require_readable(
        broker,
        Wanted {
            topic: &header.topic,
            group: &header.consumer_group,
            queue_id: header.queue_id,
            connection: request.connection(),
        },
    )?;
    let waiting = broker
        .pop_hold
        .polling_num(&header.topic, &header.consumer_group, header.queue_id);
    let answer = PollingInfoResponseHeader {
        polling_num: i32::try_from(waiting).unwrap_or(i32::MAX),
    };
    Ok(Response::success().header(&answer).into())
}

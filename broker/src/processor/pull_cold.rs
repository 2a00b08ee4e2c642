//! Pulls of old messages, slowed down where an operator wants that. See `cold_data.rs`.
//!
//! Reference: `PullMessageProcessor.processRequest`, `ColdDataPullRequestHoldService`.

use common::names;
use remoting::body::client::ConsumeType;
use remoting::codes::response_code;
use remoting::request::Refusal;
use store::QueueOffset;

use crate::broker::Broker;
use crate::processor::pull_checks::PullRequest;

/// How a pull of old messages is slowed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slowdown {
    /// Not at all.
    None,
    /// It waits for [`WAIT_MS`] and is handled again.
    Wait,
    /// It has waited and gets one message.
    OneMessage,
}

/// How long a pull consumer waits, in ms.
pub(crate) const WAIT_MS: i64 = 1_000;

/// Whether this pull must be slower; a push consumer, whose client asks again by itself, is refused.
pub(crate) fn slowdown(broker: &Broker, request: &PullRequest<'_>, topic: &str) -> Result<Slowdown, Refusal> {
    let group = &request.header.consumer_group;
    if !is_controlled(broker, group)
        || !broker.cold_data.is_over(group, broker.clock.wall_ms())
        || !is_cold(
            broker,
            topic,
            request.header.queue_id,
            request.header.queue_offset,
        )
    {
        return Ok(Slowdown::None);
    }
    let consumers = broker.consumers.info(group);
    if consumers.is_some_and(|consumers| consumers.consume_type == ConsumeType::Passively) {
        return Err(Refusal::new(
            response_code::SYSTEM_BUSY,
            "This consumer group is reading cold data. It has been flow control",
        ));
    }
    Ok(match request.is_resumed() {
        true => Slowdown::OneMessage,
        false => Slowdown::Wait,
    })
}

/// Counts what a pull found, if it was old.
pub(crate) fn record(broker: &Broker, request: &PullRequest<'_>, topic: &str, size_bytes: usize) {
    let header = &request.header;
    let group = &header.consumer_group;
    if size_bytes > 0
        && is_controlled(broker, group)
        && is_cold(broker, topic, header.queue_id, header.queue_offset)
    {
        broker
            .cold_data
            .record(group, size_bytes as u64, broker.clock.wall_ms());
    }
}

fn is_controlled(broker: &Broker, group: &str) -> bool {
    broker.store_config.get().cold_data_flow_control_enable && !names::is_system_group(group)
}

/// Whether there is a message at this offset, too old to be in memory.
fn is_cold(broker: &Broker, topic: &str, queue_id: i32, offset: i64) -> bool {
    u64::try_from(offset).is_ok_and(|offset| {
        broker
            .store
            .store_time(topic, queue_id, QueueOffset(offset))
            .is_some()
            && !broker.store.is_in_memory(topic, queue_id, QueueOffset(offset))
    })
}

//! Pulls of broadcasting consumers: where a member begins, and how far it is. See `clients/broadcast_offsets.rs`.
//!
//! Reference: `PullMessageProcessor.queryBroadcastPullInitOffset`, `updateBroadcastPulledOffset`.

use common::planted_bug::{PlantedBug, is_planted};
use remoting::body::client::{ConsumeType, MessageModel};
use remoting::codes::response_code;
use store::QueueOffset;

use crate::broker::Broker;
use crate::clients::broadcast_offsets::{Member, broadcast_group};
use crate::processor::pull_checks::PullRequest;

/// `requestSource` of a proxy that pulls for a broadcasting consumer. Reference: `RequestSource.PROXY_FOR_BROADCAST`.
const PROXY_FOR_BROADCAST: i32 = 1;

/// The broadcasting consumer behind a pull.
pub(crate) struct BroadcastPuller {
    client_id: String,
    by_proxy: bool,
}

impl BroadcastPuller {
    /// `None` when the pull is no broadcasting consumer's, or nobody keeps such offsets here.
    pub(crate) fn of(broker: &Broker, request: &PullRequest<'_>) -> Option<Self> {
        if !broker.config.get().enable_broadcast_offset_store {
            return None;
        }
        let header = &request.header;
        if header.request_source == Some(PROXY_FOR_BROADCAST) {
            return Some(BroadcastPuller {
                client_id: header
                    .proxy_froward_client_id
                    .as_deref()
                    .unwrap_or_default()
                    .to_owned(),
                by_proxy: true,
            });
        }
        let consumers = broker.consumers.info(&header.consumer_group)?;
        let is_broadcasting = consumers.message_model == MessageModel::Broadcasting
            && consumers.consume_type == ConsumeType::Passively;
        let channel = consumers
            .channel_of(request.connection())
            .filter(|_| is_broadcasting)?;
        Some(BroadcastPuller {
            client_id: channel.client_id.clone(),
            by_proxy: false,
        })
    }

    /// Where it must go on instead of where it asks for.
    pub(crate) fn initial_offset(&self, broker: &Broker, request: &PullRequest<'_>) -> Option<i64> {
        let header = &request.header;
        broker.broadcast_offsets.initial(
            self.member(request),
            header.queue_id,
            header.queue_offset,
            broker.clock.wall_ms(),
            || first_offset(broker, request),
        )
    }

    /// It has everything before the offset it asked for, or before where it is sent instead.
    pub(crate) fn pulled(&self, broker: &Broker, request: &PullRequest<'_>, code: i32, next_offset: i64) {
        let header = &request.header;
        let offset = match code {
            response_code::PULL_OFFSET_MOVED => next_offset,
            response_code::SUCCESS if is_planted(PlantedBug::CountBroadcastEarly) => next_offset,
            _ => header.queue_offset,
        };
        broker.broadcast_offsets.update(
            self.member(request),
            header.queue_id,
            offset,
            broker.clock.wall_ms(),
        );
    }

    fn member<'a>(&'a self, request: &'a PullRequest<'_>) -> Member<'a> {
        Member {
            topic: &request.header.topic,
            group: &request.header.consumer_group,
            client_id: &self.client_id,
            by_proxy: self.by_proxy,
        }
    }
}

/// Where a member begins that has pulled nothing: where the slowest is; else at the beginning if that is still in memory, else at
/// the end.
fn first_offset(broker: &Broker, request: &PullRequest<'_>) -> i64 {
    let header = &request.header;
    let (topic, queue_id) = (&*header.topic, header.queue_id);
    let committed = broker
        .consumer_offsets
        .query(&broadcast_group(&header.consumer_group), topic, queue_id);
    committed.unwrap_or_else(
        || match broker.store.is_in_memory(topic, queue_id, QueueOffset(0)) {
            true => 0,
            false => broker.store.max_offset(topic, queue_id),
        },
    )
}

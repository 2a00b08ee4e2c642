//! GET_CONSUMER_LIST_BY_GROUP, QUERY_CONSUMER_OFFSET, UPDATE_CONSUMER_OFFSET: what consumers of a group share, its members
//! and its progress. Reference: `ConsumerManageProcessor`.

use remoting::body::client::GetConsumerListByGroupResponseBody;
use remoting::codes::response_code;
use remoting::header::{
    GetConsumerListByGroupRequestHeader, QueryConsumerOffsetRequestHeader, QueryConsumerOffsetResponseHeader,
    UpdateConsumerOffsetRequestHeader,
};
use remoting::request::{Handled, Outcome, Refusal, Request, Response};
use store::QueueOffset;

use crate::broker::Broker;
use crate::processor::json::to_body;
use crate::static_topic::offsets as logical;
use crate::static_topic::queue::{LogicalQueue, PlaceOffsets as _};

/// The client ids of a group: what its members divide the queues by.
pub(crate) fn consumer_list(
    broker: &Broker,
    request: Request<'_, GetConsumerListByGroupRequestHeader<'_>>,
) -> Handled {
    let group = &request.header.consumer_group;
    let consumer_id_list = broker.consumers.client_ids(group);
    if consumer_id_list.is_empty() {
        return Err(Refusal::system_error(format!(
            "no consumer for this group, {group}"
        )));
    }
    let body = GetConsumerListByGroupResponseBody { consumer_id_list };
    Ok(Response::success().body(to_body(&body)?).into())
}

/// Commits an offset.
pub(crate) fn update_offset(
    broker: &Broker,
    request: Request<'_, UpdateConsumerOffsetRequestHeader<'_>>,
) -> Handled {
    let mut header = request.header.clone();
    let queue = broker
        .static_topics
        .find(&header.topic, header.queue_id, header.logical)?;
    if let Some(queue) = queue {
        let place = queue.place_of(header.commit_offset);
        if queue.is_here(place) {
            header.queue_id = place.queue_id;
            header.commit_offset = place.queue_offset(header.commit_offset);
        } else if request.may_block() {
            logical::commit_elsewhere(broker, place, &header)?;
            return Ok(Response::success().into());
        } else {
            return Ok(Outcome::MoveToBlocking);
        }
    }
    let UpdateConsumerOffsetRequestHeader {
        consumer_group: group,
        topic,
        queue_id,
        commit_offset,
        ..
    } = &header;
    if !broker.groups.contains(group) {
        return Err(Refusal::new(
            response_code::SUBSCRIPTION_GROUP_NOT_EXIST,
            format!("Group {group} not exist!"),
        ));
    }
    if !broker.topics.contains(topic) {
        return Err(Refusal::new(
            response_code::TOPIC_NOT_EXIST,
            format!("Topic {topic} not exist!"),
        ));
    }
    if broker.consumer_offsets.has_reset(group, topic, *queue_id) {
        // The consumer has not heard of the reset yet; its commit would undo it.
        return Ok(Response::success()
            .remark("Offset has been previously reset")
            .into());
    }
    let client = request.connection().peer_addr();
    broker
        .consumer_offsets
        .commit(client, group, topic, *queue_id, *commit_offset);
    Ok(Response::success().into())
}

/// The committed offset. Without one a group may begin at 0 if that is still the first message and a recent one.
pub(crate) fn query_offset(
    broker: &Broker,
    request: Request<'_, QueryConsumerOffsetRequestHeader<'_>>,
) -> Handled {
    let header = &request.header;
    let (group, topic, mut queue_id) = (&header.consumer_group, &header.topic, header.queue_id);
    let queue = broker.static_topics.find(topic, queue_id, header.logical)?;
    if let Some(queue) = queue {
        if !queue.is_like_its_place() {
            return query_logical_offset(broker, &request, &queue);
        }
        queue_id = queue.leader().queue_id;
    }
    // A client may have committed one below zero: it counts for nothing.
    let committed = broker.consumer_offsets.query(group, topic, queue_id);
    if let Some(offset) = committed.filter(|offset| *offset >= 0) {
        return Ok(found(offset));
    }
    if header.set_zero_if_not_found == Some(false) {
        return Err(not_found(
            "Not found, do not set to zero, maybe this group boot first",
        ));
    }
    if broker.store.min_offset(topic, queue_id) <= 0
        && broker.store.is_in_memory(topic, queue_id, QueueOffset(0))
    {
        return Ok(found(0));
    }
    Err(not_found(
        "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first",
    ))
}

/// The committed offset of a queue that has moved. It may lie at any of its places, so there is no default.
fn query_logical_offset(
    broker: &Broker,
    request: &Request<'_, QueryConsumerOffsetRequestHeader<'_>>,
    queue: &LogicalQueue,
) -> Handled {
    if !request.may_block() && !logical::all_here(queue) {
        return Ok(Outcome::MoveToBlocking);
    }
    let header = &request.header;
    match logical::committed(broker, &header.consumer_group, &header.topic, queue)? {
        Some(offset) => Ok(found(offset)),
        None => Err(not_found("Not found, maybe this group consumer boot first")),
    }
}

fn found(offset: i64) -> remoting::request::Outcome {
    Response::success()
        .header(&QueryConsumerOffsetResponseHeader { offset })
        .into()
}

fn not_found(remark: &'static str) -> Refusal {
    Refusal::new(response_code::QUERY_NOT_FOUND, remark)
}

//! The offsets of a logical queue: its ends, where it was at a time, and what a group has committed.
//!
//! Each answer is found at one place and numbered logically. Places on other brokers are asked, so these functions are
//! called where they may block, unless [`all_here`] says that no other broker is needed.

use remoting::body::static_topic::LogicQueueMappingItem;
use remoting::codes::{request_code, response_code};
use remoting::fields::DecodeHeader;
use remoting::frame::Frame;
use remoting::header::{
    BoundaryType, GetEarliestMsgStoretimeRequestHeader, GetEarliestMsgStoretimeResponseHeader,
    GetMinOffsetRequestHeader, GetMinOffsetResponseHeader, QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader, SearchOffsetRequestHeader, SearchOffsetResponseHeader,
    UpdateConsumerOffsetRequestHeader,
};
use remoting::request::Refusal;
use store::Boundary;

use super::queue::{LogicalQueue, PlaceOffsets};
use super::refused_by;
use crate::broker::Broker;

/// Whether every place of the queue is on this broker.
pub(crate) fn all_here(queue: &LogicalQueue) -> bool {
    queue.places().iter().all(|place| queue.is_here(place))
}

/// The logical offset of the next message. The last decided place is always here when the queue is led here, except
/// between the two steps of a move; then the end that the mapping tells is the answer.
pub(crate) fn max_offset(broker: &Broker, topic: &str, queue: &LogicalQueue) -> i64 {
    let place = queue.place_of(i64::MAX);
    if queue.is_here(place) {
        place.logical_offset(broker.store.max_offset(topic, place.queue_id))
    } else {
        place.bounded_logical_offset(place.decided_end().unwrap_or(place.start_offset))
    }
}

/// The logical offset of the oldest message.
pub(crate) fn min_offset(broker: &Broker, topic: &str, queue: &LogicalQueue) -> Result<i64, Refusal> {
    let place = queue.place_of(0);
    let queue_offset = if queue.is_here(place) {
        let bounds = broker.store.queue_bounds(topic, place.queue_id);
        bounds.map_or(0, |bounds| bounds.min.to_wire())
    } else {
        let header = GetMinOffsetRequestHeader {
            topic: topic.into(),
            queue_id: place.queue_id,
            logical: Some(false),
        };
        let answer = broker
            .static_topics
            .ask(place, request_code::GET_MIN_OFFSET, &header)?;
        decoded::<GetMinOffsetResponseHeader>(place, &answer)?.offset
    };
    Ok(place.bounded_logical_offset(queue_offset))
}

/// The logical offset of the message stored at a time: at the first place that has one then or later.
pub(crate) fn by_time(
    broker: &Broker,
    topic: &str,
    queue: &LogicalQueue,
    timestamp: i64,
    boundary: BoundaryType,
) -> Result<i64, Refusal> {
    let decided = || queue.places().iter().filter(|place| place.logic_offset >= 0);
    for place in decided() {
        let queue_offset = queue_offset_by_time(broker, topic, queue, place, timestamp, boundary)?;
        let is_beyond = place.decided_end().is_some_and(|end| queue_offset >= end);
        if queue_offset >= 0 && !is_beyond {
            return Ok(place.logical_offset(queue_offset));
        }
    }
    Ok(max_offset(broker, topic, queue))
}

fn queue_offset_by_time(
    broker: &Broker,
    topic: &str,
    queue: &LogicalQueue,
    place: &LogicQueueMappingItem,
    timestamp: i64,
    boundary_type: BoundaryType,
) -> Result<i64, Refusal> {
    if queue.is_here(place) {
        let boundary = match boundary_type {
            BoundaryType::Lower => Boundary::Lower,
            BoundaryType::Upper => Boundary::Upper,
        };
        let found = broker
            .store
            .offset_by_time(topic, place.queue_id, timestamp, boundary);
        return Ok(found);
    }
    let header = SearchOffsetRequestHeader {
        topic: topic.into(),
        queue_id: place.queue_id,
        timestamp,
        boundary_type,
        logical: Some(false),
        ..SearchOffsetRequestHeader::default()
    };
    let answer = broker
        .static_topics
        .ask(place, request_code::SEARCH_OFFSET_BY_TIMESTAMP, &header)?;
    Ok(decoded::<SearchOffsetResponseHeader>(place, &answer)?.offset)
}

/// When the oldest message was stored, -1 without any.
pub(crate) fn earliest_store_time(
    broker: &Broker,
    topic: &str,
    queue: &LogicalQueue,
) -> Result<i64, Refusal> {
    for place in queue.places() {
        let time = if queue.is_here(place) {
            broker
                .store
                .earliest_store_time(topic, place.queue_id)
                .unwrap_or(-1)
        } else {
            let header = GetEarliestMsgStoretimeRequestHeader {
                topic: topic.into(),
                queue_id: place.queue_id,
                logical: Some(false),
            };
            let answer =
                broker
                    .static_topics
                    .ask(place, request_code::GET_EARLIEST_MSG_STORETIME, &header)?;
            decoded::<GetEarliestMsgStoretimeResponseHeader>(place, &answer)?.timestamp
        };
        if time >= 0 {
            return Ok(time);
        }
    }
    Ok(-1)
}

/// What the group has committed last, at the newest place where it has; `None` without any.
pub(crate) fn committed(
    broker: &Broker,
    group: &str,
    topic: &str,
    queue: &LogicalQueue,
) -> Result<Option<i64>, Refusal> {
    for place in queue.places().iter().rev() {
        let offset = if queue.is_here(place) {
            broker.consumer_offsets.query(group, topic, place.queue_id)
        } else {
            committed_elsewhere(broker, group, topic, place)?
        };
        if let Some(offset) = offset {
            return Ok(Some(place.logical_offset(offset)));
        }
    }
    Ok(None)
}

fn committed_elsewhere(
    broker: &Broker,
    group: &str,
    topic: &str,
    place: &LogicQueueMappingItem,
) -> Result<Option<i64>, Refusal> {
    let header = QueryConsumerOffsetRequestHeader {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id: place.queue_id,
        set_zero_if_not_found: Some(false),
        logical: Some(false),
    };
    let answer = broker
        .static_topics
        .ask(place, request_code::QUERY_CONSUMER_OFFSET, &header)?;
    if answer.code == response_code::QUERY_NOT_FOUND {
        return Ok(None);
    }
    Ok(Some(
        decoded::<QueryConsumerOffsetResponseHeader>(place, &answer)?.offset,
    ))
}

/// Commits an offset of a place on another broker there.
pub(crate) fn commit_elsewhere(
    broker: &Broker,
    place: &LogicQueueMappingItem,
    header: &UpdateConsumerOffsetRequestHeader<'_>,
) -> Result<(), Refusal> {
    let header = UpdateConsumerOffsetRequestHeader {
        queue_id: place.queue_id,
        commit_offset: place.queue_offset(header.commit_offset),
        logical: Some(false),
        ..header.clone()
    };
    let answer = broker
        .static_topics
        .ask(place, request_code::UPDATE_CONSUMER_OFFSET, &header)?;
    if answer.code == response_code::SUCCESS {
        Ok(())
    } else {
        Err(refused_by(&place.bname, &answer))
    }
}

fn decoded<'a, H: DecodeHeader<'a>>(place: &LogicQueueMappingItem, answer: &'a Frame) -> Result<H, Refusal> {
    if answer.code != response_code::SUCCESS {
        return Err(refused_by(&place.bname, answer));
    }
    Ok(H::decode(answer.fields())?)
}

//! The offsets of a queue: its ends, and where it was at a time. GET_MAX_OFFSET, GET_MIN_OFFSET,
//! SEARCH_OFFSET_BY_TIMESTAMP, GET_EARLIEST_MSG_STORETIME.
//!
//! A queue that does not exist has offsets too: clients ask before the first message. Queues of static topics have logical
//! offsets, see `static_topic`. Reference: `AdminBrokerProcessor`.

use std::borrow::Cow;

use common::names;
use remoting::header::{
    BoundaryType, GetEarliestMsgStoretimeRequestHeader, GetEarliestMsgStoretimeResponseHeader,
    GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, GetMinOffsetRequestHeader,
    GetMinOffsetResponseHeader, SearchOffsetRequestHeader, SearchOffsetResponseHeader,
};
use remoting::request::{Handled, Outcome, Request, Response};
use store::Boundary;

use crate::broker::Broker;
use crate::static_topic::offsets as logical;

/// The offset the next message will get. `committed` makes no difference without replicas.
pub(crate) fn max_offset(broker: &Broker, request: Request<'_, GetMaxOffsetRequestHeader<'_>>) -> Handled {
    let header = &request.header;
    let queue = broker
        .static_topics
        .find(&header.topic, header.queue_id, header.logical)?;
    let offset = match queue {
        Some(queue) => logical::max_offset(broker, &header.topic, &queue),
        None => broker.store.max_offset(&header.topic, header.queue_id),
    };
    Ok(Response::success()
        .header(&GetMaxOffsetResponseHeader { offset })
        .into())
}

/// The offset of the oldest message.
pub(crate) fn min_offset(broker: &Broker, request: Request<'_, GetMinOffsetRequestHeader<'_>>) -> Handled {
    let header = &request.header;
    let queue = broker
        .static_topics
        .find(&header.topic, header.queue_id, header.logical)?;
    let offset = match queue {
        Some(queue) if !request.may_block() && !logical::all_here(&queue) => {
            return Ok(Outcome::MoveToBlocking);
        }
        Some(queue) => logical::min_offset(broker, &header.topic, &queue)?,
        None => {
            let bounds = broker.store.queue_bounds(&header.topic, header.queue_id);
            bounds.map_or(0, |bounds| bounds.min.to_wire())
        }
    };
    Ok(Response::success()
        .header(&GetMinOffsetResponseHeader { offset })
        .into())
}

/// The offset of the message stored at a time.
pub(crate) fn search_offset(broker: &Broker, request: Request<'_, SearchOffsetRequestHeader<'_>>) -> Handled {
    let header = &request.header;
    let queue = broker
        .static_topics
        .find(&header.topic, header.queue_id, header.logical)?;
    if let Some(queue) = queue {
        let offset = logical::by_time(
            broker,
            &header.topic,
            &queue,
            header.timestamp,
            header.boundary_type,
        )?;
        return Ok(Response::success()
            .header(&SearchOffsetResponseHeader { offset })
            .into());
    }
    let boundary = match header.boundary_type {
        BoundaryType::Lower => Boundary::Lower,
        BoundaryType::Upper => Boundary::Upper,
    };
    let lite_topic = header.lite_topic.as_deref();
    let topic = match lite_topic.filter(|lite_topic| !lite_topic.trim().is_empty()) {
        Some(lite_topic) => Cow::Owned(names::lmq_of_lite_topic(&header.topic, lite_topic)),
        None => Cow::Borrowed(&*header.topic),
    };
    let offset = broker
        .store
        .offset_by_time(&topic, header.queue_id, header.timestamp, boundary);
    Ok(Response::success()
        .header(&SearchOffsetResponseHeader { offset })
        .into())
}

/// When the oldest message was stored, -1 without any.
pub(crate) fn earliest_store_time(
    broker: &Broker,
    request: Request<'_, GetEarliestMsgStoretimeRequestHeader<'_>>,
) -> Handled {
    let header = &request.header;
    let queue = broker
        .static_topics
        .find(&header.topic, header.queue_id, header.logical)?;
    let timestamp = match queue {
        Some(queue) => logical::earliest_store_time(broker, &header.topic, &queue)?,
        None => {
            let time = broker.store.earliest_store_time(&header.topic, header.queue_id);
            time.unwrap_or(-1)
        }
    };
    Ok(Response::success()
        .header(&GetEarliestMsgStoretimeResponseHeader { timestamp })
        .into())
}

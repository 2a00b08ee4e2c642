//! Offsets that an operator moves or copies: reset, clone, correct; and the tables that slaves copy.

use std::collections::BTreeMap;

use common::version::V3_0_7_SNAPSHOT;
use remoting::body::{MessageQueue, QueryCorrectionOffsetBody, ResetOffsetBody, ResetOffsetBodyForC};
use remoting::codes::{request_code, response_code};
use remoting::fields::NoHeader;
use remoting::header::{
    CloneGroupOffsetRequestHeader, QueryCorrectionOffsetHeader, ResetOffsetRequestHeader,
};
use remoting::request::{Handled, OutgoingRequest, Refusal, Request, Response};
use store::Boundary;

use super::progress::may_consume;
use super::write_now;
use crate::broker::Broker;
use crate::processor::json::to_body;

/// Queue to offset.
type Queues = BTreeMap<i32, i64>;

/// INVOKE_BROKER_TO_RESET_OFFSET: moves a group to a time, or in one queue to an offset.
///
/// The broker does it itself and holds it until the group pulls, so the group may be offline; or, with
/// `useServerSideResetOffset` off, it asks the group's members.
pub(crate) fn reset(broker: &Broker, request: Request<'_, ResetOffsetRequestHeader>) -> Handled {
    let header = &request.header;
    let peer = request.call.connection.peer_addr();
    tracing::info!(?header, %peer, "reset offsets");
    if broker.config.get().use_server_side_reset_offset {
        reset_here(broker, header)
    } else {
        let wants_list = request.call.frame.language.name() == "CPP";
        reset_at_clients(broker, header, wants_list)
    }
}

fn reset_here(broker: &Broker, header: &ResetOffsetRequestHeader) -> Handled {
    let ResetOffsetRequestHeader {
        group,
        topic,
        queue_id,
        ..
    } = header;
    let config = broker.topics.get(topic).ok_or_else(|| {
        Refusal::new(
            response_code::TOPIC_NOT_EXIST,
            format!("Topic {topic} does not exist"),
        )
    })?;
    if !broker.groups.contains(group) {
        let remark = format!("Group {group} does not exist");
        return Err(Refusal::new(response_code::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    }
    let queues: Queues = if *queue_id >= 0 {
        BTreeMap::from([(*queue_id, target_offset(broker, header)?)])
    } else {
        (0..config.read_queue_nums)
            .map(|queue_id| (queue_id, offset_at(broker, topic, queue_id, header.timestamp)))
            .collect()
    };
    if queues.is_empty() {
        return Err(Refusal::system_error("No queues to reset."));
    }
    for (queue_id, offset) in &queues {
        broker
            .consumer_offsets
            .assign_reset(group, topic, *queue_id, *offset);
    }
    write_now(broker.consumer_offsets.as_ref())?;
    Ok(Response::success()
        .body(to_body(&reset_body(broker, topic, &queues))?)
        .into())
}

/// Of one queue: the offset asked for, if it lies in the queue, else that of the time.
fn target_offset(broker: &Broker, header: &ResetOffsetRequestHeader) -> Result<i64, Refusal> {
    let ResetOffsetRequestHeader { topic, queue_id, .. } = header;
    let Some(offset) = header.offset.filter(|offset| *offset != -1) else {
        return Ok(offset_at(broker, topic, *queue_id, header.timestamp));
    };
    let min = broker.store.min_offset(topic, *queue_id);
    let max = broker.store.max_offset(topic, *queue_id);
    if offset < min.max(0) || offset > max + 1 {
        return Err(Refusal::system_error(format!(
            "Target offset {offset} not in consume queue range [{min}-{max}]"
        )));
    }
    Ok(offset)
}

/// The offset of a time; of a negative one, the queue's end.
fn offset_at(broker: &Broker, topic: &str, queue_id: i32, timestamp_ms: i64) -> i64 {
    let offset = if timestamp_ms < 0 {
        broker.store.max_offset(topic, queue_id)
    } else {
        broker
            .store
            .offset_by_time(topic, queue_id, timestamp_ms, Boundary::Lower)
    };
    offset.max(0)
}

fn reset_body(broker: &Broker, topic: &str, queues: &Queues) -> ResetOffsetBody {
    let offset_table = queues
        .iter()
        .map(|(queue_id, offset)| {
            (
                MessageQueue::new(topic, &broker.identity.broker_name, *queue_id),
                *offset,
            )
        })
        .collect();
    ResetOffsetBody { offset_table }
}

/// RESET_CONSUMER_CLIENT_OFFSET to every member of the group. Reference: `Broker2Client.resetOffset`.
fn reset_at_clients(broker: &Broker, header: &ResetOffsetRequestHeader, wants_list: bool) -> Handled {
    let ResetOffsetRequestHeader {
        group,
        topic,
        timestamp,
        ..
    } = header;
    let body = reset_body(broker, topic, &client_offsets(broker, header)?);
    let members = broker
        .consumers
        .info(group)
        .map(|info| info.channels())
        .unwrap_or_default();
    if members.is_empty() {
        return Err(Refusal::new(
            response_code::CONSUMER_NOT_ONLINE,
            format!(
                "Consumer not online, so can not reset offset, Group: {group} Topic: {topic} Timestamp: {timestamp}"
            ),
        ));
    }
    if let Some(old) = members.iter().find(|member| member.version < V3_0_7_SNAPSHOT) {
        return Err(super::client::too_old(old.version));
    }
    let to_clients = ResetOffsetRequestHeader {
        group: group.clone(),
        topic: topic.clone(),
        timestamp: *timestamp,
        queue_id: -1,
        offset: None,
        is_force: false,
    };
    let client_body = if wants_list {
        to_body(&ResetOffsetBodyForC::from(&body))?
    } else {
        to_body(&body)?
    };
    let message = OutgoingRequest::new(request_code::RESET_CONSUMER_CLIENT_OFFSET)
        .header(&to_clients)
        .body(client_body);
    for member in members {
        if let Err(error) = member.connection.oneway(message.clone()) {
            tracing::warn!(group, client_id = member.client_id, %error, "member not told of its new offsets");
        }
    }
    Ok(Response::success().body(to_body(&body)?).into())
}

/// Where each queue would be reset to: not forward, unless forced.
fn client_offsets(broker: &Broker, header: &ResetOffsetRequestHeader) -> Result<Queues, Refusal> {
    let ResetOffsetRequestHeader {
        group,
        topic,
        timestamp,
        is_force,
        ..
    } = header;
    let config = broker.topics.get(topic).ok_or_else(|| {
        let remark = format!("[reset-offset] reset offset failed, no topic in this broker. topic={topic}");
        Refusal::new(response_code::TOPIC_NOT_EXIST, remark)
    })?;
    (0..config.write_queue_nums)
        .map(|queue_id| {
            let committed = broker
                .consumer_offsets
                .query(group, topic, queue_id)
                .ok_or_else(|| Refusal::system_error(format!("THe consumer group <{group}> not exist")))?;
            let offset = offset_at(broker, topic, queue_id, *timestamp);
            Ok((queue_id, if *is_force { offset } else { offset.min(committed) }))
        })
        .collect()
}

/// CLONE_GROUP_OFFSET: gives a group the offsets of another, in one topic or all.
pub(crate) fn clone_group(broker: &Broker, request: Request<'_, CloneGroupOffsetRequestHeader>) -> Handled {
    let CloneGroupOffsetRequestHeader {
        src_group,
        dest_group,
        topic,
        offline,
    } = &request.header;
    let topics: Vec<String> = match topic.as_deref().filter(|topic| !topic.trim().is_empty()) {
        Some(topic) => vec![topic.to_owned()],
        None => broker.consumer_offsets.topics_of(src_group).into_iter().collect(),
    };
    for topic in topics.iter().filter(|topic| broker.topics.contains(topic)) {
        if *offline || may_consume(broker, src_group, topic) {
            broker
                .consumer_offsets
                .clone_offsets(src_group, dest_group, topic);
        }
    }
    write_now(broker.consumer_offsets.as_ref())?;
    Ok(Response::success().into())
}

/// QUERY_CORRECTION_OFFSET: per queue the least offset over groups, `i64::MAX` where the compared group is behind it.
pub(crate) fn correction(broker: &Broker, request: Request<'_, QueryCorrectionOffsetHeader>) -> Handled {
    let QueryCorrectionOffsetHeader {
        filter_groups,
        compare_group,
        topic,
    } = &request.header;
    let excluded: Vec<&str> = filter_groups
        .iter()
        .flat_map(|groups| groups.split(','))
        .collect();
    let mut correction_offsets = broker.consumer_offsets.min_offsets(topic, &excluded, |queue_id| {
        broker.store.min_offset(topic, queue_id)
    });
    for (queue_id, compared) in broker.consumer_offsets.offsets_of(compare_group, topic) {
        if let Some(least) = correction_offsets
            .get_mut(&queue_id)
            .filter(|least| **least > compared)
        {
            *least = i64::MAX;
        }
    }
    Ok(Response::success()
        .body(to_body(&QueryCorrectionOffsetBody { correction_offsets })?)
        .into())
}

/// GET_ALL_CONSUMER_OFFSET.
pub(crate) fn all_consumer_offsets(broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    Ok(Response::success()
        .body(to_body(&broker.consumer_offsets.snapshot())?)
        .into())
}

/// GET_ALL_DELAY_OFFSET.
pub(crate) fn all_delay_offsets(broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    Ok(Response::success()
        .body(to_body(&broker.delay_offsets.snapshot())?)
        .into())
}

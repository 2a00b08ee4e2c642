//! Messages and queue entries as an operator sees them: consume one again, have the transaction of one checked again,
//! look at the entries of a queue.

use std::sync::Arc;

use common::message::id::parse_offset_msg_id;
use common::names;
use remoting::body::{ConsumeQueueData, QueryConsumeQueueResponseBody, SubscriptionData};
use remoting::codes::request_code;
use remoting::header::{
    ConsumeMessageDirectlyResultRequestHeader, QueryConsumeQueueRequestHeader,
    ResumeCheckHalfMessageRequestHeader,
};
use remoting::request::{Handled, OutgoingRequest, OwnedRequest, Refusal, Request, Response};
use store::{PhysicalOffset, QueueEntry, QueueOffset, record};

use super::client;
use crate::broker::Broker;
use crate::processor::json::to_body;

/// Most entries of a queue in one answer.
const ENTRY_LIMIT: usize = 65_536;

/// Fields that the broker sets on the way to the client.
const SET_BY_BROKER: [&str; 3] = ["brokerName", "topicSysFlag", "groupSysFlag"];

/// CONSUME_MESSAGE_DIRECTLY: reads the message and has a client consume it now.
pub(crate) async fn consume_directly(
    broker: Arc<Broker>,
    request: OwnedRequest<ConsumeMessageDirectlyResultRequestHeader>,
) -> Handled {
    let header = &request.header;
    let msg_id = header.msg_id.as_deref().unwrap_or_default();
    let (_, physical_offset) = parse_offset_msg_id(msg_id)
        .map_err(|error| Refusal::system_error(format!("message id {msg_id} cannot be read: {error}")))?;
    let record = {
        // An old record is read from disk: not on a thread that serves sockets.
        let broker = Arc::clone(&broker);
        let read = move || broker.store.read_at(PhysicalOffset(physical_offset));
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    };
    let record = record
        .ok_or_else(|| Refusal::system_error(format!("no message with the id {msg_id} in this broker")))?;
    let message = to_client(&broker, &request).body(record);
    client::call(
        &broker,
        &header.consumer_group,
        header.client_id.as_deref().unwrap_or_default(),
        message,
    )
    .await
}

fn to_client(
    broker: &Broker,
    request: &OwnedRequest<ConsumeMessageDirectlyResultRequestHeader>,
) -> OutgoingRequest {
    let header = &request.header;
    let mut message = OutgoingRequest::new(request_code::CONSUME_MESSAGE_DIRECTLY);
    for (name, value) in request
        .fields()
        .filter(|(name, _)| !SET_BY_BROKER.contains(&name.as_ref()))
    {
        if let Some(value) = value {
            message = message.field(&name, value);
        }
    }
    message = message.field("brokerName", &broker.identity.broker_name);
    if let Some(config) = header.topic.as_deref().and_then(|topic| broker.topics.get(topic)) {
        message = message.field("topicSysFlag", config.topic_sys_flag);
    }
    if let Some(config) = broker.groups.find(&header.consumer_group) {
        message = message.field("groupSysFlag", config.group_sys_flag);
    }
    message
}

/// RESUME_CHECK_HALF_MESSAGE: has a half message checked again that was given up.
///
/// The reference does so with any message; here only with what was a half message, as the others are visible already.
/// Reference: `AdminBrokerProcessor.resumeCheckHalfMessage`.
pub(crate) fn resume_half_message(
    broker: &Broker,
    request: Request<'_, ResumeCheckHalfMessageRequestHeader>,
) -> Handled {
    let msg_id = request.header.msg_id.as_deref().unwrap_or_default();
    let refused = |why: &dyn std::fmt::Display| {
        Refusal::system_error(format!(
            "Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed. {msg_id}: {why}"
        ))
    };
    let (_, physical_offset) = parse_offset_msg_id(msg_id).map_err(|error| refused(&error))?;
    let bytes = broker
        .store
        .read_at(PhysicalOffset(physical_offset))
        .ok_or_else(|| refused(&"no message with this id in this broker"))?;
    let record = record::decode(&bytes).map_err(|error| refused(&error))?;
    let was_half = [names::TRANS_HALF_TOPIC, names::TRANS_CHECK_MAX_TIME_TOPIC].contains(&record.topic);
    if !was_half {
        return Err(refused(&"it is no half message"));
    }
    broker
        .transactions
        .resume(record)
        .map_err(|error| refused(&error))?;
    Ok(Response::success().into())
}

/// QUERY_CONSUME_QUEUE: the entries of a queue from an index on, and the subscription of a group.
pub(crate) fn query_consume_queue(
    broker: &Broker,
    request: Request<'_, QueryConsumeQueueRequestHeader>,
) -> Handled {
    let QueryConsumeQueueRequestHeader {
        topic,
        queue_id,
        index,
        count,
        consumer_group,
    } = &request.header;
    let bounds = broker
        .store
        .queue_bounds(topic, *queue_id)
        .ok_or_else(|| Refusal::system_error(format!("{queue_id}@{topic} is not exist!")))?;
    let from = QueueOffset(u64::try_from(*index).unwrap_or(0));
    let most = usize::try_from(*count).unwrap_or(0).min(ENTRY_LIMIT);
    let entries = broker.store.queue_entries(topic, *queue_id, from, most);
    let subscription = consumer_group
        .as_deref()
        .map(|group| (group, broker.consumers.subscription(group, topic)));
    let body = QueryConsumeQueueResponseBody {
        min_queue_index: bounds.min.to_wire(),
        max_queue_index: bounds.max.to_wire(),
        filter_data: match &subscription {
            Some((group, None)) => Some(format!("{group}@{topic} is not online!")),
            // What Java writes for a group that filters by tag.
            Some((_, Some(_))) => Some("null".to_owned()),
            None => None,
        },
        subscription_data: subscription
            .and_then(|(_, subscription)| subscription)
            .map(|subscription| SubscriptionData::clone(&subscription)),
        queue_data: Some(entries.iter().map(queue_data).collect()),
    };
    let mut response = Response::success().body(to_body(&body)?);
    if entries.is_empty() {
        response = response.remark(format!("Index {index} of {queue_id}@{topic} is not exist!"));
    }
    Ok(response.into())
}

fn queue_data(entry: &QueueEntry) -> ConsumeQueueData {
    ConsumeQueueData {
        physic_offset: entry.physical_offset.to_wire(),
        physic_size: i32::try_from(entry.size_bytes).unwrap_or(i32::MAX),
        tags_code: entry.tags_code,
        ..ConsumeQueueData::default()
    }
}

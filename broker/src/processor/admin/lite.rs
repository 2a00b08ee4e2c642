//! Lite topics as an operator asks about them. This broker has none: no topic can be made one, so what is asked of a
//! topic or group is refused as the reference refuses it for ordinary ones. Reference: `LiteManagerProcessor`.

use remoting::body::lite::GetBrokerLiteInfoResponseBody;
use remoting::codes::response_code;
use remoting::fields::NoHeader;
use remoting::header::{
    GetLiteClientInfoRequestHeader, GetLiteGroupInfoRequestHeader, GetLiteTopicInfoRequestHeader,
    GetParentTopicInfoRequestHeader, TriggerLiteDispatchRequestHeader,
};
use remoting::request::{Handled, Refusal, Request, Response};

use super::invalid_parameter;
use super::topic::require_topic;
use crate::broker::Broker;
use crate::processor::json::to_body;

/// GET_BROKER_LITE_INFO: how much of everything there is.
pub(crate) fn broker_info(broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let body = GetBrokerLiteInfoResponseBody {
        store_type: Some("default".to_owned()),
        max_lmq_num: broker.store_config.get().max_lmq_consume_queue_num,
        cq_table_size: count(broker.store.topic_count()),
        offset_table_size: count(broker.consumer_offsets.snapshot().offset_table.len()),
        ..GetBrokerLiteInfoResponseBody::default()
    };
    Ok(Response::success().body(to_body(&body)?).into())
}

/// GET_PARENT_TOPIC_INFO.
pub(crate) fn parent_topic_info(
    broker: &Broker,
    request: Request<'_, GetParentTopicInfoRequestHeader>,
) -> Handled {
    Err(no_lite_topic(broker, &request.header.topic))
}

/// GET_LITE_TOPIC_INFO.
pub(crate) fn topic_info(broker: &Broker, request: Request<'_, GetLiteTopicInfoRequestHeader>) -> Handled {
    let parent_topic = request.header.parent_topic.as_deref().unwrap_or_default();
    Err(no_lite_topic(broker, parent_topic))
}

/// GET_LITE_CLIENT_INFO.
pub(crate) fn client_info(broker: &Broker, request: Request<'_, GetLiteClientInfoRequestHeader>) -> Handled {
    let header = &request.header;
    let parent_topic = header.parent_topic.as_deref().unwrap_or_default();
    require_topic(broker, parent_topic)?;
    require_group(broker, header.group.as_deref().unwrap_or_default())?;
    Err(no_lite_topic(broker, parent_topic))
}

/// GET_LITE_GROUP_INFO.
pub(crate) fn group_info(broker: &Broker, request: Request<'_, GetLiteGroupInfoRequestHeader>) -> Handled {
    Err(no_lite_group(broker, &request.header.group))
}

/// TRIGGER_LITE_DISPATCH.
pub(crate) fn trigger_dispatch(
    broker: &Broker,
    request: Request<'_, TriggerLiteDispatchRequestHeader>,
) -> Handled {
    Err(no_lite_group(broker, &request.header.group))
}

fn no_lite_topic(broker: &Broker, topic: &str) -> Refusal {
    match require_topic(broker, topic) {
        Ok(_) => invalid_parameter(format!("the type of topic {topic} is not LITE")),
        Err(refusal) => refusal,
    }
}

fn no_lite_group(broker: &Broker, group: &str) -> Refusal {
    match require_group(broker, group) {
        Ok(()) => invalid_parameter(format!("the group {group} is not bound to a topic of type LITE")),
        Err(refusal) => refusal,
    }
}

fn require_group(broker: &Broker, group: &str) -> Result<(), Refusal> {
    if broker.groups.contains(group) {
        return Ok(());
    }
    Err(Refusal::new(
        response_code::SUBSCRIPTION_GROUP_NOT_EXIST,
        format!("group [{group}] not exist"),
    ))
}

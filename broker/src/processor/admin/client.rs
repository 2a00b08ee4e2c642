//! Clients: who is connected, and what the broker asks of a client for an operator.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::version::{V3_0_7_SNAPSHOT, V3_1_8_SNAPSHOT};
use remoting::body::{
    Connection as ClientConnection, ConsumerConnection, GetConsumerStatusBody, MessageQueue,
    ProducerConnection, ProducerInfo, ProducerTableInfo, QuerySubscriptionResponseBody, SubscriptionData,
    fastjson,
};
use remoting::codes::{request_code, response_code};
use remoting::connection::InvokeError;
use remoting::fields::NoHeader;
use remoting::frame::Frame;
use remoting::header::{
    GetConsumerConnectionListRequestHeader, GetConsumerRunningInfoRequestHeader,
    GetConsumerStatusRequestHeader, GetProducerConnectionListRequestHeader,
    QuerySubscriptionByConsumerRequestHeader,
};
use remoting::request::{Handled, OutgoingRequest, OwnedRequest, Refusal, Request, Response};

use crate::broker::Broker;
use crate::clients::ClientChannel;
use crate::processor::json::to_body;

/// How long a client may take to tell or do what an operator asked. Reference: `Broker2Client.callClient`.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for its offsets.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// GET_CONSUMER_CONNECTION_LIST.
pub(crate) fn consumer_connections(
    broker: &Broker,
    request: Request<'_, GetConsumerConnectionListRequestHeader>,
) -> Handled {
    let group = &request.header.consumer_group;
    let info = broker.consumers.info(group).ok_or_else(|| {
        Refusal::new(
            response_code::CONSUMER_NOT_ONLINE,
            format!("the consumer group[{group}] not online"),
        )
    })?;
    let body = ConsumerConnection {
        connection_set: connection_set(&info.channels()),
        consume_from_where: info.consume_from_where,
        consume_type: info.consume_type,
        message_model: info.message_model,
        subscription_table: info
            .subscriptions
            .iter()
            .map(|(topic, subscription)| (topic.clone(), SubscriptionData::clone(subscription)))
            .collect(),
    };
    Ok(Response::success().body(to_body(&body)?).into())
}

/// GET_PRODUCER_CONNECTION_LIST.
pub(crate) fn producer_connections(
    broker: &Broker,
    request: Request<'_, GetProducerConnectionListRequestHeader>,
) -> Handled {
    let group = &request.header.producer_group;
    let channels = broker.producers.of_group(group);
    if channels.is_empty() {
        return Err(Refusal::system_error(format!(
            "the producer group[{group}] not exist"
        )));
    }
    let body = ProducerConnection {
        connection_set: connection_set(&channels),
    };
    Ok(Response::success().body(to_body(&body)?).into())
}

fn connection_set(channels: &[Arc<ClientChannel>]) -> Vec<ClientConnection> {
    channels
        .iter()
        .map(|channel| ClientConnection {
            client_addr: channel.connection.peer_addr().to_string(),
            client_id: channel.client_id.clone(),
            language: channel.language.name().to_owned(),
            version: channel.version,
        })
        .collect()
}

/// GET_ALL_PRODUCER_INFO.
pub(crate) fn all_producers(broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    let data = broker
        .producers
        .snapshot()
        .into_iter()
        .map(|(group, channels)| {
            (
                group,
                channels.iter().map(|channel| producer_info(channel)).collect(),
            )
        })
        .collect();
    Ok(Response::success()
        .body(to_body(&ProducerTableInfo { data })?)
        .into())
}

fn producer_info(channel: &ClientChannel) -> ProducerInfo {
    ProducerInfo {
        client_id: channel.client_id.clone(),
        language: channel.language.name().to_owned(),
        last_update_timestamp: channel.last_update_ms(),
        remote_ip: channel.connection.peer_addr().to_string(),
        version: channel.version,
    }
}

/// QUERY_SUBSCRIPTION_BY_CONSUMER.
pub(crate) fn subscription(
    broker: &Broker,
    request: Request<'_, QuerySubscriptionByConsumerRequestHeader>,
) -> Handled {
    let QuerySubscriptionByConsumerRequestHeader { group, topic } = request.header;
    let topic = topic.unwrap_or_default();
    let subscription_data = broker
        .consumers
        .subscription(&group, &topic)
        .map(|subscription| SubscriptionData::clone(&subscription));
    let body = QuerySubscriptionResponseBody {
        group,
        subscription_data,
        topic,
    };
    Ok(Response::success().body(to_body(&body)?).into())
}

/// GET_CONSUMER_RUNNING_INFO, passed on to the client as it came.
pub(crate) async fn running_info(
    broker: Arc<Broker>,
    request: OwnedRequest<GetConsumerRunningInfoRequestHeader>,
) -> Handled {
    let GetConsumerRunningInfoRequestHeader {
        consumer_group,
        client_id,
        ..
    } = &request.header;
    let message = OutgoingRequest::new(request_code::GET_CONSUMER_RUNNING_INFO)
        .fields(request.fields())
        .body(request.body().clone());
    call(&broker, consumer_group, client_id, message).await
}

/// Asks a member of a group over its own connection and hands its answer on, byte for byte.
pub(super) async fn call(broker: &Broker, group: &str, client_id: &str, message: OutgoingRequest) -> Handled {
    let member = broker
        .consumers
        .info(group)
        .and_then(|info| info.channel(client_id).cloned())
        .ok_or_else(|| Refusal::system_error(format!("The Consumer <{group}> <{client_id}> not online")))?;
    if member.version < V3_1_8_SNAPSHOT {
        return Err(Refusal::system_error(format!(
            "The Consumer <{client_id}> Version <{}> too low to finish, please upgrade it to V3_1_8_SNAPSHOT",
            member.version
        )));
    }
    match member.connection.invoke(message, CALL_TIMEOUT).await {
        Ok(answer) => Ok(relayed(&answer).into()),
        Err(InvokeError::Timeout(timeout)) => Err(Refusal::new(
            response_code::CONSUME_MSG_TIMEOUT,
            format!("consumer <{group}> <{client_id}> Timeout: no answer within {timeout:?}"),
        )),
        Err(error) => Err(Refusal::system_error(format!(
            "invoke consumer <{group}> <{client_id}> Exception: {error}"
        ))),
    }
}

fn relayed(answer: &Frame) -> Response {
    let mut response = Response::new(answer.code).body(answer.body.clone());
    if let Some(remark) = answer.remark() {
        response = response.remark(remark.into_owned());
    }
    for (name, value) in answer.fields() {
        if let Some(value) = value {
            response.fields.push_str(&name, &value);
        }
    }
    response
}

/// INVOKE_BROKER_TO_GET_CONSUMER_STATUS: the offsets that the members of a group have in hand, all at once.
pub(crate) async fn status(
    broker: Arc<Broker>,
    request: OwnedRequest<GetConsumerStatusRequestHeader>,
) -> Handled {
    let GetConsumerStatusRequestHeader {
        topic,
        group,
        client_addr,
    } = &request.header;
    let wanted = client_addr
        .as_deref()
        .filter(|client_id| !client_id.trim().is_empty());
    let mut members = broker
        .consumers
        .info(group)
        .map(|info| info.channels())
        .unwrap_or_default();
    if members.is_empty() {
        return Err(Refusal::system_error(format!(
            "No Any Consumer online in the consumer group: [{group}]"
        )));
    }
    members.retain(|member| wanted.is_none_or(|wanted| wanted == member.client_id));
    if let Some(old) = members.iter().find(|member| member.version < V3_0_7_SNAPSHOT) {
        return Err(too_old(old.version));
    }
    let header = GetConsumerStatusRequestHeader {
        topic: topic.clone(),
        group: group.clone(),
        client_addr: None,
    };
    let message = OutgoingRequest::new(request_code::GET_CONSUMER_STATUS_FROM_CLIENT).header(&header);
    let mut asked = tokio::task::JoinSet::new();
    for member in members {
        let message = message.clone();
        asked.spawn(async move { (member.client_id.clone(), offsets_in_hand(&member, message).await) });
    }
    let mut consumer_table = BTreeMap::new();
    while let Some(told) = asked.join_next().await {
        if let Ok((client_id, Some(offsets))) = told {
            consumer_table.insert(client_id, offsets);
        }
    }
    let body = GetConsumerStatusBody {
        consumer_table,
        ..GetConsumerStatusBody::default()
    };
    Ok(Response::success().body(to_body(&body)?).into())
}

async fn offsets_in_hand(
    member: &ClientChannel,
    message: OutgoingRequest,
) -> Option<BTreeMap<MessageQueue, i64>> {
    match member.connection.invoke(message, STATUS_TIMEOUT).await {
        Ok(answer) if answer.code == response_code::SUCCESS => {
            let body: Option<GetConsumerStatusBody> = fastjson::from_slice(&answer.body).ok();
            body.map(|body| body.message_queue_table)
        }
        Ok(answer) => {
            tracing::warn!(
                client_id = member.client_id,
                code = answer.code,
                "client did not tell its offsets"
            );
            None
        }
        Err(error) => {
            tracing::warn!(client_id = member.client_id, %error, "client did not tell its offsets");
            None
        }
    }
}

/// The refusal of what a member's version does not know.
pub(super) fn too_old(version: i32) -> Refusal {
    Refusal::system_error(format!(
        "the client does not support this feature. version={version}"
    ))
}

//! Light topics as an operator asks about them. Reference: `LiteManagerProcessor`, `LiteConsumerLagCalculator`.

use std::cmp::Reverse;
use std::sync::Arc;

use common::names::{self, LMQ_QUEUE_ID};
use remoting::body::lite::{
    ClientGroup, GetBrokerLiteInfoResponseBody, GetLiteClientInfoResponseBody, GetLiteGroupInfoResponseBody,
    GetLiteTopicInfoResponseBody, GetParentTopicInfoResponseBody, LiteLagInfo,
};
use remoting::body::topic::{TopicConfig, TopicOffset};
use remoting::body::{OffsetWrapper, SubscriptionGroupConfig};
use remoting::codes::response_code;
use remoting::fields::NoHeader;
use remoting::header::{
    GetLiteClientInfoRequestHeader, GetLiteGroupInfoRequestHeader, GetLiteTopicInfoRequestHeader,
    GetParentTopicInfoRequestHeader, TriggerLiteDispatchRequestHeader,
};
use remoting::request::{Handled, OwnedRequest, Refusal, Request, Response};
use store::QueueOffset;

use super::invalid_parameter;
use crate::broker::Broker;
use crate::lite::events::FullDispatch;
use crate::lite::{lag, settings, sharding, topics};
use crate::processor::json::to_body;

/// Light topics of a client that are named in one answer.
const MAX_NAMED: i32 = 10_000;
/// Light topics of a group that are named in one answer; the reference takes any number.
const MAX_TOP: i32 = 10_000;

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// GET_BROKER_LITE_INFO: how much of everything there is.
pub(crate) fn broker_info(broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    let body = GetBrokerLiteInfoResponseBody {
        store_type: Some("default".to_owned()),
        max_lmq_num: broker.store_config.get().max_lmq_consume_queue_num,
        current_lmq_num: count(broker.store.light_queue_count()),
        lite_subscription_count: count(broker.lite.look(|subscriptions| subscriptions.active())),
        order_info_count: count(broker.lite_order_info.len()),
        cq_table_size: count(broker.store.topic_count()),
        offset_table_size: count(broker.consumer_offsets.snapshot().offset_table.len()),
        event_map_size: count(broker.lite.event_sets()),
        topic_meta: settings::parent_topics(broker),
        group_meta: settings::groups_by_topic(broker),
    };
    Ok(Response::success().body(to_body(&body)?).into())
}

/// GET_PARENT_TOPIC_INFO.
pub(crate) fn parent_topic_info(
    broker: &Broker,
    request: Request<'_, GetParentTopicInfoRequestHeader>,
) -> Handled {
    let topic = request.header.topic;
    let config = require_parent(broker, &topic)?;
    let body = GetParentTopicInfoResponseBody {
        ttl: settings::expiration_minutes(&config),
        lmq_num: count(broker.store.light_queue_count()),
        lite_topic_count: count(topics::of_parent(broker, &topic).len()),
        groups: settings::groups_by_topic(broker).remove(&topic),
        topic,
    };
    Ok(Response::success().body(to_body(&body)?).into())
}

/// GET_LITE_TOPIC_INFO.
pub(crate) async fn topic_info(
    broker: Arc<Broker>,
    request: OwnedRequest<GetLiteTopicInfoRequestHeader>,
) -> Handled {
    let parent_topic = request.header.parent_topic.unwrap_or_default();
    let lite_topic = request.header.lite_topic.unwrap_or_default();
    require_parent(&broker, &parent_topic)?;
    let lmq = names::lmq_of_lite_topic(&parent_topic, &lite_topic);
    let writable = broker.topic_routes.writable(&parent_topic).await;
    let owner = sharding::bucket_of(&lite_topic, writable.len()).and_then(|bucket| writable.get(bucket));
    let subscribers = broker.lite.look(|subscriptions| {
        let subscribers = subscriptions.subscribers_of(&lmq);
        let subscribers = subscribers.map(|member| ClientGroup {
            client_id: member.client_id.to_string(),
            group: member.group.to_string(),
        });
        subscribers.collect()
    });
    let bounds = broker.store.queue_bounds(&lmq, LMQ_QUEUE_ID);
    let body = GetLiteTopicInfoResponseBody {
        sharding_to_broker: owner.is_none_or(|owner| *owner == broker.identity.broker_name),
        subscriber: subscribers,
        topic_offset: Some(TopicOffset {
            min_offset: bounds.map_or(0, |bounds| bounds.min.to_wire()),
            max_offset: bounds.map_or(0, |bounds| bounds.max.to_wire()),
            last_update_timestamp: topics::last_message_ms(&broker, &lmq).unwrap_or(0),
        }),
        lite_topic,
        parent_topic,
    };
    Ok(Response::success().body(to_body(&body)?).into())
}

/// GET_LITE_CLIENT_INFO.
pub(crate) fn client_info(broker: &Broker, request: Request<'_, GetLiteClientInfoRequestHeader>) -> Handled {
    let header = request.header;
    let parent_topic = header.parent_topic.unwrap_or_default();
    let group = header.group.unwrap_or_default();
    let client_id = header.client_id.unwrap_or_default();
    require_parent(broker, &parent_topic)?;
    let config = require_group(broker, &group)?;
    if settings::bind_topic(&config) != Some(&*parent_topic) {
        let remark = format!("Subscription [{group}]-[{parent_topic}] not match.");
        return Err(invalid_parameter(remark));
    }
    let most = header.max_count.unwrap_or(0).clamp(0, MAX_NAMED);
    let lmqs = broker.lite.look(|subscriptions| {
        let client = subscriptions.of_client(&client_id)?;
        let named = client.lmqs.iter().take(usize::try_from(most).unwrap_or(0));
        Some((client.lmqs.len(), named.map(ToString::to_string).collect()))
    });
    let body = GetLiteClientInfoResponseBody {
        last_access_time: broker.lite.last_access_ms(&client_id).unwrap_or(-1),
        lite_topic_count: lmqs.as_ref().map_or(-1, |(number, _)| count(*number)),
        lite_topic_set: lmqs.map(|(_, named)| named),
        client_id,
        group,
        parent_topic,
        ..GetLiteClientInfoResponseBody::default()
    };
    Ok(Response::success().body(to_body(&body)?).into())
}

/// GET_LITE_GROUP_INFO: how far a group is behind, in one light topic or in all.
pub(crate) fn group_info(broker: &Broker, request: Request<'_, GetLiteGroupInfoRequestHeader>) -> Handled {
    let header = request.header;
    let parent_topic = require_bound(broker, &header.group)?;
    let mut body = GetLiteGroupInfoResponseBody {
        group: header.group,
        parent_topic,
        lite_topic: header.lite_topic.clone(),
        ..GetLiteGroupInfoResponseBody::default()
    };
    match header.lite_topic.filter(|lite_topic| !lite_topic.is_empty()) {
        Some(lite_topic) => look_at_one(broker, &lite_topic, &mut body),
        None => {
            let most = header.top_k.unwrap_or(0);
            if !(1..=MAX_TOP).contains(&most) {
                return Err(Refusal::system_error(format!(
                    "topK is {most}: 1 to {MAX_TOP} light topics can be named"
                )));
            }
            look_at_all(broker, usize::try_from(most).unwrap_or(0), &mut body);
        }
    }
    Ok(Response::success().body(to_body(&body)?).into())
}

fn look_at_one(broker: &Broker, lite_topic: &str, body: &mut GetLiteGroupInfoResponseBody) {
    let lmq = names::lmq_of_lite_topic(&body.parent_topic, lite_topic);
    let end = topics::end_of(broker, &lmq);
    if end <= 0 {
        body.total_lag_count = -1;
        body.earliest_unconsumed_timestamp = -1;
        return;
    }
    let Some(committed) = broker.consumer_offsets.query(&body.group, &lmq, LMQ_QUEUE_ID) else {
        return;
    };
    let store_time = |offset: i64| {
        let offset = QueueOffset(u64::try_from(offset).ok()?);
        broker.store.store_time(&lmq, LMQ_QUEUE_ID, offset)
    };
    body.total_lag_count = end - committed;
    body.earliest_unconsumed_timestamp = store_time(committed).unwrap_or(-1);
    body.lite_topic_offset_wrapper = Some(OffsetWrapper {
        broker_offset: end,
        consumer_offset: committed,
        last_timestamp: match committed {
            ..=0 => 0,
            _ => store_time(committed - 1).unwrap_or(-1),
        },
        ..OffsetWrapper::default()
    });
}

/// The light topics with the most messages waiting, and, with `liteLagLatencyCollectEnable`, those waiting longest.
fn look_at_all(broker: &Broker, most: usize, body: &mut GetLiteGroupInfoResponseBody) {
    let mut lags: Vec<LiteLagInfo> = lag::of_group(broker, &body.group)
        .into_iter()
        .map(|lag| LiteLagInfo {
            earliest_unconsumed_timestamp: lag.waits_since_ms(broker).unwrap_or(-1),
            lag_count: lag.messages,
            lite_topic: lag.lite_topic,
        })
        .collect();
    body.total_lag_count = lags.iter().map(|lag| lag.lag_count).sum();
    body.earliest_unconsumed_timestamp = -1;
    let config = broker.config.get();
    if config.lite_lag_latency_collect_enable {
        let known = lags.iter().filter(|lag| lag.earliest_unconsumed_timestamp >= 0);
        let mut longest: Vec<LiteLagInfo> = known.cloned().collect();
        longest.sort_by_key(|lag| lag.earliest_unconsumed_timestamp);
        longest.truncate(most.min(usize::try_from(config.lite_lag_latency_top_k).unwrap_or(0)));
        let first = longest.first();
        body.earliest_unconsumed_timestamp = first.map_or(-1, |lag| lag.earliest_unconsumed_timestamp);
        body.lag_timestamp_top_k = longest;
    }
    lags.sort_by_key(|lag| Reverse(lag.lag_count));
    lags.truncate(most);
    body.lag_count_top_k = lags;
}

/// TRIGGER_LITE_DISPATCH: clients are told of all queues with messages for them.
pub(crate) fn trigger_dispatch(
    broker: &Broker,
    request: Request<'_, TriggerLiteDispatchRequestHeader>,
) -> Handled {
    let header = request.header;
    require_bound(broker, &header.group)?;
    match header.client_id.filter(|client_id| !client_id.is_empty()) {
        Some(client_id) => {
            let whose = FullDispatch::Client {
                group: Arc::from(header.group),
                client_id: Arc::from(client_id),
            };
            topics::dispatch_all(broker, &whose);
        }
        None => topics::dispatch_all_of_group(broker, &header.group),
    }
    Ok(Response::success().into())
}

fn require_parent(broker: &Broker, topic: &str) -> Result<Arc<TopicConfig>, Refusal> {
    let config = broker.topics.get(topic).ok_or_else(|| {
        let remark = format!("Topic [{topic}] not exist.");
        Refusal::new(response_code::TOPIC_NOT_EXIST, remark)
    })?;
    if settings::is_lite(&config) {
        return Ok(config);
    }
    Err(invalid_parameter(format!("Topic [{topic}] type not match.")))
}

fn require_group(broker: &Broker, group: &str) -> Result<Arc<SubscriptionGroupConfig>, Refusal> {
    broker.groups.get(group).ok_or_else(|| {
        let remark = format!("Group [{group}] not exist.");
        Refusal::new(response_code::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
    })
}

/// The topic whose light topics a group may subscribe to.
fn require_bound(broker: &Broker, group: &str) -> Result<String, Refusal> {
    let config = require_group(broker, group)?;
    let topic = settings::bind_topic(&config).filter(|topic| !topic.is_empty());
    let topic = topic.map(ToOwned::to_owned);
    topic.ok_or_else(|| invalid_parameter(format!("Group [{group}] is not a LITE group.")))
}

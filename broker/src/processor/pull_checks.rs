//! Who may pull what: the checks of a pull, in the reference's order, and the subscription it is filtered by.
//!
//! ```text
//!   broker readable 16 ─> group 26, enabled 16 ─> topic 17, readable 16 ─> queue id 29 ─┐
//!   ┌──────────────────────────────────────────────────────────────────────────────────┘
//!   ├─ pull brings its subscription:  parses 23 ───────────────────────────────────────────────────┬─> filters by properties 1
//!   └─ heartbeat brought it:  group known 24 ─> broadcast 16 ─> allowed 16 ─> there 24, latest 25  │
//!                                                 └─> SQL:  filter there 27, latest 28 ────────────┘
//! ```
//!
//! A pull with an expression that does not parse is refused; the reference, run without assertions, would filter nothing.
//! Reference: `PullMessageProcessor.processRequest`.

use std::sync::Arc;

use common::message::sys_flag;
use common::names;
use remoting::body::client::{ConsumeType, MessageModel};
use remoting::body::group::SubscriptionGroupConfig;
use remoting::body::topic::TopicConfig;
use remoting::codes::{request_code, response_code};
use remoting::header::PullMessageRequestHeader;
use remoting::request::{Refusal, Request, Response};

use crate::broker::Broker;
use crate::filter::expression::{self, ExpressionError, ExpressionFilter};
use crate::filter::sql92::Sql92;
use crate::filter::tags;
use crate::processor::refusals::FAQ;
use crate::registry::consumer_filters::ConsumerFilter;
use crate::registry::topics::perm;

/// The number of the read permission's bit. Reference: `PermName.INDEX_PERM_READ`.
const READ_BIT: u32 = 2;

pub(crate) type PullRequest<'a> = Request<'a, PullMessageRequestHeader<'a>>;

/// A pull that may go ahead.
#[derive(Debug)]
pub(crate) struct CheckedPull {
    pub(crate) group: Arc<SubscriptionGroupConfig>,
    pub(crate) topic: Arc<TopicConfig>,
    pub(crate) filter: ExpressionFilter,
}

/// A pull turned down, with what forbids it if it is a permission.
#[derive(Debug)]
pub(crate) struct PullRefusal {
    refusal: Refusal,
    forbidden_by: Option<ForbiddenBy>,
}

/// Reference: `ForbiddenType`.
#[derive(Clone, Copy, Debug)]
enum ForbiddenBy {
    Broker = 1,
    Group = 2,
    Topic = 3,
    BroadcastDisabled = 4,
    Subscription = 5,
}

impl PullRefusal {
    fn new(code: i32, remark: impl Into<String>) -> Self {
        PullRefusal {
            refusal: Refusal::new(code, remark.into()),
            forbidden_by: None,
        }
    }

    fn forbidden(by: ForbiddenBy, remark: String) -> Self {
        PullRefusal {
            refusal: Refusal::new(response_code::NO_PERMISSION, remark),
            forbidden_by: Some(by),
        }
    }
}

impl From<Refusal> for PullRefusal {
    fn from(refusal: Refusal) -> Self {
        PullRefusal {
            refusal,
            forbidden_by: None,
        }
    }
}

impl From<PullRefusal> for Response {
    fn from(refused: PullRefusal) -> Self {
        let response = Response::from(refused.refusal);
        match refused.forbidden_by {
            Some(by) => response.field("forbiddenType", by as i32),
            None => response,
        }
    }
}

/// Checks a pull and finds its subscription.
pub(crate) fn check(broker: &Broker, request: &PullRequest<'_>) -> Result<CheckedPull, PullRefusal> {
    let header = &request.header;
    require_readable_broker(broker, request)?;
    let group = enabled_group(broker, header)?;
    let topic = readable_topic(broker, header)?;
    require_valid_queue(request, &topic)?;
    let filter = if header.sys_flag & sys_flag::pull::SUBSCRIPTION != 0 {
        let filter = filter_of_request(broker, header)?;
        if let Some(events) = broker.stats.events() {
            let (group, topic) = (&header.consumer_group, &header.topic);
            events
                .silent
                .note(group, topic, false, &filter, broker.clock.wall_ms());
        }
        filter
    } else {
        filter_of_heartbeat(broker, header, &group)?
    };
    require_accepted_consumer(broker, request)?;
    Ok(CheckedPull { group, topic, filter })
}

fn require_readable_broker(broker: &Broker, request: &PullRequest<'_>) -> Result<(), PullRefusal> {
    let config = broker.config.get();
    if config.broker_permission & perm::READ == 0 {
        let remark = format!("the broker[{}] pulling message is forbidden", config.broker_ip1);
        return Err(PullRefusal::forbidden(ForbiddenBy::Broker, remark));
    }
    if request.code() == request_code::LITE_PULL_MESSAGE && !config.lite_pull_message_enable {
        let remark = format!(
            "the broker[{}] for lite pull consumer is forbidden",
            config.broker_ip1
        );
        return Err(PullRefusal::forbidden(ForbiddenBy::Broker, remark));
    }
    Ok(())
}

fn enabled_group(
    broker: &Broker,
    header: &PullMessageRequestHeader<'_>,
) -> Result<Arc<SubscriptionGroupConfig>, PullRefusal> {
    let name = &header.consumer_group;
    let group = broker.groups.find(name).ok_or_else(|| {
        PullRefusal::new(
            response_code::SUBSCRIPTION_GROUP_NOT_EXIST,
            format!("subscription group [{name}] does not exist, {FAQ}"),
        )
    })?;
    if !group.consume_enable {
        let remark = format!("subscription group no permission, {name}");
        return Err(PullRefusal::forbidden(ForbiddenBy::Group, remark));
    }
    Ok(group)
}

fn readable_topic(
    broker: &Broker,
    header: &PullMessageRequestHeader<'_>,
) -> Result<Arc<TopicConfig>, PullRefusal> {
    let name = &header.topic;
    let topic = broker.topics.get(name).ok_or_else(|| {
        PullRefusal::new(
            response_code::TOPIC_NOT_EXIST,
            format!("topic[{name}] not exist, apply first please! {FAQ}"),
        )
    })?;
    if topic.perm & perm::READ == 0 {
        let remark = format!("the topic[{name}] pulling message is forbidden");
        return Err(PullRefusal::forbidden(ForbiddenBy::Topic, remark));
    }
    Ok(topic)
}

fn require_valid_queue(request: &PullRequest<'_>, topic: &TopicConfig) -> Result<(), PullRefusal> {
    let header = &request.header;
    if (0..topic.read_queue_nums).contains(&header.queue_id) {
        return Ok(());
    }
    Err(PullRefusal::new(
        response_code::INVALID_PARAMETER,
        format!(
            "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}] consumer:[{}]",
            header.queue_id,
            header.topic,
            topic.read_queue_nums,
            request.connection().peer_addr()
        ),
    ))
}

fn filter_of_request(
    broker: &Broker,
    header: &PullMessageRequestHeader<'_>,
) -> Result<ExpressionFilter, PullRefusal> {
    let expression = header.subscription.as_deref().unwrap_or_default();
    let expression_type = header.expression_type.as_deref().unwrap_or_default();
    if tags::is_tag_type(expression_type) {
        return Ok(filter_of_tags(&header.topic, expression)?);
    }
    let compiled = if expression.is_empty() {
        None
    } else {
        let (group, topic) = (&header.consumer_group, &header.topic);
        compile(broker, group, topic, expression_type, expression).ok()
    };
    let compiled = compiled.ok_or_else(not_parsed)?;
    require_property_filter(broker, expression_type)?;
    Ok(ExpressionFilter::Sql92(compiled))
}

/// The filter of a request that brings tags.
pub(crate) fn filter_of_tags(topic: &str, expression: &str) -> Result<ExpressionFilter, Refusal> {
    let subscription = tags::build(topic, expression).map_err(|_| not_parsed())?;
    Ok(ExpressionFilter::of_tags(&subscription))
}

/// An expression that is none of its type.
pub(crate) fn not_parsed() -> Refusal {
    Refusal::new(
        response_code::SUBSCRIPTION_PARSE_FAILED,
        "parse the consumer's subscription failed",
    )
}

/// Most clients sent the same expression in a heartbeat, and it was compiled then.
pub(crate) fn compile(
    broker: &Broker,
    group: &str,
    topic: &str,
    expression_type: &str,
    expression: &str,
) -> Result<Sql92, ExpressionError> {
    let known = broker.consumer_filters.get(group, topic);
    match known
        .filter(|known| known.data.expression == expression && known.data.expression_type == expression_type)
    {
        Some(known) => Ok(known.compiled.clone()),
        None => expression::compile(expression_type, expression),
    }
}

fn filter_of_heartbeat(
    broker: &Broker,
    header: &PullMessageRequestHeader<'_>,
    group: &SubscriptionGroupConfig,
) -> Result<ExpressionFilter, PullRefusal> {
    let (name, topic) = (&header.consumer_group, &header.topic);
    let consumers = broker.consumers.info(name).ok_or_else(|| {
        PullRefusal::new(
            response_code::SUBSCRIPTION_NOT_EXIST,
            format!("the consumer's group info not exist{FAQ}"),
        )
    })?;
    if !group.consume_broadcast_enable && consumers.message_model == MessageModel::Broadcasting {
        let remark = format!("the consumer group[{name}] can not consume by broadcast way");
        return Err(PullRefusal::forbidden(ForbiddenBy::BroadcastDisabled, remark));
    }
    if broker.groups.is_forbidden(name, topic, READ_BIT) {
        let remark = format!("the consumer group[{name}] is forbidden for topic[{topic}]");
        return Err(PullRefusal::forbidden(ForbiddenBy::Subscription, remark));
    }
    let subscription = consumers.subscriptions.get(&**topic).cloned().ok_or_else(|| {
        PullRefusal::new(
            response_code::SUBSCRIPTION_NOT_EXIST,
            format!("the consumer's subscription not exist{FAQ}"),
        )
    })?;
    if subscription.sub_version < header.sub_version {
        return Err(PullRefusal::new(
            response_code::SUBSCRIPTION_NOT_LATEST,
            "the consumer's subscription not latest",
        ));
    }
    if tags::is_tag_type(&subscription.expression_type) {
        return Ok(ExpressionFilter::of_tags(&subscription));
    }
    let filter = registered_filter(broker, header)?;
    require_property_filter(broker, &subscription.expression_type)?;
    let of_retried = broker.config.get().filter_support_retry && names::group_of_retry_topic(topic).is_some();
    Ok(match of_retried {
        true => ExpressionFilter::Retried(broker.consumer_filters.of_group(name)),
        false => ExpressionFilter::Sql92(filter.compiled.clone()),
    })
}

fn registered_filter(
    broker: &Broker,
    header: &PullMessageRequestHeader<'_>,
) -> Result<Arc<ConsumerFilter>, PullRefusal> {
    let filter = broker
        .consumer_filters
        .get(&header.consumer_group, &header.topic)
        .ok_or_else(|| {
            PullRefusal::new(
                response_code::FILTER_DATA_NOT_EXIST,
                "The broker's consumer filter data is not exist!Your expression may be wrong!",
            )
        })?;
    if filter.data.client_version < header.sub_version {
        return Err(PullRefusal::new(
            response_code::FILTER_DATA_NOT_LATEST,
            "the consumer's consumer filter data not latest",
        ));
    }
    Ok(filter)
}

/// Looking at the properties of every message costs, so an operator must allow it.
pub(crate) fn require_property_filter(broker: &Broker, expression_type: &str) -> Result<(), Refusal> {
    if broker.config.get().enable_property_filter {
        return Ok(());
    }
    Err(Refusal::new(
        response_code::SYSTEM_ERROR,
        format!("The broker does not support consumer to filter message by {expression_type}"),
    ))
}

/// With `rejectPullConsumerEnable` only consumers that heartbeats made known may pull, and the tools.
fn require_accepted_consumer(broker: &Broker, request: &PullRequest<'_>) -> Result<(), PullRefusal> {
    let group = &request.header.consumer_group;
    if !broker.config.get().reject_pull_consumer_enable || names::is_system_group(group) {
        return Ok(());
    }
    let accepted = broker.consumers.info(group).is_some_and(|consumers| {
        consumers.consume_type != ConsumeType::Actively || consumers.has_connection(request.connection())
    });
    if accepted {
        return Ok(());
    }
    Err(PullRefusal::new(
        response_code::SUBSCRIPTION_NOT_EXIST,
        format!("the consumer's group info not exist, or the pull consumer is rejected by server.{FAQ}"),
    ))
}

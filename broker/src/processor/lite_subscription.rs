//! LITE_SUBSCRIPTION_CTL: clients say which light topics they want, one by one or all at once.
//!
//! A broker takes subscriptions to light topics that belong to it or exist here. In an exclusive group the last client that
//! subscribes to a light topic has it, and the one before is told. Reference: `LiteSubscriptionCtlProcessor`,
//! `LiteSubscriptionRegistryImpl`.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::names::{self, LMQ_QUEUE_ID};
use remoting::body::{
    LiteSubscriptionAction, LiteSubscriptionCtlRequestBody, LiteSubscriptionDto, OffsetOption,
    OffsetOptionType, SubscriptionGroupConfig,
};
use remoting::codes::response_code;
use remoting::connection::Connection;
use remoting::fields::NoHeader;
use remoting::request::{Handled, OwnedRequest, Refusal, Response};

use crate::broker::Broker;
use crate::clients::notify;
use crate::lite::subscriptions::{ClientSubscription, Member, Who, wildcard_lmq};
use crate::lite::{settings, sharding, topics};
use crate::processor::json::parse_body;
use crate::processor::pop_order;
use crate::registry::order_info::GroupQueue;

/// Values of [`OffsetOptionType::Policy`].
const FROM_BEGINNING: i64 = 1;
const FROM_END: i64 = 2;

/// Does what each entry says, in turn. Entries without client, group or topic are passed over.
pub(crate) async fn control(broker: Arc<Broker>, request: OwnedRequest<NoHeader>) -> Handled {
    if request.body().is_empty() {
        return Err(illegal("Request body is null."));
    }
    let body: LiteSubscriptionCtlRequestBody = parse_body(request.body())?;
    if body.subscription_set.is_empty() {
        return Err(illegal("LiteSubscriptionCtlRequestBody is empty."));
    }
    for entry in &body.subscription_set {
        let names = [&entry.client_id, &entry.group, &entry.topic];
        if names.iter().all(|name| !name.trim().is_empty()) {
            apply(&broker, request.connection(), entry).await?;
        }
    }
    Ok(Response::success().into())
}

fn illegal(remark: &'static str) -> Refusal {
    Refusal::new(response_code::ILLEGAL_OPERATION, remark)
}

async fn apply(
    broker: &Broker,
    connection: &Arc<Connection>,
    entry: &LiteSubscriptionDto,
) -> Result<(), Refusal> {
    match entry.action {
        LiteSubscriptionAction::PartialAdd => {
            let group = require_consuming(broker, &entry.group)?;
            if settings::is_wildcard(&group) {
                return Err(illegal(
                    "subscribe lite operation is not supported for this group",
                ));
            }
            // The reference asks once for the whole entry, too.
            require_quota(broker, 0)?;
            let lmqs = active_lmqs(broker, entry).await;
            add(broker, connection, entry, &group, &lmqs)
        }
        LiteSubscriptionAction::CompleteAdd => {
            let group = require_consuming(broker, &entry.group)?;
            if settings::is_wildcard(&group) {
                let lmqs = BTreeSet::from([wildcard_lmq(&entry.topic, &entry.group)]);
                return replace(broker, connection, entry, &group, &lmqs);
            }
            let lmqs = active_lmqs(broker, entry).await;
            replace(broker, connection, entry, &group, &lmqs)
        }
        LiteSubscriptionAction::PartialRemove => {
            remove(broker, entry);
            Ok(())
        }
        LiteSubscriptionAction::CompleteRemove => {
            broker.lite.remove_client(&entry.client_id);
            Ok(())
        }
    }
}

fn require_consuming(broker: &Broker, group: &str) -> Result<Arc<SubscriptionGroupConfig>, Refusal> {
    let config = broker.groups.find(group).filter(|config| config.consume_enable);
    config.ok_or_else(|| illegal("Consumer group is not allowed to consume."))
}

/// `more` subscriptions than there are must not exceed `maxLiteSubscriptionCount`.
fn require_quota(broker: &Broker, more: usize) -> Result<(), Refusal> {
    let quota = broker.config.get().max_lite_subscription_count;
    let active = broker.lite.look(|subscriptions| subscriptions.active());
    let is_exceeded = match more {
        0 => active >= usize::try_from(quota).unwrap_or(0),
        more => active.saturating_add(more) > usize::try_from(quota).unwrap_or(0),
    };
    if is_exceeded {
        return Err(over_quota(format!("lite subscription quota exceeded {quota}")));
    }
    Ok(())
}

fn over_quota(remark: String) -> Refusal {
    Refusal::new(response_code::LITE_SUBSCRIPTION_QUOTA_EXCEEDED, remark)
}

/// The light message queues of an entry that belong to this broker, or exist here.
async fn active_lmqs(broker: &Broker, entry: &LiteSubscriptionDto) -> BTreeSet<String> {
    let queues = broker.topic_routes.writable(&entry.topic).await;
    let belongs_here = |lite_topic: &str| {
        let bucket = sharding::bucket_of(lite_topic, queues.len());
        let owner = bucket.and_then(|bucket| queues.get(bucket));
        owner.is_none_or(|owner| *owner == broker.identity.broker_name)
    };
    let named = entry
        .lite_topic_set
        .iter()
        .filter(|lite_topic| !lite_topic.is_empty());
    named
        .map(|lite_topic| (lite_topic, names::lmq_of_lite_topic(&entry.topic, lite_topic)))
        .filter(|(lite_topic, lmq)| belongs_here(lite_topic) || topics::end_of(broker, lmq) > 0)
        .map(|(_, lmq)| lmq)
        .collect()
}

/// Notes that the client is there.
fn touch(
    broker: &Broker,
    connection: &Arc<Connection>,
    entry: &LiteSubscriptionDto,
    group: &SubscriptionGroupConfig,
) -> Result<Member, Refusal> {
    let capacity = settings::max_events(group, broker.config.get().max_client_event_count);
    let who = Who {
        client_id: &entry.client_id,
        group: &entry.group,
        topic: &entry.topic,
    };
    broker
        .lite
        .touch(who, connection, capacity)
        .ok_or_else(|| over_quota("too many clients subscribe to light topics".to_owned()))
}

/// These too.
fn add(
    broker: &Broker,
    connection: &Arc<Connection>,
    entry: &LiteSubscriptionDto,
    group: &SubscriptionGroupConfig,
    lmqs: &BTreeSet<String>,
) -> Result<(), Refusal> {
    let member = touch(broker, connection, entry, group)?;
    for lmq in lmqs {
        if settings::is_exclusive(group) {
            take_over(broker, group, &member, lmq);
        }
        if let Some(option) = entry.offset_option {
            reset_offset(broker, &entry.group, lmq, option);
        }
        begin(broker, &member, lmq, false);
    }
    Ok(())
}

/// A member has a light topic from now on, unless it had it before.
fn begin(broker: &Broker, member: &Member, lmq: &str, is_wildcard: bool) {
    if broker.lite.change(|subscriptions| subscriptions.add(member, lmq)) {
        let has_messages = topics::end_of(broker, lmq) > 0;
        broker.lite.subscribed(member, lmq, is_wildcard, has_messages);
    }
}

/// The others of the group that had the light topic have it no longer, and are told.
fn take_over(broker: &Broker, group: &SubscriptionGroupConfig, member: &Member, lmq: &str) {
    let (group_name, client_id) = (&*member.group, &member.client_id);
    let before = broker
        .lite
        .look(|subscriptions| subscriptions.members_of(group_name, lmq));
    for loser in before.iter().filter(|loser| loser.client_id != *client_id) {
        let connection = broker.lite.change(|subscriptions| {
            let client = subscriptions.of_client(&loser.client_id);
            let connection = client.and_then(ClientSubscription::connection);
            subscriptions.remove(loser, lmq);
            subscriptions.forget_if_idle(&loser.client_id);
            connection
        });
        tracing::info!(lmq, group = group_name, from = %loser.client_id, to = %client_id, "a light topic is taken over");
        if let Some((_, lite_topic)) = names::lite_topic_of_lmq(lmq)
            && let Some(connection) = connection
        {
            notify::lite_topic_lost(&connection, group_name, &loser.client_id, lite_topic);
        }
        if settings::resets_when_taken_over(group) {
            reset_to_beginning(broker, group_name, lmq);
        }
    }
}

/// These and no others.
fn replace(
    broker: &Broker,
    connection: &Arc<Connection>,
    entry: &LiteSubscriptionDto,
    group: &SubscriptionGroupConfig,
    lmqs: &BTreeSet<String>,
) -> Result<(), Refusal> {
    let is_wildcard = settings::is_wildcard(group);
    let known = broker.lite.look(|subscriptions| {
        let client = subscriptions.of_client(&entry.client_id);
        client.map(|client| client.lmqs.clone()).unwrap_or_default()
    });
    let added: Vec<&String> = lmqs.iter().filter(|lmq| !known.contains(lmq.as_str())).collect();
    if !added.is_empty() {
        require_quota(broker, added.len())?;
    }
    let member = touch(broker, connection, entry, group)?;
    broker.lite.change(|subscriptions| {
        for lmq in known.iter().filter(|lmq| !lmqs.contains(&***lmq)) {
            subscriptions.remove(&member, lmq);
        }
        if is_wildcard {
            subscriptions.mark_wildcard(&entry.topic, &member.group);
        }
    });
    for lmq in added {
        begin(broker, &member, lmq, is_wildcard);
    }
    Ok(())
}

/// These no longer.
fn remove(broker: &Broker, entry: &LiteSubscriptionDto) {
    let client = broker
        .lite
        .look(|subscriptions| subscriptions.of_client(&entry.client_id).cloned());
    let Some(client) = client else {
        return;
    };
    let member = Member {
        group: client.group,
        client_id: Arc::from(entry.client_id.as_str()),
    };
    let config = broker.groups.find(&entry.group);
    let resets = config.is_some_and(|config| settings::resets_when_unsubscribed(&config));
    for lite_topic in &entry.lite_topic_set {
        let lmq = names::lmq_of_lite_topic(&entry.topic, lite_topic);
        let was_there = broker
            .lite
            .change(|subscriptions| subscriptions.remove(&member, &lmq));
        if was_there && resets {
            reset_to_beginning(broker, &member.group, &lmq);
        }
    }
}

fn reset_to_beginning(broker: &Broker, group: &str, lmq: &str) {
    let option = OffsetOption {
        kind: OffsetOptionType::Policy,
        value: FROM_BEGINNING,
    };
    reset_offset(broker, group, lmq, option);
}

/// Makes the group go on elsewhere in a light topic. A time has no effect, as in the reference.
fn reset_offset(broker: &Broker, group: &str, lmq: &str, option: OffsetOption) {
    let current = broker.consumer_offsets.query(group, lmq, LMQ_QUEUE_ID);
    let target = match (option.kind, option.value) {
        (OffsetOptionType::Policy, FROM_BEGINNING) => Some(0),
        (OffsetOptionType::Policy, FROM_END) => Some(topics::end_of(broker, lmq)),
        (OffsetOptionType::Offset, offset) => Some(offset),
        (OffsetOptionType::TailN, count) => current.map(|current| current.saturating_sub(count).max(0)),
        (OffsetOptionType::Policy | OffsetOptionType::Timestamp, _) => None,
    };
    let Some(target) = target.filter(|target| current != Some(*target)) else {
        return;
    };
    let queue = GroupQueue {
        topic: lmq,
        group,
        queue_id: LMQ_QUEUE_ID,
    };
    {
        let _lock = broker.pop_locks.lock(lmq, group, LMQ_QUEUE_ID);
        broker
            .consumer_offsets
            .assign_reset(group, lmq, LMQ_QUEUE_ID, target);
        broker.lite_order_info.clear(queue);
        pop_order::keep_batch(&broker.lite_order_info, queue, target);
    }
    // Those that had the light topic before hear of nothing else.
    broker.lite.dispatch(lmq, Some(group), None);
}

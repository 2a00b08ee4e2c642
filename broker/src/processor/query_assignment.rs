//! QUERY_ASSIGNMENT, SET_MESSAGE_REQUEST_MODE, GET_ALL_MESSAGE_REQUEST_MODE: which queues a consumer gets, shared out by the
//! broker, and whether it pulls or pops them.
//!
//! ```text
//!   pull   the queues, dealt to the members        AVG: in blocks    AVG_BY_CIRCLE: one by one
//!   pop    every broker, any queue (-1)            if all share, or nearly all
//!          the blocks of this member and of the popShareQueueNum after it, otherwise
//! ```
//!
//! Reference: `QueryAssignmentProcessor`.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::names::{self, LMQ_QUEUE_ID};
use remoting::body::{
    MessageModel, MessageQueue, MessageQueueAssignment, MessageRequestMode, QueryAssignmentRequestBody,
    QueryAssignmentResponseBody, SetMessageRequestModeRequestBody,
};
use remoting::codes::response_code;
use remoting::fields::NoHeader;
use remoting::request::{Handled, OwnedRequest, Refusal, Request, Response};

use crate::broker::Broker;
use crate::config;
use crate::processor::json::{parse_body, to_body};
use crate::registry::persist::Table as _;

/// The queue id that means any queue of a broker.
const ANY_QUEUE: i32 = -1;

/// Answers a consumer's share of a topic. No share at all tells it to keep what it has.
pub(crate) async fn query_assignment(broker: Arc<Broker>, request: OwnedRequest<NoHeader>) -> Handled {
    let asked: QueryAssignmentRequestBody = parse_body(request.body())?;
    let mode = mode_of(&broker, &asked.topic, &asked.consumer_group);
    let queues = queues_of(&broker, &asked.topic).await;
    let share = queues.and_then(|queues| share_of(&broker, &asked, &mode, &queues));
    let body = QueryAssignmentResponseBody {
        message_queue_assignments: share.map(|queues| {
            let assignments = queues.into_iter().map(|message_queue| MessageQueueAssignment {
                message_queue,
                mode: mode.mode,
                ..MessageQueueAssignment::default()
            });
            assignments.collect()
        }),
    };
    Ok(Response::success().body(to_body(&body)?).into())
}

/// What was set for topic and group, or the broker's default. Retry topics are pulled.
fn mode_of(broker: &Broker, topic: &str, group: &str) -> SetMessageRequestModeRequestBody {
    if let Some(mode) = broker.request_modes.get(topic, group) {
        return mode;
    }
    let config = broker.config.get();
    let is_retry = topic.starts_with(names::RETRY_TOPIC_PREFIX);
    let pops = config.default_message_request_mode == config::MessageRequestMode::Pop && !is_retry;
    SetMessageRequestModeRequestBody {
        consumer_group: group.to_owned(),
        mode: if pops {
            MessageRequestMode::Pop
        } else {
            MessageRequestMode::Pull
        },
        pop_share_queue_num: if pops {
            config.default_pop_share_queue_num
        } else {
            0
        },
        topic: topic.to_owned(),
    }
}

/// The queues of a topic on all brokers. Without name servers there is this broker only.
async fn queues_of(broker: &Broker, topic: &str) -> Option<Arc<BTreeSet<MessageQueue>>> {
    let own = |queue_id| MessageQueue::new(topic, &broker.identity.broker_name, queue_id);
    if topic.starts_with(names::LMQ_PREFIX) {
        return Some(Arc::new(BTreeSet::from([own(LMQ_QUEUE_ID)])));
    }
    if broker.config.get().namesrv_addr.trim().is_empty() {
        let config = broker.topics.get(topic)?;
        return Some(Arc::new((0..config.read_queue_nums).map(own).collect()));
    }
    broker.topic_routes.queues(topic).await
}

/// Reference: `doLoadBalance`.
fn share_of(
    broker: &Broker,
    asked: &QueryAssignmentRequestBody,
    mode: &SetMessageRequestModeRequestBody,
    queues: &BTreeSet<MessageQueue>,
) -> Option<BTreeSet<MessageQueue>> {
    if asked.message_model == MessageModel::Broadcasting || !broker.config.get().server_load_balancer_enable {
        return Some(queues.clone());
    }
    broker.consumers.info(&asked.consumer_group)?;
    let members = broker.consumers.client_ids(&asked.consumer_group);
    let queues: Vec<MessageQueue> = queues.iter().cloned().collect();
    let dealer = Dealer::named(&asked.strategy_name)?;
    match mode.mode {
        MessageRequestMode::Pull => dealer.deal(&queues, &members, &asked.client_id),
        MessageRequestMode::Pop => share_to_pop(
            dealer,
            &queues,
            &members,
            &asked.client_id,
            mode.pop_share_queue_num,
        ),
    }
}

/// How queues are dealt to members. Reference: `AllocateMessageQueueStrategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dealer {
    /// Neighbouring queues to each; the first members get the odd ones.
    InBlocks,
    /// One to each, round and round.
    ByCircle,
}

impl Dealer {
    fn named(strategy: &str) -> Option<Self> {
        match strategy {
            "AVG" => Some(Dealer::InBlocks),
            "AVG_BY_CIRCLE" => Some(Dealer::ByCircle),
            _ => {
                tracing::warn!(
                    strategy,
                    "unknown strategy to share queues out: the consumer keeps what it has"
                );
                None
            }
        }
    }

    /// The queues of one member, empty for a stranger; `None` when there is nothing to deal, or nobody asked.
    fn deal(
        self,
        queues: &[MessageQueue],
        members: &[String],
        client_id: &str,
    ) -> Option<BTreeSet<MessageQueue>> {
        if client_id.trim().is_empty() || queues.is_empty() || members.is_empty() {
            return None;
        }
        let Some(index) = members.iter().position(|member| member == client_id) else {
            return Some(BTreeSet::new());
        };
        Some(self.queues_of(queues, members.len(), index).cloned().collect())
    }

    fn queues_of(
        self,
        queues: &[MessageQueue],
        members: usize,
        index: usize,
    ) -> Box<dyn Iterator<Item = &MessageQueue> + '_> {
        match self {
            Dealer::ByCircle => Box::new(queues.iter().skip(index).step_by(members)),
            Dealer::InBlocks => {
                let (each, odd) = (queues.len() / members, queues.len() % members);
                let size = each + usize::from(index < odd);
                let start = index * each + index.min(odd);
                Box::new(queues.iter().skip(start).take(size))
            }
        }
    }
}

/// Reference: `allocate4Pop`.
fn share_to_pop(
    dealer: Dealer,
    queues: &[MessageQueue],
    members: &[String],
    client_id: &str,
    share_queue_num: i32,
) -> Option<BTreeSet<MessageQueue>> {
    let others = i64::try_from(members.len()).unwrap_or(i64::MAX) - 1;
    if share_queue_num <= 0 || i64::from(share_queue_num) >= others {
        let any = queues
            .iter()
            .map(|queue| MessageQueue::new(&queue.topic, &queue.broker_name, ANY_QUEUE));
        return Some(any.collect());
    }
    if members.len() > queues.len() {
        return deal_one(queues, members, client_id);
    }
    let mut share = dealer.deal(queues, members, client_id)?;
    if let Some(index) = members.iter().position(|member| member == client_id) {
        let following = 1..=usize::try_from(share_queue_num).unwrap_or(0);
        for next in following.map(|distance| (index + distance) % members.len()) {
            share.extend(dealer.deal(queues, members, &members[next])?);
        }
    }
    Some(share)
}

/// With more members than queues each still gets one.
fn deal_one(queues: &[MessageQueue], members: &[String], client_id: &str) -> Option<BTreeSet<MessageQueue>> {
    if client_id.trim().is_empty() || queues.is_empty() {
        return None;
    }
    let index = members.iter().position(|member| member == client_id);
    Some(
        index
            .map(|index| queues[index % queues.len()].clone())
            .into_iter()
            .collect(),
    )
}

/// SET_MESSAGE_REQUEST_MODE: whether a group pulls or pops a topic. On disk before it is answered.
pub(crate) fn set_mode(broker: &Broker, request: Request<'_, NoHeader>) -> Handled {
    let mode: SetMessageRequestModeRequestBody = parse_body(request.body())?;
    if mode.topic.starts_with(names::RETRY_TOPIC_PREFIX) {
        return Err(Refusal::new(
            response_code::NO_PERMISSION,
            "retry topic is not allowed to set mode",
        ));
    }
    if !broker.topics.contains(&mode.topic) {
        return Err(Refusal::new(
            response_code::TOPIC_NOT_EXIST,
            format!("topic[{}] not exist", mode.topic),
        ));
    }
    if broker.groups.find(&mode.consumer_group).is_none() {
        return Err(Refusal::new(
            response_code::SUBSCRIPTION_GROUP_NOT_EXIST,
            "subscription group does not exist",
        ));
    }
    tracing::info!(?mode, peer = %request.connection().peer_addr(), "set message request mode");
    broker.request_modes.set(mode);
    broker
        .request_modes
        .flush()
        .map_err(|error| Refusal::system_error(format!("changed in memory, but not on disk: {error}")))?;
    Ok(Response::success().into())
}

/// GET_ALL_MESSAGE_REQUEST_MODE.
pub(crate) fn all_modes(broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    Ok(Response::success()
        .body(to_body(&broker.request_modes.snapshot())?)
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(count: i32) -> Vec<MessageQueue> {
        (0..count).map(|id| MessageQueue::new("t", "b", id)).collect()
    }

    fn members(count: usize) -> Vec<String> {
        (0..count).map(|id| format!("c{id}")).collect()
    }

    fn ids(share: Option<BTreeSet<MessageQueue>>) -> Vec<i32> {
        share
            .expect("a share")
            .into_iter()
            .map(|queue| queue.queue_id)
            .collect()
    }

    #[test]
    fn queues_are_dealt_in_blocks_or_by_circle() {
        let deal = |dealer: Dealer, queue_count, member_count| -> Vec<Vec<i32>> {
            let (queues, members) = (queues(queue_count), members(member_count));
            members
                .iter()
                .map(|member| ids(dealer.deal(&queues, &members, member)))
                .collect()
        };
        assert_eq!(
            deal(Dealer::InBlocks, 8, 3),
            [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]
        );
        assert_eq!(
            deal(Dealer::ByCircle, 8, 3),
            [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5]]
        );
        assert_eq!(deal(Dealer::InBlocks, 2, 3), [vec![0], vec![1], vec![]]);
        assert_eq!(
            ids(Dealer::InBlocks.deal(&queues(2), &members(1), "stranger")),
            []
        );
        assert_eq!(Dealer::InBlocks.deal(&[], &members(1), "c0"), None);
        assert_eq!(Dealer::named("CONFIG"), None);
    }

    #[test]
    fn members_that_pop_get_any_queue_or_share_those_of_their_followers() {
        let share = |queue_count, member_count, share_queue_num, member| {
            let (queues, members) = (queues(queue_count), members(member_count));
            ids(share_to_pop(
                Dealer::InBlocks,
                &queues,
                &members,
                member,
                share_queue_num,
            ))
        };
        for share_queue_num in [-1, 0, 3, 9] {
            assert_eq!(share(8, 4, share_queue_num, "c1"), [-1], "{share_queue_num}");
        }
        assert_eq!(share(8, 4, 1, "c0"), [0, 1, 2, 3]);
        assert_eq!(share(8, 4, 2, "c3"), [0, 1, 2, 3, 6, 7]);
        assert_eq!(share(3, 5, 1, "c4"), [1]);
        assert_eq!(share(3, 5, 1, "stranger"), []);
    }
}

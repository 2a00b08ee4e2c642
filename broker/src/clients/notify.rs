//! One-way requests to clients over their own connections. Reference: `Broker2Client`.

use std::borrow::Cow;
use std::sync::Arc;

use remoting::codes::request_code;
use remoting::connection::Connection;
use remoting::header::{NotifyConsumerIdsChangedRequestHeader, NotifyUnsubscribeLiteRequestHeader};
use remoting::request::OutgoingRequest;

use super::ClientChannel;

/// Tells the members of a consumer group to rebalance now.
///
/// A member that cannot be told finds out at its next rebalance, 20 s later at most, so a failure is only traced.
/// One that has yet to read the last notice about this group is not sent another one.
pub fn consumer_ids_changed<'a>(group: &Arc<str>, members: impl Iterator<Item = &'a Arc<ClientChannel>>) {
    let header = NotifyConsumerIdsChangedRequestHeader {
        consumer_group: Cow::Borrowed(group),
    };
    let notice = OutgoingRequest::new(request_code::NOTIFY_CONSUMER_IDS_CHANGED).header(&header);
    for member in members {
        if let Err(error) = member.connection.notify(group, &notice) {
            tracing::debug!(
                %group,
                client_id = member.client_id,
                "member not told to rebalance: {error}"
            );
        }
    }
}

/// Tells a client that another one of its group has taken a light topic over.
///
/// A client that cannot be told finds out when it next says what it subscribes to.
pub fn lite_topic_lost(connection: &Arc<Connection>, group: &str, client_id: &str, lite_topic: &str) {
    let header = NotifyUnsubscribeLiteRequestHeader {
        lite_topic: Cow::Borrowed(lite_topic),
        consumer_group: Cow::Borrowed(group),
        client_id: Cow::Borrowed(client_id),
    };
    let request = OutgoingRequest::new(request_code::NOTIFY_UNSUBSCRIBE_LITE).header(&header);
    if let Err(error) = connection.oneway(request) {
        tracing::debug!(
            group,
            client_id,
            lite_topic,
            "client not told to unsubscribe: {error}"
        );
    }
}

/// Asks one of a group's producers how a transaction ended: the `turn`th, or the next one that can be reached.
///
/// Reference: `ProducerManager.getAvailableChannel`.
pub fn check_transaction_state(
    group: &str,
    producers: &[Arc<ClientChannel>],
    turn: usize,
    request: &OutgoingRequest,
) {
    let first = turn.checked_rem(producers.len()).unwrap_or(0);
    for producer in producers.iter().cycle().skip(first).take(producers.len()) {
        match producer.connection.oneway(request.clone()) {
            Ok(()) => return,
            Err(error) => tracing::debug!(
                group,
                client_id = producer.client_id,
                "producer not asked about a transaction: {error}"
            ),
        }
    }
    tracing::warn!(group, "nobody to ask how a transaction ended");
}

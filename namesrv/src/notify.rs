//! Tells the members of a group that its smallest broker id changed: they decide by it who acts as master.
//!
//! Best effort, as in the reference: members also ask for their group from time to time. Off unless
//! `notifyMinBrokerIdChanged`.
//!
//! Reference: `RouteInfoManager.notifyMinBrokerIdChanged`.

use remoting::client::Client;
use remoting::codes::request_code;
use remoting::header::NotifyMinBrokerIdChangeRequestHeader;
use remoting::request::OutgoingRequest;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::route_table::MinBrokerIdChange;

/// Changes that wait to be told. More are dropped with a warning.
const WAITING_CHANGES: usize = 1_024;

/// Where events leave changes to be told.
#[derive(Debug)]
pub(crate) struct Notifier {
    changes: mpsc::Sender<MinBrokerIdChange>,
}

/// The other end, from which [`deliver`] takes them.
pub(crate) type Changes = mpsc::Receiver<MinBrokerIdChange>;

impl Notifier {
    pub(crate) fn new() -> (Notifier, Changes) {
        let (changes, receiver) = mpsc::channel(WAITING_CHANGES);
        (Notifier { changes }, receiver)
    }

    /// Does not wait: called by handlers and services.
    pub(crate) fn notify(&self, change: &MinBrokerIdChange) {
        if let Err(error) = self.changes.try_send(change.clone()) {
            warn!(
                ?change,
                "members are not told of their new smallest broker id: {error}"
            );
        }
    }
}

/// Tells one change after the other, until the notifier is gone.
pub(crate) async fn deliver(mut changes: Changes, client: Client) {
    while let Some(change) = changes.recv().await {
        info!(?change, "smallest broker id changed");
        for addr in &change.notify {
            if let Err(error) = client.oneway(addr, request(&change)).await {
                warn!(addr, "not told of the new smallest broker id: {error}");
            }
        }
    }
}

fn request(change: &MinBrokerIdChange) -> OutgoingRequest {
    OutgoingRequest::new(request_code::NOTIFY_MIN_BROKER_ID_CHANGE).header(
        &NotifyMinBrokerIdChangeRequestHeader {
            min_broker_id: Some(change.min_broker_id),
            broker_name: None,
            min_broker_addr: Some(change.min_broker_addr.clone()),
            offline_broker_addr: change.offline_broker_addr.clone(),
            ha_broker_addr: change.ha_broker_addr.clone(),
        },
    )
}

//! Static topics: topics whose queues have numbers of their own and may move from broker to broker.
//!
//! ```text
//!   request for a logical queue ──> find ──┬─ ordinary topic, or sent on by another broker (lo=false): as it is
//!                                          ├─ not led here: NOT_LEADER_FOR_QUEUE
//!                                          └─ LogicalQueue: place by offset ──┬─ here: handled with the place's queue
//!                                                                             └─ elsewhere: peers ask that broker
//!                                             answer in logical offsets again
//! ```
//!
//! The processors translate at their border; what lies behind them knows queues of this broker only.
//!
//! ```text
//!   queue     a logical queue: its places, and the offsets of one in those of the other
//!   offsets   min, max, by time, committed: asked of the places
//!   pull      which place a pull reads, and where it goes on
//!   peers     requests to the other brokers of a topic, by broker name
//! ```
//!
//! Reference: `TopicQueueMappingManager`, `rewriteRequestForStaticTopic` of the processors, `RpcClient`.

pub(crate) mod offsets;
pub(crate) mod peers;
pub mod pull;
pub mod queue;

use std::sync::Arc;

use remoting::body::static_topic::LogicQueueMappingItem;
use remoting::codes::response_code;
use remoting::fields::EncodeHeader;
use remoting::frame::Frame;
use remoting::request::{OutgoingRequest, Refusal};

use crate::registry::QueueMappings;
use peers::Peers;
use queue::LogicalQueue;

/// The static topics of a broker and the way to the other brokers of them.
#[derive(Debug)]
pub(crate) struct StaticTopics {
    pub(crate) mappings: Arc<QueueMappings>,
    pub(crate) peers: Peers,
}

impl StaticTopics {
    /// The logical queue a request is for, which this broker leads. `None` where the queue is what it says: of an
    /// ordinary topic, or `logical` is false, as in requests that brokers send on.
    ///
    /// # Errors
    /// NOT_LEADER_FOR_QUEUE when another broker leads it, or none.
    pub(crate) fn find(
        &self,
        topic: &str,
        queue_id: i32,
        logical: Option<bool>,
    ) -> Result<Option<LogicalQueue>, Refusal> {
        if logical == Some(false) {
            return Ok(None);
        }
        let Some(mapping) = self.mappings.get(topic) else {
            return Ok(None);
        };
        match LogicalQueue::led(&mapping, queue_id) {
            Some(queue) => Ok(Some(queue)),
            None => Err(Refusal::new(
                response_code::NOT_LEADER_FOR_QUEUE,
                format!(
                    "{topic}-{queue_id} does not exit in request process of current broker {}",
                    mapping.bname
                ),
            )),
        }
    }

    /// As [`find`](Self::find), for sends: a negative queue id lets the broker choose among the queues that it hosts.
    ///
    /// # Errors
    /// NOT_LEADER_FOR_QUEUE as for [`find`](Self::find).
    pub(crate) fn find_for_send(
        &self,
        topic: &str,
        queue_id: i32,
        logical: Option<bool>,
    ) -> Result<Option<LogicalQueue>, Refusal> {
        let chosen = match self.mappings.get(topic) {
            Some(mapping) if queue_id < 0 => LogicalQueue::any_led(&mapping).unwrap_or(queue_id),
            _ => queue_id,
        };
        self.find(topic, chosen, logical)
    }

    /// Asks the broker of a place about its own queue; `header` must say `lo=false`. Only where the caller may block.
    ///
    /// # Errors
    /// As [`Peers::ask`].
    fn ask(
        &self,
        place: &LogicQueueMappingItem,
        code: i32,
        header: &impl EncodeHeader,
    ) -> Result<Frame, Refusal> {
        let request = OutgoingRequest::new(code)
            .header(header)
            .field("bname", &place.bname);
        self.peers.ask(&place.bname, request)
    }
}

/// The refusal that another broker answered with, passed on.
fn refused_by(broker_name: &str, answer: &Frame) -> Refusal {
    let remark = answer.remark().unwrap_or_default();
    Refusal::new(answer.code, format!("broker {broker_name}: {remark}"))
}

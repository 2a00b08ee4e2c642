//! Where a send may go: the checks that sends and replies share, in the reference's order.
//!
//! ```text
//!   broker writable? ─> topic name valid? ─> sending allowed? ─> topic there, or made now ─> queue id valid?
//!        16                   29                  16                      17                      29
//! ```
//!
//! The topic's own write permission is not checked, as in the reference: routes without it keep producers away.
//! Reference: `AbstractSendMessageProcessor.msgCheck`.

use std::net::SocketAddr;
use std::sync::Arc;

use common::message::sys_flag;
use common::names;
use remoting::body::topic::{TopicConfig, TopicFilterType};
use remoting::codes::response_code;
use remoting::header::SendMessageRequestHeader;
use remoting::request::Refusal;

use crate::broker::Broker;
use crate::processor::refusals::FAQ;
use crate::registry::topics::perm;

/// What a sender says about where its message shall go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendTarget<'a> {
    pub(crate) topic: &'a str,
    /// Whose settings a new topic takes over.
    pub(crate) default_topic: &'a str,
    pub(crate) default_topic_queue_nums: i32,
    /// Negative lets the broker choose.
    pub(crate) queue_id: i32,
    pub(crate) unit_mode: bool,
    pub(crate) producer: SocketAddr,
}

impl<'a> SendTarget<'a> {
    pub(crate) fn of(header: &'a SendMessageRequestHeader<'_>, producer: SocketAddr) -> Self {
        SendTarget {
            topic: &header.topic,
            default_topic: &header.default_topic,
            default_topic_queue_nums: header.default_topic_queue_nums,
            queue_id: header.queue_id,
            unit_mode: header.unit_mode,
            producer,
        }
    }

    /// The topic, created if that is allowed; refuses what may not be sent there.
    pub(crate) fn check(&self, broker: &Broker) -> Result<Arc<TopicConfig>, Refusal> {
        require_open_for_sends(broker)?;
        self.require_writable_broker(broker)?;
        names::validate_topic(self.topic)
            .map_err(|error| Refusal::new(response_code::INVALID_PARAMETER, error.to_string()))?;
        if names::is_not_allowed_send_topic(self.topic) {
            return Err(Refusal::new(
                response_code::NO_PERMISSION,
                format!("Sending message to topic[{}] is forbidden.", self.topic),
            ));
        }
        let topic_config = match broker.topics.get(self.topic) {
            Some(topic_config) => topic_config,
            None => self.create(broker)?,
        };
        self.require_valid_queue(&topic_config)?;
        Ok(topic_config)
    }

    /// Only order topics are stopped by the broker's permission: their producers keep sending to the same queue, all
    /// others see the change in the route.
    fn require_writable_broker(&self, broker: &Broker) -> Result<(), Refusal> {
        let config = broker.config.get();
        if config.broker_permission & perm::WRITE != 0 || !broker.topics.is_order(self.topic) {
            return Ok(());
        }
        Err(Refusal::new(
            response_code::NO_PERMISSION,
            format!("the broker[{}] sending message is forbidden", config.broker_ip1),
        ))
    }

    fn create(&self, broker: &Broker) -> Result<Arc<TopicConfig>, Refusal> {
        let is_retry = names::group_of_retry_topic(self.topic).is_some();
        let topic_sys_flag = match (self.unit_mode, is_retry) {
            (false, _) => 0,
            (true, true) => sys_flag::topic::UNIT_SUB,
            (true, false) => sys_flag::topic::UNIT,
        };
        let created = broker.topics.create_on_send(
            self.topic,
            self.default_topic,
            self.default_topic_queue_nums,
            topic_sys_flag,
            self.producer,
        );
        match created {
            Some(topic_config) => Ok(topic_config),
            None if is_retry => Ok(broker.topics.create_on_send_back(
                self.topic,
                1,
                perm::READ | perm::WRITE,
                false,
                topic_sys_flag,
            )),
            None => Err(Refusal::new(
                response_code::TOPIC_NOT_EXIST,
                format!("topic[{}] not exist, apply first please!{FAQ}", self.topic),
            )),
        }
    }

    fn require_valid_queue(&self, topic_config: &TopicConfig) -> Result<(), Refusal> {
        let queue_nums = topic_config.write_queue_nums.max(topic_config.read_queue_nums);
        if self.queue_id < queue_nums {
            return Ok(());
        }
        Err(Refusal::new(
            response_code::INVALID_PARAMETER,
            format!(
                "request queueId[{}] is illegal, {} Producer: {}",
                self.queue_id,
                text_of(topic_config),
                self.producer
            ),
        ))
    }

    /// The queue to write to.
    pub(crate) fn queue_id(&self, broker: &Broker, topic_config: &TopicConfig) -> i32 {
        if self.queue_id >= 0 {
            return self.queue_id;
        }
        broker.random.below(topic_config.write_queue_nums)
    }
}

/// A topic as the reference writes it into remarks. Reference: `TopicConfig.toString`.
fn text_of(topic_config: &TopicConfig) -> String {
    let mark = |bit, mark| if topic_config.perm & bit != 0 { mark } else { '-' };
    let attributes: Vec<String> = topic_config
        .attributes
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let filter_type = match topic_config.topic_filter_type {
        TopicFilterType::SingleTag => "SINGLE_TAG",
        TopicFilterType::MultiTag => "MULTI_TAG",
    };
    format!(
        "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}{}{}, topicFilterType={filter_type}, \
         topicSysFlag={}, order={}, attributes={{{}}}]",
        topic_config.topic_name,
        topic_config.read_queue_nums,
        topic_config.write_queue_nums,
        mark(perm::READ, 'R'),
        mark(perm::WRITE, 'W'),
        mark(perm::INHERIT, 'X'),
        topic_config.topic_sys_flag,
        topic_config.order,
        attributes.join(", ")
    )
}

/// An operator may let the broker start before it shall take messages.
fn require_open_for_sends(broker: &Broker) -> Result<(), Refusal> {
    let opens_at_ms = broker.config.get().start_accept_send_request_time_stamp;
    if opens_at_ms <= 0 || broker.clock.wall_ms() >= opens_at_ms {
        return Ok(());
    }
    Err(Refusal::system_error(format!(
        "broker unable to service, until {opens_at_ms} ms since 1970"
    )))
}

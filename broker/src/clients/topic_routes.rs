//! TopicRoutes: the queues of a topic on all brokers, as the name servers tell them.
//!
//! Asked for on demand by whoever shares queues out, and remembered for `loadBalancePollNameServerInterval`. When no name
//! server answers, what was known last counts. Reference: `TopicRouteInfoManager`, which asks for every topic again and again.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use common::clock::Clock;
use common::properties::Live;
use remoting::body::{MessageQueue, TopicRouteData, fastjson};
use remoting::client::{Client, ClientConfig};
use remoting::codes::{request_code, response_code};
use remoting::request::OutgoingRequest;

use crate::config::{BrokerConfig, namesrv_addresses};
use crate::registry::topics::perm;

/// Topics remembered; beyond, all are forgotten and asked for again.
pub const MAX_TOPICS: usize = 100_000;
/// How long one name server may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The readable queues of a topic, sorted.
pub type Queues = Arc<BTreeSet<MessageQueue>>;

/// What name servers say about a topic.
#[derive(Clone)]
struct Route {
    queues: Queues,
    /// The broker of each writable queue, in the order in which producers count them.
    writable: Arc<[String]>,
}

/// What is known of the topics of all brokers.
pub struct TopicRoutes {
    config: Arc<Live<BrokerConfig>>,
    clock: Arc<dyn Clock>,
    /// Made on first use: that is inside a runtime.
    client: OnceLock<Client>,
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Clone)]
struct Known {
    route: Route,
    asked: Duration,
}

/// A name server's answer.
enum Told {
    Route(Route),
    NoSuchTopic,
}

impl TopicRoutes {
    /// Nothing known yet.
    pub fn new(config: Arc<Live<BrokerConfig>>, clock: Arc<dyn Clock>) -> Self {
        TopicRoutes {
            config,
            clock,
            client: OnceLock::new(),
            known: Mutex::default(),
        }
    }

    /// The readable queues of a topic; `None` when no name server knows it, or none answers and it was never known.
    pub async fn queues(&self, topic: &str) -> Option<Queues> {
        self.route(topic).await.map(|route| route.queues)
    }

    /// The broker of each queue that producers may send to, in their order; none when that is not known.
    /// Reference: `MQClientInstance.topicRouteData2TopicPublishInfo`.
    pub async fn writable(&self, topic: &str) -> Arc<[String]> {
        if self.config.get().namesrv_addr.trim().is_empty() {
            return Arc::default();
        }
        let route = self.route(topic).await;
        route.map(|route| route.writable).unwrap_or_default()
    }

    async fn route(&self, topic: &str) -> Option<Route> {
        let now = self.clock.monotonic();
        let known = self.known().get(topic).cloned();
        let config = self.config.get();
        let fresh = u64::try_from(config.load_balance_poll_name_server_interval).unwrap_or(0);
        if let Some(known) = &known
            && now.saturating_sub(known.asked) < Duration::from_millis(fresh)
        {
            return Some(known.route.clone());
        }
        match self.ask(topic, &config.namesrv_addr).await {
            Some(Told::Route(route)) => {
                self.remember(topic, &route, now);
                Some(route)
            }
            Some(Told::NoSuchTopic) => {
                self.known().remove(topic);
                None
            }
            None => known.map(|known| known.route),
        }
    }

    /// Asks one name server after the other, until one answers.
    async fn ask(&self, topic: &str, namesrv_addr: &str) -> Option<Told> {
        let client = self.client.get_or_init(|| Client::new(ClientConfig::default()));
        for address in namesrv_addresses(namesrv_addr) {
            let request = OutgoingRequest::new(request_code::GET_ROUTEINFO_BY_TOPIC)
                .field("topic", topic)
                .field("acceptStandardJsonOnly", true);
            match client.invoke(address, request, ANSWER_TIMEOUT).await {
                Ok(answer) if answer.code == response_code::SUCCESS => {
                    match fastjson::from_slice::<TopicRouteData>(&answer.body) {
                        Ok(route) => {
                            return Some(Told::Route(Route {
                                queues: Arc::new(readable_queues(topic, &route)),
                                writable: writable_queues(&route),
                            }));
                        }
                        Err(error) => {
                            tracing::warn!(topic, address, %error, "route of a topic cannot be read");
                        }
                    }
                }
                Ok(answer) if answer.code == response_code::TOPIC_NOT_EXIST => {
                    return Some(Told::NoSuchTopic);
                }
                Ok(answer) => tracing::warn!(topic, address, code = answer.code, "no route of a topic"),
                Err(error) => tracing::warn!(topic, address, %error, "no route of a topic"),
            }
        }
        None
    }

    fn remember(&self, topic: &str, route: &Route, asked: Duration) {
        let mut known = self.known();
        if known.len() >= MAX_TOPICS {
            known.clear();
        }
        let route = route.clone();
        known.insert(topic.to_owned(), Known { route, asked });
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Reference: `MQClientInstance.topicRouteData2TopicSubscribeInfo`.
fn readable_queues(topic: &str, route: &TopicRouteData) -> BTreeSet<MessageQueue> {
    let readable = route
        .queue_datas
        .iter()
        .filter(|data| data.perm & perm::READ != 0);
    readable
        .flat_map(|data| {
            (0..data.read_queue_nums).map(|queue_id| MessageQueue::new(topic, &data.broker_name, queue_id))
        })
        .collect()
}

/// By broker name, each as often as it has queues. A broker without a master takes no messages.
fn writable_queues(route: &TopicRouteData) -> Arc<[String]> {
    let has_master = |name: &str| {
        let mut brokers = route.broker_datas.iter();
        brokers.any(|broker| broker.broker_name == name && broker.broker_addrs.contains_key(&0))
    };
    let writable = route
        .queue_datas
        .iter()
        .filter(|data| data.perm & perm::WRITE != 0);
    let mut queues: Vec<_> = writable.filter(|data| has_master(&data.broker_name)).collect();
    queues.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
    let each = |data: &&remoting::body::QueueData| {
        let count = usize::try_from(data.write_queue_nums).unwrap_or(0);
        std::iter::repeat_n(data.broker_name.clone(), count)
    };
    queues.iter().flat_map(each).collect()
}

#[cfg(test)]
mod tests {
    use remoting::body::QueueData;

    use super::*;

    #[test]
    fn the_queues_of_all_brokers_that_may_be_read_are_given_in_order() {
        let on = |broker: &str, perm, read_queue_nums| QueueData {
            broker_name: broker.to_owned(),
            perm,
            read_queue_nums,
            ..QueueData::default()
        };
        let route = TopicRouteData {
            queue_datas: vec![on("b", 6, 1), on("a", 4, 2), on("c", 2, 8)],
            ..TopicRouteData::default()
        };
        let queues: Vec<(String, i32)> = readable_queues("t", &route)
            .into_iter()
            .map(|queue| (queue.broker_name, queue.queue_id))
            .collect();
        let wanted = [("a", 0), ("a", 1), ("b", 0)];
        assert_eq!(queues, wanted.map(|(broker, id)| (broker.to_owned(), id)));
    }
}

//! RouteTable: which brokers are alive, which topics each of them serves.
//!
//! A state machine without clock, file or socket: every method is an event or a question, and events that
//! depend on time are told what time it is. Whatever must happen outside because of an event (close a
//! connection, tell brokers about a new smallest id) is its return value.
//!
//! ```text
//!   clusters   cluster       -> {broker name}
//!   groups     broker name   -> cluster, zone, acting master?, {broker id -> address}     id 0 is the master
//!   live       (cluster, address) -> broker name, last heard, timeout, data version, connection, HA address
//!   topics     topic         -> [broker name, queue counts, permission]
//!   mappings   topic         -> {broker name -> static topic mapping}
//! ```
//!
//! Invariants
//! - A group has at least one address, and is named by at least one cluster; clusters name only groups.
//! - An address stands at most once in a group.
//! - Every address of a group is alive under that group's name, so silence ends it.
//! - A topic has at least one broker, and only brokers that are groups.
//! - Only the master writes a group's topics; where acting masters are enabled, the smallest living slave may
//!   while there is no master, but always without write permission.
//!
//! All of it is one value behind one lock (see [`crate::Namesrv`]), so an answer never mixes two states.
//!
//! Reference: `RouteInfoManager`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use common::clock::Now;
use common::names;
use remoting::body::{
    BrokerData, BrokerMemberGroup, ClusterInfo, DataVersion, QueueData, TopicConfig, TopicQueueMappingInfo,
    TopicRouteData,
};
use thiserror::Error;
use tracing::{debug, info, warn};

/// Broker id of the master in its group.
pub const MASTER_ID: i64 = 0;

/// A broker that names no `heartbeatTimeoutMillis` is dropped after this silence.
pub const DEFAULT_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(120);

/// Permission bits of a topic. Reference: `PermName`.
mod perm {
    pub const READ: i32 = 1 << 2;
    pub const WRITE: i32 = 1 << 1;
}

/// `topicSysFlag` bits. Reference: `TopicSysFlag`.
const UNIT: i32 = 1;
const UNIT_SUB: i32 = 1 << 1;

/// Identifies the connection a broker registered over, for [`RouteTable::connection_closed`].
pub type ConnectionId = u64;

/// How much one NameServer remembers. The reference has no limits; these only stop a flood of made-up names.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Different topics.
    pub topics: usize,
    /// Different broker addresses.
    pub brokers: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            topics: 1_000_000,
            brokers: 20_000,
        }
    }
}

/// Everything a broker says about itself in REGISTER_BROKER.
#[derive(Clone, Debug, Default)]
pub struct Registration {
    /// The cluster it belongs to.
    pub cluster: String,
    /// The name of its group.
    pub broker_name: String,
    /// `host:port` clients reach it at.
    pub broker_addr: String,
    /// Its number in the group; [`MASTER_ID`] for the master.
    pub broker_id: i64,
    /// `host:port` slaves replicate from.
    pub ha_server_addr: Option<String>,
    /// Where it stands, for clients that prefer near brokers.
    pub zone_name: Option<String>,
    /// The silence after which it is dropped.
    pub heartbeat_timeout: Option<Duration>,
    /// May a slave of this group act as master? `None` from brokers older than 5.0.
    pub enable_acting_master: Option<bool>,
    /// The version of `topics`; equal to the last one means nothing changed.
    pub data_version: DataVersion,
    /// Every topic the broker has.
    pub topics: Vec<TopicConfig>,
    /// Static topic mappings by topic.
    pub mappings: Vec<(String, TopicQueueMappingInfo)>,
    /// Filter servers (legacy); `None` leaves those known as they are.
    pub filter_servers: Option<Vec<String>>,
    /// The connection it came over.
    pub connection: ConnectionId,
}

/// What a broker learns from its registration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// For a slave: where its master serves replication.
    pub ha_server_addr: Option<String>,
    /// For a slave: its master.
    pub master_addr: Option<String>,
    /// The group has a new smallest broker id, and its other members may want to know.
    pub new_min_broker_id: Option<MinBrokerIdChange>,
}

/// A registration that changed nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RegistrationRefused {
    /// A single topic from a broker whose full registration never arrived.
    /// The remark is the reference's.
    #[error("register broker failed")]
    NotRegisteredYet,
    /// [`Limits::brokers`] reached.
    #[error("register broker failed, this name server already holds {limit} brokers")]
    TooManyBrokers {
        /// The limit.
        limit: usize,
    },
}

/// The smallest broker id of a group changed: its members decide by it who acts as master.
///
/// Reference: `NotifyMinBrokerIdChangeRequestHeader`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinBrokerIdChange {
    /// The smallest id now.
    pub min_broker_id: i64,
    /// Who has it.
    pub min_broker_addr: String,
    /// The member that left, if one did.
    pub offline_broker_addr: Option<String>,
    /// Replication address of the member that came, if one did.
    pub ha_broker_addr: Option<String>,
    /// Members to tell.
    pub notify: Vec<String>,
}

/// What a removal of brokers means for the world outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Departures {
    /// Addresses that are no longer routed to.
    pub removed: Vec<BrokerAddr>,
    /// Connections of brokers that fell silent, to be closed.
    pub connections: Vec<ConnectionId>,
    /// Groups that lost their smallest id.
    pub new_min_broker_ids: Vec<MinBrokerIdChange>,
}

/// One broker process: addresses are unique within a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrokerAddr {
    /// Its cluster.
    pub cluster: String,
    /// Its `host:port`.
    pub addr: String,
}

impl BrokerAddr {
    /// The broker at `addr` in `cluster`.
    pub fn new(cluster: &str, addr: &str) -> BrokerAddr {
        BrokerAddr {
            cluster: cluster.to_owned(),
            addr: addr.to_owned(),
        }
    }
}

/// Which topics [`RouteTable::unit_topics`] lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitTopics {
    /// Topics of a unit.
    Unit,
    /// Topics with a unit subscription.
    HasUnitSub,
    /// Topics with a unit subscription that are not of a unit themselves.
    HasUnitSubUnUnit,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct RouteTable {
    limits: Limits,
    clusters: BTreeMap<String, BTreeSet<String>>,
    groups: BTreeMap<Arc<str>, Group>,
    live: HashMap<BrokerAddr, Live>,
    topics: BTreeMap<String, TopicQueues>,
    mappings: BTreeMap<String, BTreeMap<String, TopicQueueMappingInfo>>,
}

/// Master and slaves of one broker name.
#[derive(Debug, Default)]
struct Group {
    cluster: String,
    zone_name: Option<String>,
    enable_acting_master: bool,
    addrs: BTreeMap<i64, String>,
}

/// What is known of one broker process.
#[derive(Debug)]
struct Live {
    broker_name: Arc<str>,
    last_heard: Duration,
    heartbeat_timeout: Duration,
    data_version: DataVersion,
    connection: ConnectionId,
    ha_server_addr: Option<String>,
    filter_servers: Vec<String>,
}

/// The queues of one topic, sorted by broker name. A vector, since most topics live on few brokers and there
/// may be a million topics.
#[derive(Debug, Default)]
struct TopicQueues(Vec<Queues>);

/// The queues of one topic on one broker name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Queues {
    broker_name: Arc<str>,
    read_queue_nums: i32,
    write_queue_nums: i32,
    perm: i32,
    topic_sys_flag: i32,
}

/// Events.
impl RouteTable {
    /// How many brokers and topics it has.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.live.len(), self.topics.len())
    }

    /// An empty table with its own limits.
    pub fn with_limits(limits: Limits) -> RouteTable {
        RouteTable {
            limits,
            ..RouteTable::default()
        }
    }

    /// A broker registered. With `delete_missing_topics`, topics it no longer names are taken from it.
    ///
    /// A registration that repeats the last data version refreshes liveness and fills in what is missing.
    ///
    /// # Errors
    /// The table is unchanged when a registration is refused.
    pub fn register(
        &mut self,
        registration: Registration,
        delete_missing_topics: bool,
        now: Now,
    ) -> Result<Registered, RegistrationRefused> {
        let who = BrokerAddr::new(&registration.cluster, &registration.broker_addr);
        self.require_room_and_order(&registration, &who)?;
        self.leave_other_group(&registration, &who);
        if self.is_older_than_the_member_in_place(&registration) {
            self.forget_rejected(&registration, &who);
            return Ok(Registered::default());
        }

        let (broker_name, joined) = self.join_group(&registration);
        if self.may_write_topics(&registration) {
            let changed = joined.first || self.data_version_changed(&who, &registration.data_version);
            self.write_topics(&broker_name, &registration, changed, delete_missing_topics);
        }
        let new_min_broker_id = joined
            .new_min
            .then(|| self.min_broker_id_change(&registration))
            .flatten();
        let master = self.master_of(&registration);
        self.refresh_live(who, broker_name, registration, now);
        let (ha_server_addr, master_addr) = master.unzip();
        Ok(Registered {
            ha_server_addr: ha_server_addr.flatten(),
            master_addr,
            new_min_broker_id,
        })
    }

    /// A broker announced one topic's queues (`enableSingleTopicRegister`). False, and nothing changed, when
    /// one of the broker names is unknown or the table is full.
    pub fn register_topic(&mut self, topic: &str, queues: &[QueueData]) -> bool {
        let mut known = Vec::with_capacity(queues.len());
        for queue in queues {
            let Some((broker_name, _)) = self.groups.get_key_value(queue.broker_name.as_str()) else {
                warn!(
                    topic,
                    broker_name = queue.broker_name,
                    "single topic names an unknown broker, ignored"
                );
                return false;
            };
            known.push(Queues {
                broker_name: Arc::clone(broker_name),
                read_queue_nums: queue.read_queue_nums,
                write_queue_nums: queue.write_queue_nums,
                perm: queue.perm,
                topic_sys_flag: queue.topic_sys_flag,
            });
        }
        known.into_iter().all(|queues| self.put_queues(topic, queues))
    }

    /// A broker said goodbye. One that registered under another name did not mean itself.
    pub fn unregister(&mut self, cluster: &str, broker_name: &str, broker_addr: &str) -> Departures {
        let who = BrokerAddr::new(cluster, broker_addr);
        if self
            .live
            .get(&who)
            .is_some_and(|live| *live.broker_name != *broker_name)
        {
            warn!(
                ?who,
                broker_name, "goodbye under another name than it registered with, ignored"
            );
            return Departures::default();
        }
        self.remove(vec![(who, Arc::from(broker_name))])
    }

    /// A connection closed: every broker that registered over it is gone at once. One that has registered
    /// anew over another connection stays.
    pub fn connection_closed(&mut self, connection: ConnectionId) -> Departures {
        let leaving = self.live_where(|live| live.connection == connection);
        self.remove(leaving)
    }

    /// Time passed: brokers silent beyond their timeout are gone.
    pub fn expire(&mut self, now: Now) -> Departures {
        let silent = |live: &Live| live.last_heard + live.heartbeat_timeout < now.monotonic;
        let leaving = self.live_where(silent);
        let mut connections: Vec<ConnectionId> = leaving
            .iter()
            .filter_map(|(who, _)| self.live.get(who))
            .map(|live| live.connection)
            .collect();
        connections.sort_unstable();
        connections.dedup();
        let departures = self.remove(leaving);
        Departures {
            connections,
            ..departures
        }
    }

    /// A broker showed that it is alive (BROKER_HEARTBEAT, QUERY_DATA_VERSION).
    pub fn heartbeat(&mut self, who: &BrokerAddr, now: Now) {
        if let Some(live) = self.live.get_mut(who) {
            live.last_heard = now.monotonic;
        }
    }

    /// Takes write permission from all topics of a broker name; how many there are.
    ///
    /// The broker itself does not know: the next registration with a changed data version brings it back.
    pub fn wipe_write_perm(&mut self, broker_name: &str) -> i32 {
        self.change_perm(broker_name, |perm| perm & !perm::WRITE)
    }

    /// Gives read and write permission to all topics of a broker name; how many there are.
    pub fn add_write_perm(&mut self, broker_name: &str) -> i32 {
        self.change_perm(broker_name, |_| perm::READ | perm::WRITE)
    }

    /// Forgets a topic, everywhere or on the brokers of one cluster. A broker that still has it brings it back
    /// with its next registration.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(queues) = self.topics.get_mut(topic) else {
            return;
        };
        match cluster {
            None => queues.0.clear(),
            Some(cluster) => {
                let Some(names) = self.clusters.get(cluster) else {
                    return;
                };
                queues.0.retain(|queues| !names.contains(&*queues.broker_name));
            }
        }
        if queues.0.is_empty() {
            self.topics.remove(topic);
            self.mappings.remove(topic);
        }
    }
}

/// Questions.
impl RouteTable {
    /// Where a topic is served; `None` when no broker serves it.
    ///
    /// With `support_acting_master`, the smallest slave of a read-only group without master is presented as
    /// its master, so that clients lock queues and search offsets there.
    pub fn route(&self, topic: &str, support_acting_master: bool) -> Option<TopicRouteData> {
        let queues = self.topics.get(topic)?;
        let mut route = TopicRouteData {
            topic_queue_mapping_by_broker: self.mappings.get(topic).cloned(),
            ..TopicRouteData::default()
        };
        for queues in &queues.0 {
            let Some(group) = self.groups.get(&queues.broker_name) else {
                continue;
            };
            let acts = support_acting_master
                && group.enable_acting_master
                && queues.perm & perm::WRITE == 0
                // Members of a group find each other by this topic, each as what it is.
                && !topic.starts_with(names::SYNC_BROKER_MEMBER_PREFIX);
            self.add_filter_servers(group, &mut route.filter_server_table);
            route.queue_datas.push(queues.to_queue_data());
            route
                .broker_datas
                .push(group.to_broker_data(&queues.broker_name, acts));
        }
        (!route.broker_datas.is_empty()).then_some(route)
    }

    /// All clusters, groups and addresses.
    pub fn cluster_info(&self) -> ClusterInfo {
        let groups = self.groups.iter();
        ClusterInfo {
            broker_addr_table: groups
                .map(|(name, group)| (name.to_string(), group.to_broker_data(name, false)))
                .collect(),
            cluster_addr_table: self.clusters.clone(),
        }
    }

    /// The members of one group; without addresses when the name is unknown.
    pub fn broker_member_group(&self, cluster: &str, broker_name: &str) -> BrokerMemberGroup {
        BrokerMemberGroup {
            cluster: cluster.to_owned(),
            broker_name: broker_name.to_owned(),
            broker_addrs: self
                .groups
                .get(broker_name)
                .map(|group| group.addrs.clone())
                .unwrap_or_default(),
        }
    }

    /// The data version a broker last registered with.
    pub fn data_version(&self, who: &BrokerAddr) -> Option<&DataVersion> {
        self.live.get(who).map(|live| &live.data_version)
    }

    /// All topics.
    pub fn topics(&self) -> Vec<String> {
        self.topics.keys().cloned().collect()
    }

    /// The topics any broker of a cluster serves.
    pub fn topics_of_cluster(&self, cluster: &str) -> Vec<String> {
        let Some(names) = self.clusters.get(cluster) else {
            return Vec::new();
        };
        self.topics_where(|queues| queues.0.iter().any(|queues| names.contains(&*queues.broker_name)))
    }

    /// Topics by their unit flags, which are those of the first broker serving them.
    pub fn unit_topics(&self, which: UnitTopics) -> Vec<String> {
        self.topics_where(|queues| {
            let flag = queues.0.first().map_or(0, |queues| queues.topic_sys_flag);
            match which {
                UnitTopics::Unit => flag & UNIT != 0,
                UnitTopics::HasUnitSub => flag & UNIT_SUB != 0,
                UnitTopics::HasUnitSubUnUnit => flag & UNIT_SUB != 0 && flag & UNIT == 0,
            }
        })
    }

    /// The names every cluster reserves (cluster and broker names), and the address of one broker, of which
    /// the caller may ask the rest.
    pub fn system_topics(&self) -> (Vec<String>, Option<String>) {
        let mut names = Vec::new();
        for (cluster, brokers) in &self.clusters {
            names.push(cluster.clone());
            names.extend(brokers.iter().cloned());
        }
        let any = self
            .groups
            .values()
            .next()
            .and_then(|group| group.addrs.values().next().cloned());
        (names, any)
    }
}

/// The steps of a registration.
impl RouteTable {
    /// Another process holds the same id in the group, and with a higher state version: the newcomer was
    /// elected in an earlier term than the one in place.
    fn is_older_than_the_member_in_place(&self, registration: &Registration) -> bool {
        let Some(group) = self.groups.get(registration.broker_name.as_str()) else {
            return false;
        };
        let Some(in_place) = group.addrs.get(&registration.broker_id) else {
            return false;
        };
        if *in_place == registration.broker_addr {
            return false;
        }
        let Some(live) = self.live.get(&BrokerAddr::new(&registration.cluster, in_place)) else {
            return false;
        };
        let stale = live.data_version.state_version > registration.data_version.state_version;
        if stale {
            warn!(
                broker_name = registration.broker_name,
                broker_id = registration.broker_id,
                in_place,
                in_place_state_version = live.data_version.state_version,
                addr = registration.broker_addr,
                state_version = registration.data_version.state_version,
                "registering broker conflicts with the existing one, ignored"
            );
        }
        stale
    }

    /// A rejected newcomer must not linger under an id it had before.
    fn forget_rejected(&mut self, registration: &Registration, who: &BrokerAddr) {
        if let Some(group) = self.groups.get_mut(registration.broker_name.as_str()) {
            group.addrs.retain(|_, addr| *addr != registration.broker_addr);
        }
        self.live.remove(who);
    }

    fn require_room_and_order(
        &self,
        registration: &Registration,
        who: &BrokerAddr,
    ) -> Result<(), RegistrationRefused> {
        let group = self.groups.get(registration.broker_name.as_str());
        let known = group.is_some_and(|group| group.addrs.contains_key(&registration.broker_id));
        if !known && registration.topics.len() == 1 {
            warn!(
                ?who,
                "single topic from a broker that has not registered, refused"
            );
            return Err(RegistrationRefused::NotRegisteredYet);
        }
        if self.live.len() >= self.limits.brokers && !self.live.contains_key(who) {
            warn!(
                ?who,
                limit = self.limits.brokers,
                "broker refused, this name server is full"
            );
            return Err(RegistrationRefused::TooManyBrokers {
                limit: self.limits.brokers,
            });
        }
        Ok(())
    }

    /// An address is one process: under a new name it gives up the old one, which nobody would keep alive.
    fn leave_other_group(&mut self, registration: &Registration, who: &BrokerAddr) {
        let renamed = self
            .live
            .get(who)
            .filter(|live| *live.broker_name != *registration.broker_name);
        if let Some(broker_name) = renamed.map(|live| Arc::clone(&live.broker_name)) {
            warn!(
                ?who,
                old = &*broker_name,
                new = registration.broker_name,
                "broker came back under another name"
            );
            // Whom to tell of a new smallest id is dropped: the group left behind hears of it in time by asking.
            let _ = self.remove(vec![(who.clone(), broker_name)]);
        }
    }

    fn join_group(&mut self, registration: &Registration) -> (Arc<str>, Joined) {
        let names = self.clusters.entry(registration.cluster.clone()).or_default();
        names.insert(registration.broker_name.clone());
        let broker_name = match self.groups.get_key_value(registration.broker_name.as_str()) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(registration.broker_name.as_str()),
        };
        let group = self
            .groups
            .entry(Arc::clone(&broker_name))
            .or_insert_with(|| Group {
                cluster: registration.cluster.clone(),
                ..Group::default()
            });
        group.enable_acting_master = registration.enable_acting_master == Some(true);
        group.zone_name = registration.zone_name.clone();
        let previous_min = group.min_broker_id().unwrap_or(MASTER_ID);
        // A slave that became master comes back under another id.
        group
            .addrs
            .retain(|id, addr| *addr != registration.broker_addr || *id == registration.broker_id);
        let previous = group
            .addrs
            .insert(registration.broker_id, registration.broker_addr.clone());
        let joined = Joined {
            first: previous.is_none(),
            new_min: registration.broker_id < previous_min,
        };
        (broker_name, joined)
    }

    /// The master writes; so does the smallest slave, if it is of a version that may act as master.
    fn may_write_topics(&self, registration: &Registration) -> bool {
        registration.broker_id == MASTER_ID || self.is_prime_slave(registration)
    }

    fn is_prime_slave(&self, registration: &Registration) -> bool {
        registration.broker_id != MASTER_ID
            && registration.enable_acting_master.is_some()
            && self.min_broker_id(&registration.broker_name) == Some(registration.broker_id)
    }

    fn data_version_changed(&self, who: &BrokerAddr, data_version: &DataVersion) -> bool {
        self.data_version(who) != Some(data_version)
    }

    fn write_topics(
        &mut self,
        broker_name: &Arc<str>,
        registration: &Registration,
        changed: bool,
        delete_missing: bool,
    ) {
        // Static topics live on in the mappings of other brokers; the reference does not delete them either.
        if delete_missing && registration.mappings.is_empty() {
            self.delete_topics_missing_from(broker_name, &registration.topics);
        }
        let read_only = registration.enable_acting_master == Some(true) && self.is_prime_slave(registration);
        let mut refused = 0_usize;
        for topic in &registration.topics {
            if changed || !self.serves(broker_name, &topic.topic_name) {
                let mask = if read_only { !perm::WRITE } else { !0 };
                let queues = Queues::of(broker_name, topic, mask);
                refused += usize::from(!self.put_queues(&topic.topic_name, queues));
            }
        }
        if refused > 0 {
            warn!(
                broker_name = &**broker_name,
                refused,
                limit = self.limits.topics,
                "too many topics"
            );
        }
        for (topic, mapping) in &registration.mappings {
            self.write_mapping(topic, mapping, changed);
        }
    }

    fn write_mapping(&mut self, topic: &str, mapping: &TopicQueueMappingInfo, changed: bool) {
        // A mapping goes with its topic; so must its limit.
        if !self.topics.contains_key(topic) {
            return;
        }
        let of_topic = self.mappings.entry(topic.to_owned()).or_default();
        if changed || !of_topic.contains_key(&mapping.bname) {
            of_topic.insert(mapping.bname.clone(), mapping.clone());
        }
    }

    fn delete_topics_missing_from(&mut self, broker_name: &str, topics: &[TopicConfig]) {
        let kept: HashSet<&str> = topics.iter().map(|topic| topic.topic_name.as_str()).collect();
        let mappings = &mut self.mappings;
        self.topics.retain(|topic, queues| {
            if !kept.contains(topic.as_str()) && queues.remove(broker_name) {
                info!(
                    topic,
                    broker_name, "topic deleted, the broker registered without it"
                );
            }
            if queues.0.is_empty() {
                mappings.remove(topic);
            }
            !queues.0.is_empty()
        });
    }

    fn serves(&self, broker_name: &str, topic: &str) -> bool {
        self.topics
            .get(topic)
            .is_some_and(|queues| queues.get(broker_name).is_some())
    }

    /// False when the topic is new and the table is full.
    fn put_queues(&mut self, topic: &str, queues: Queues) -> bool {
        if let Some(of_topic) = self.topics.get_mut(topic) {
            of_topic.put(topic, queues);
            return true;
        }
        if self.topics.len() >= self.limits.topics {
            return false;
        }
        debug!(topic, ?queues, "new topic registered");
        self.topics.insert(topic.to_owned(), TopicQueues(vec![queues]));
        true
    }

    fn master_of(&self, registration: &Registration) -> Option<(Option<String>, String)> {
        if registration.broker_id == MASTER_ID {
            return None;
        }
        let master_addr = self
            .groups
            .get(registration.broker_name.as_str())?
            .addrs
            .get(&MASTER_ID)?;
        let master = self
            .live
            .get(&BrokerAddr::new(&registration.cluster, master_addr))?;
        Some((master.ha_server_addr.clone(), master_addr.clone()))
    }

    fn min_broker_id_change(&self, registration: &Registration) -> Option<MinBrokerIdChange> {
        let group = self.groups.get(registration.broker_name.as_str())?;
        let ha_broker_addr = registration.ha_server_addr.clone();
        Some(MinBrokerIdChange {
            ha_broker_addr,
            ..group.min_broker_id_change(None)?
        })
    }

    fn refresh_live(&mut self, who: BrokerAddr, broker_name: Arc<str>, registration: Registration, now: Now) {
        let previous = self.live.remove(&who);
        if previous.is_none() {
            info!(
                ?who,
                broker_name = &*broker_name,
                id = registration.broker_id,
                "new broker registered"
            );
        }
        let filter_servers = registration
            .filter_servers
            .or_else(|| previous.map(|live| live.filter_servers))
            .unwrap_or_default();
        self.live.insert(
            who,
            Live {
                broker_name,
                last_heard: now.monotonic,
                heartbeat_timeout: registration
                    .heartbeat_timeout
                    .unwrap_or(DEFAULT_HEARTBEAT_TIMEOUT),
                data_version: registration.data_version,
                connection: registration.connection,
                ha_server_addr: registration.ha_server_addr,
                filter_servers,
            },
        );
    }
}

/// The steps of a departure, and what both share.
impl RouteTable {
    fn live_where(&self, condition: impl Fn(&Live) -> bool) -> Vec<(BrokerAddr, Arc<str>)> {
        let matching = self.live.iter().filter(|(_, live)| condition(live));
        let mut found: Vec<_> = matching
            .map(|(who, live)| (who.clone(), Arc::clone(&live.broker_name)))
            .collect();
        found.sort();
        found
    }

    /// Removes brokers and, in one pass over the topics for all of them, what depended on them.
    fn remove(&mut self, leaving: Vec<(BrokerAddr, Arc<str>)>) -> Departures {
        let mut departures = Departures::default();
        let (mut gone, mut without_master) = (BTreeSet::new(), BTreeSet::new());
        for (who, broker_name) in leaving {
            self.live.remove(&who);
            let Some(group) = self.groups.get_mut(&broker_name) else {
                continue;
            };
            let min_left = group.addrs.values().next() == Some(&who.addr);
            let members = group.addrs.len();
            group.addrs.retain(|_, addr| *addr != who.addr);
            if group.addrs.len() == members {
                continue;
            }
            info!(?who, broker_name = &*broker_name, "broker unregistered");
            if group.addrs.is_empty() {
                self.remove_group(&broker_name);
                gone.insert(broker_name);
            } else if group.enable_acting_master {
                if min_left {
                    departures
                        .new_min_broker_ids
                        .extend(group.min_broker_id_change(Some(&who.addr)));
                }
                without_master.insert(broker_name);
            }
            departures.removed.push(who);
        }
        without_master.retain(|name| self.min_broker_id(name).is_some_and(|min| min > MASTER_ID));
        if !(gone.is_empty() && without_master.is_empty()) {
            self.clean_topics(&gone, &without_master);
        }
        departures
    }

    fn remove_group(&mut self, broker_name: &str) {
        self.groups.remove(broker_name);
        self.clusters.retain(|_, names| {
            names.remove(broker_name);
            !names.is_empty()
        });
    }

    fn clean_topics(&mut self, gone: &BTreeSet<Arc<str>>, read_only: &BTreeSet<Arc<str>>) {
        let mappings = &mut self.mappings;
        self.topics.retain(|topic, queues| {
            queues.0.retain(|queues| !gone.contains(&queues.broker_name));
            for queues in queues
                .0
                .iter_mut()
                .filter(|queues| read_only.contains(&queues.broker_name))
            {
                queues.perm &= !perm::WRITE;
            }
            if queues.0.is_empty() {
                mappings.remove(topic);
            }
            !queues.0.is_empty()
        });
    }

    fn min_broker_id(&self, broker_name: &str) -> Option<i64> {
        self.groups.get(broker_name)?.min_broker_id()
    }

    fn change_perm(&mut self, broker_name: &str, change: impl Fn(i32) -> i32) -> i32 {
        let mut count = 0;
        for queues in self
            .topics
            .values_mut()
            .filter_map(|queues| queues.get_mut(broker_name))
        {
            queues.perm = change(queues.perm);
            count += 1;
        }
        count
    }

    fn topics_where(&self, condition: impl Fn(&TopicQueues) -> bool) -> Vec<String> {
        let matching = self.topics.iter().filter(|(_, queues)| condition(queues));
        matching.map(|(topic, _)| topic.clone()).collect()
    }

    fn add_filter_servers(&self, group: &Group, table: &mut BTreeMap<String, Vec<String>>) {
        for addr in group.addrs.values() {
            let live = self.live.get(&BrokerAddr::new(&group.cluster, addr));
            if let Some(live) = live.filter(|live| !live.filter_servers.is_empty()) {
                table.insert(addr.clone(), live.filter_servers.clone());
            }
        }
    }
}

/// What joining its group meant for a broker.
struct Joined {
    /// Its id was vacant.
    first: bool,
    /// Its id is now the smallest.
    new_min: bool,
}

impl Group {
    fn min_broker_id(&self) -> Option<i64> {
        self.addrs.keys().next().copied()
    }

    fn to_broker_data(&self, broker_name: &str, present_acting_master: bool) -> BrokerData {
        let mut broker_addrs = self.addrs.clone();
        if present_acting_master
            && !broker_addrs.contains_key(&MASTER_ID)
            && let Some((_, addr)) = broker_addrs.pop_first()
        {
            broker_addrs.insert(MASTER_ID, addr);
        }
        BrokerData {
            cluster: self.cluster.clone(),
            broker_name: broker_name.to_owned(),
            broker_addrs,
            zone_name: self.zone_name.clone(),
            enable_acting_master: self.enable_acting_master,
        }
    }

    /// Whom to tell what. After a departure everyone left; after an arrival everyone but the newcomer, who is
    /// the smallest and knows, unless there is nobody else.
    fn min_broker_id_change(&self, offline: Option<&str>) -> Option<MinBrokerIdChange> {
        let (min_broker_id, min_broker_addr) = self.addrs.first_key_value()?;
        let tell_all = offline.is_some() || self.addrs.len() == 1;
        let told = self
            .addrs
            .iter()
            .filter(|(id, _)| tell_all || *id != min_broker_id);
        Some(MinBrokerIdChange {
            min_broker_id: *min_broker_id,
            min_broker_addr: min_broker_addr.clone(),
            offline_broker_addr: offline.map(str::to_owned),
            ha_broker_addr: None,
            notify: told.map(|(_, addr)| addr.clone()).collect(),
        })
    }
}

impl TopicQueues {
    fn position(&self, broker_name: &str) -> Result<usize, usize> {
        self.0
            .binary_search_by(|queues| (*queues.broker_name).cmp(broker_name))
    }

    fn get(&self, broker_name: &str) -> Option<&Queues> {
        self.position(broker_name).ok().map(|at| &self.0[at])
    }

    fn get_mut(&mut self, broker_name: &str) -> Option<&mut Queues> {
        self.position(broker_name).ok().map(|at| &mut self.0[at])
    }

    fn put(&mut self, topic: &str, queues: Queues) {
        match self.position(&queues.broker_name) {
            Ok(at) if self.0[at] == queues => {}
            Ok(at) => {
                info!(topic, old = ?self.0[at], new = ?queues, "topic changed");
                self.0[at] = queues;
            }
            Err(at) => self.0.insert(at, queues),
        }
    }

    fn remove(&mut self, broker_name: &str) -> bool {
        self.position(broker_name).map(|at| self.0.remove(at)).is_ok()
    }
}

impl Queues {
    fn of(broker_name: &Arc<str>, topic: &TopicConfig, perm_mask: i32) -> Queues {
        Queues {
            broker_name: Arc::clone(broker_name),
            read_queue_nums: topic.read_queue_nums,
            write_queue_nums: topic.write_queue_nums,
            perm: topic.perm & perm_mask,
            topic_sys_flag: topic.topic_sys_flag,
        }
    }

    fn to_queue_data(&self) -> QueueData {
        QueueData {
            broker_name: self.broker_name.to_string(),
            read_queue_nums: self.read_queue_nums,
            write_queue_nums: self.write_queue_nums,
            perm: self.perm,
            topic_sys_flag: self.topic_sys_flag,
        }
    }
}

#[cfg(test)]
mod tests;

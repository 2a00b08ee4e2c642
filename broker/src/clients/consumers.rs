//! Consumers: which clients consume as which group, and what the group subscribes to.
//!
//! A change of members or subscriptions is told to all members of the group (NOTIFY_CONSUMER_IDS_CHANGED), so that
//! they share the queues anew at once; `change_notices` says when. Reference: `ConsumerManager`, `ConsumerGroupInfo`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, OnceLock, RwLock};

use common::service::Waker;
use remoting::body::{ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData};
use remoting::connection::Connection;

use super::ClientChannel;
use super::change_notices::ChangeNotices;

/// A consumer group as it is now.
#[derive(Clone, Debug)]
pub struct ConsumerGroupInfo {
    /// How its members get messages.
    pub consume_type: ConsumeType,
    /// Whether its members share the messages.
    pub message_model: MessageModel,
    /// Where it starts without an offset.
    pub consume_from_where: ConsumeFromWhere,
    /// By topic.
    pub subscriptions: BTreeMap<String, Arc<SubscriptionData>>,
    /// By connection id.
    channels: HashMap<u64, Arc<ClientChannel>>,
    /// Connection id -> fingerprint of the last heartbeat V2.
    fingerprints: HashMap<u64, i32>,
}

impl ConsumerGroupInfo {
    fn new(data: &ConsumerData) -> Self {
        Self {
            consume_type: data.consume_type,
            message_model: data.message_model,
            consume_from_where: data.consume_from_where,
            subscriptions: BTreeMap::new(),
            channels: HashMap::new(),
            fingerprints: HashMap::new(),
        }
    }

    /// The members.
    pub fn channels(&self) -> Vec<Arc<ClientChannel>> {
        self.members().cloned().collect()
    }

    /// The members, where they are.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Arc<ClientChannel>> {
        self.channels.values()
    }

    /// The member with this client id.
    pub fn channel(&self, client_id: &str) -> Option<&Arc<ClientChannel>> {
        self.channels
            .values()
            .find(|channel| channel.client_id == client_id)
    }

    /// The member that speaks on this connection.
    pub fn channel_of(&self, connection: &Arc<Connection>) -> Option<&Arc<ClientChannel>> {
        self.channels.get(&connection.id())
    }

    /// Whether a member speaks on this connection.
    pub fn has_connection(&self, connection: &Arc<Connection>) -> bool {
        self.channels.contains_key(&connection.id())
    }

    /// Broadcasting members each read every queue: there is nothing to share.
    fn shares_queues(&self) -> bool {
        self.message_model != MessageModel::Broadcasting
    }

    /// Takes over the member; true if it is new.
    fn update_channel(&mut self, group: &str, data: &ConsumerData, channel: ClientChannel) -> bool {
        self.consume_type = data.consume_type;
        self.message_model = data.message_model;
        self.consume_from_where = data.consume_from_where;
        let known = self.channels.get(&channel.connection.id());
        if let Some(known) = known.filter(|known| known.client_id == channel.client_id) {
            known.touch(channel.last_update_ms());
            return false;
        }
        let is_new = known.is_none();
        let peer = channel.connection.peer_addr();
        tracing::info!(group, client_id = channel.client_id, %peer, "consumer connected");
        self.channels.insert(channel.connection.id(), Arc::new(channel));
        is_new
    }

    /// Takes over the subscriptions; true if a topic came or went.
    fn update_subscriptions(&mut self, subscriptions: &[SubscriptionData]) -> bool {
        let mut changed = false;
        for new in subscriptions {
            let old = self.subscriptions.get(&new.topic);
            changed |= old.is_none();
            // Members may differ for a while when an application is rolled out: the youngest wins.
            if old.is_none_or(|old| new.sub_version > old.sub_version) {
                self.subscriptions
                    .insert(new.topic.clone(), Arc::new(new.clone()));
            }
        }
        let before = self.subscriptions.len();
        // A set: the lock of all groups is held, and a heartbeat may name as many topics as fit into a frame.
        let topics: HashSet<&str> = subscriptions.iter().map(|new| new.topic.as_str()).collect();
        self.subscriptions
            .retain(|topic, _| topics.contains(topic.as_str()));
        changed | (self.subscriptions.len() != before)
    }

    fn remove(&mut self, connection_id: u64) -> Option<Arc<ClientChannel>> {
        self.fingerprints.remove(&connection_id);
        self.channels.remove(&connection_id)
    }
}

/// The table of consumer groups.
pub struct Consumers {
    // Replaced as a whole on every change, so that pulls take a snapshot and never wait for a heartbeat.
    groups: RwLock<HashMap<String, Arc<ConsumerGroupInfo>>>,
    on_group_gone: OnceLock<GroupListener>,
    pub(crate) notices: ChangeNotices,
}

/// Told the name of a group.
type GroupListener = Box<dyn Fn(&str) + Send + Sync>;

impl std::fmt::Debug for Consumers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumers")
            .field("groups", &self.read().len())
            .finish_non_exhaustive()
    }
}

impl Consumers {
    /// No consumers. `notices` wakes the service that tells members of changes.
    pub fn new(notices: Waker) -> Self {
        Self {
            groups: RwLock::default(),
            on_group_gone: OnceLock::new(),
            notices: ChangeNotices::new(notices),
        }
    }

    /// Calls `listener` when a group has lost its last member; the first one set stays.
    pub fn on_group_gone(&self, listener: impl Fn(&str) + Send + Sync + 'static) {
        // One listener by design: what depends on a group is buried in one place.
        let _ = self.on_group_gone.set(Box::new(listener));
    }

    /// Takes a heartbeat of one group. True if members or subscriptions changed; then, with `notify`, all are told.
    pub fn register(&self, data: &ConsumerData, channel: ClientChannel, notify: bool) -> bool {
        self.update(data, channel, Some(&data.subscription_data_set), notify)
    }

    /// Takes a heartbeat that leaves the subscriptions out, because the broker has them.
    pub fn register_without_subscriptions(
        &self,
        data: &ConsumerData,
        channel: ClientChannel,
        notify: bool,
    ) -> bool {
        self.update(data, channel, None, notify)
    }

    fn update(
        &self,
        data: &ConsumerData,
        channel: ClientChannel,
        subscriptions: Option<&[SubscriptionData]>,
        notify: bool,
    ) -> bool {
        let group = data.group_name.as_str();
        let (changed, shares_queues) = {
            let mut groups = self.write();
            let entry = match groups.get_mut(group) {
                Some(entry) => entry,
                None => groups
                    .entry(group.to_owned())
                    .or_insert_with(|| Arc::new(ConsumerGroupInfo::new(data))),
            };
            let info = Arc::make_mut(entry);
            let is_new = info.update_channel(group, data, channel);
            let resubscribed =
                subscriptions.is_some_and(|subscriptions| info.update_subscriptions(subscriptions));
            (is_new || resubscribed, info.shares_queues())
        };
        if changed && notify && shares_queues {
            self.notices.changed(group);
        }
        changed
    }

    /// Compares and keeps the fingerprint of a heartbeat V2; true if this member sent another one before, or none.
    pub fn fingerprint_changed(&self, group: &str, connection: &Arc<Connection>, fingerprint: i32) -> bool {
        let mut groups = self.write();
        let Some(info) = groups.get_mut(group) else {
            return true;
        };
        if info.fingerprints.get(&connection.id()) == Some(&fingerprint) {
            return false;
        }
        Arc::make_mut(info)
            .fingerprints
            .insert(connection.id(), fingerprint);
        true
    }

    /// Takes the client on this connection out of `group`; with `notify` the others are told.
    pub fn unregister(&self, group: &str, connection: &Arc<Connection>, notify: bool) {
        let (is_empty, shares_queues) = {
            let mut groups = self.write();
            let Some(entry) = groups.get_mut(group) else {
                return;
            };
            let info = Arc::make_mut(entry);
            let Some(gone) = info.remove(connection.id()) else {
                return;
            };
            tracing::info!(group, client_id = gone.client_id, "consumer left");
            let (is_empty, shares_queues) = (info.channels.is_empty(), info.shares_queues());
            if is_empty {
                groups.remove(group);
            }
            (is_empty, shares_queues)
        };
        if is_empty && let Some(listener) = self.on_group_gone.get() {
            listener(group);
        }
        if notify && !is_empty && shares_queues {
            self.notices.changed(group);
        }
    }

    /// Takes the client on this connection out of all groups and tells the others. `notify` says of which groups.
    pub fn connection_closed(&self, connection: &Arc<Connection>, notify: impl Fn(&str) -> bool) {
        let groups: Vec<String> = {
            let groups = self.read();
            let with_it = groups
                .iter()
                .filter(|(_, info)| info.channels.contains_key(&connection.id()));
            with_it.map(|(group, _)| group.clone()).collect()
        };
        for group in groups {
            self.unregister(&group, connection, notify(&group));
        }
    }

    /// Forgets clients without a heartbeat for `timeout_ms`, and closes their connections.
    pub fn expire(&self, now_ms: i64, timeout_ms: i64, notify: impl Fn(&str) -> bool) {
        let silent: Vec<Arc<ClientChannel>> = {
            let groups = self.read();
            let channels = groups.values().flat_map(|info| info.channels.values());
            channels
                .filter(|channel| channel.is_expired(now_ms, timeout_ms))
                .cloned()
                .collect()
        };
        for channel in silent {
            tracing::warn!(
                client_id = channel.client_id,
                "consumer sent no heartbeat for {timeout_ms} ms: closed"
            );
            self.connection_closed(&channel.connection, &notify);
            channel.connection.close();
        }
    }

    /// The ids of the group's members.
    pub fn client_ids(&self, group: &str) -> Vec<String> {
        let mut ids: Vec<String> = self
            .info(group)
            .map(|info| {
                info.channels
                    .values()
                    .map(|channel| channel.client_id.clone())
                    .collect()
            })
            .unwrap_or_default();
        // A client that reconnected is there twice until its old connection is noticed to be gone.
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The group as it is now; `None` without members.
    pub fn info(&self, group: &str) -> Option<Arc<ConsumerGroupInfo>> {
        self.read().get(group).cloned()
    }

    /// What the group subscribes to of a topic.
    pub fn subscription(&self, group: &str, topic: &str) -> Option<Arc<SubscriptionData>> {
        self.read().get(group)?.subscriptions.get(topic).cloned()
    }

    /// The groups with members that subscribe to a topic.
    pub fn groups_subscribing(&self, topic: &str) -> Vec<String> {
        let groups = self.read();
        let subscribing = groups
            .iter()
            .filter(|(_, info)| info.subscriptions.contains_key(topic));
        subscribing.map(|(group, _)| group.clone()).collect()
    }

    /// All groups with members.
    pub fn snapshot(&self) -> BTreeMap<String, Arc<ConsumerGroupInfo>> {
        self.read()
            .iter()
            .map(|(group, info)| (group.clone(), Arc::clone(info)))
            .collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<ConsumerGroupInfo>>> {
        self.groups
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, Arc<ConsumerGroupInfo>>> {
        self.groups
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::clock::{Clock as _, ManualClock};
    use common::properties::Live;
    use common::service::Service as _;
    use remoting::codes::request_code;
    use remoting::frame::LanguageCode;

    use super::*;
    use crate::clients::change_notices::NoticeRounds;
    use crate::config::BrokerConfig;

    fn connection() -> Arc<Connection> {
        Connection::detached("127.0.0.1:9".parse().unwrap())
    }

    fn channel(connection: &Arc<Connection>, client_id: &str, now_ms: i64) -> ClientChannel {
        ClientChannel::new(Arc::clone(connection), client_id, LanguageCode::JAVA, 513, now_ms)
    }

    fn subscription(topic: &str, sub_version: i64, tags: &str) -> SubscriptionData {
        SubscriptionData {
            topic: topic.to_owned(),
            sub_version,
            sub_string: tags.to_owned(),
            ..SubscriptionData::default()
        }
    }

    fn data(subscriptions: &[SubscriptionData]) -> ConsumerData {
        ConsumerData {
            group_name: "g".to_owned(),
            subscription_data_set: subscriptions.to_vec(),
            ..ConsumerData::default()
        }
    }

    /// What the members are told, each time after all that has to be told was told.
    struct Told {
        rounds: NoticeRounds,
        clock: ManualClock,
    }

    impl Told {
        fn of(consumers: &Arc<Consumers>) -> Self {
            let config = Arc::new(Live::new(BrokerConfig::default()));
            Self {
                rounds: NoticeRounds::new(Arc::clone(consumers), config),
                clock: ManualClock::new(0),
            }
        }

        fn to(&mut self, connection: &Arc<Connection>) -> Vec<i32> {
            self.clock.advance(Duration::from_secs(1));
            self.rounds.tick(self.clock.now(), false).unwrap();
            connection.take_sent().iter().map(|frame| frame.code).collect()
        }
    }

    const CHANGED: [i32; 1] = [request_code::NOTIFY_CONSUMER_IDS_CHANGED];

    #[test]
    fn members_are_told_when_one_joins_or_leaves_and_not_at_each_heartbeat() {
        let consumers = Arc::new(Consumers::new(Waker::new()));
        let mut told = Told::of(&consumers);
        let (first, second) = (connection(), connection());
        let data = data(&[subscription("t", 1, "*")]);
        assert!(consumers.register(&data, channel(&first, "a", 0), true));
        assert_eq!(told.to(&first), CHANGED);
        assert!(!consumers.register(&data, channel(&first, "a", 1), true));
        assert_eq!(told.to(&first), []);

        assert!(consumers.register(&data, channel(&second, "b", 1), true));
        assert_eq!(
            (told.to(&first), told.to(&second)),
            (CHANGED.to_vec(), CHANGED.to_vec())
        );
        assert_eq!(consumers.client_ids("g"), ["a", "b"]);

        consumers.connection_closed(&second, |_| true);
        assert_eq!((told.to(&first), told.to(&second)), (CHANGED.to_vec(), vec![]));
        assert_eq!(consumers.client_ids("g"), ["a"]);
    }

    #[test]
    fn broadcasting_groups_and_groups_without_notification_are_not_told() {
        let consumers = Arc::new(Consumers::new(Waker::new()));
        let mut told = Told::of(&consumers);
        let member = connection();
        let broadcasting = ConsumerData {
            message_model: MessageModel::Broadcasting,
            ..data(&[])
        };
        consumers.register(&broadcasting, channel(&member, "a", 0), true);
        assert_eq!(told.to(&member), []);
        consumers.unregister("g", &member, true);
        consumers.register(&data(&[]), channel(&member, "a", 0), false);
        assert_eq!(told.to(&member), []);
    }

    #[test]
    fn the_youngest_subscription_counts_and_dropped_topics_go() {
        let consumers = Consumers::new(Waker::new());
        let member = connection();
        consumers.register(
            &data(&[subscription("t", 5, "A"), subscription("u", 5, "*")]),
            channel(&member, "a", 0),
            false,
        );
        let changed = consumers.register(
            &data(&[subscription("t", 4, "old")]),
            channel(&member, "a", 0),
            false,
        );
        assert!(changed, "a topic went");
        assert_eq!(consumers.subscription("g", "t").unwrap().sub_string, "A");
        assert!(consumers.subscription("g", "u").is_none());
        consumers.register(
            &data(&[subscription("t", 6, "new")]),
            channel(&member, "a", 0),
            false,
        );
        assert_eq!(consumers.subscription("g", "t").unwrap().sub_string, "new");
        assert_eq!(consumers.groups_subscribing("t"), ["g"]);
    }

    #[test]
    fn the_last_member_takes_the_group_with_it() {
        let consumers = Consumers::new(Waker::new());
        let member = connection();
        consumers.register(&data(&[]), channel(&member, "a", 0), false);
        consumers.expire(121_000, 120_000, |_| true);
        assert!(consumers.info("g").is_none());
        assert!(!member.is_open());
    }

    #[test]
    fn a_fingerprint_is_new_once() {
        let consumers = Consumers::new(Waker::new());
        let member = connection();
        assert!(
            consumers.fingerprint_changed("g", &member, 7),
            "an unknown group must send its subscriptions"
        );
        consumers.register(&data(&[]), channel(&member, "a", 0), false);
        assert!(consumers.fingerprint_changed("g", &member, 7));
        assert!(!consumers.fingerprint_changed("g", &member, 7));
        assert!(consumers.fingerprint_changed("g", &member, 8));
    }
}

//! Subscriptions: which client of which group has subscribed to which light message queues, both ways round.
//!
//! ```text
//!   clients      client id ─> group, topic, queues, when it last said so
//!   subscribers  queue ─> (group, client id)
//!   wildcards    topic ─> groups whose clients get every light topic of it; their queue is called `topic@group`
//! ```
//!
//! Clients say so again and again; the broker keeps it in memory alone, as the reference does. Invariant: both tables say
//! the same. Reference: `LiteSubscriptionRegistryImpl`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use common::names;
use remoting::connection::Connection;

/// Clients with a subscription.
pub const MAX_CLIENTS: usize = 100_000;

/// The subscriptions of all clients.
#[derive(Debug, Default)]
pub struct Subscriptions {
    clients: HashMap<Arc<str>, ClientSubscription>,
    subscribers: HashMap<Arc<str>, BTreeSet<Member>>,
    wildcards: HashMap<String, BTreeSet<Arc<str>>>,
    active: usize,
}

/// What one client has subscribed to.
#[derive(Clone, Debug)]
pub struct ClientSubscription {
    /// Its group.
    pub group: Arc<str>,
    /// The parent topic.
    pub topic: Arc<str>,
    /// The light message queues.
    pub lmqs: BTreeSet<Arc<str>>,
    /// When it last said anything about them, ms.
    pub updated_ms: i64,
    connection: Weak<Connection>,
}

impl ClientSubscription {
    /// Over which connection the client subscribed last, if that is open.
    pub fn connection(&self) -> Option<Arc<Connection>> {
        self.connection.upgrade()
    }
}

/// A client of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its group.
    pub group: Arc<str>,
    /// Its id.
    pub client_id: Arc<str>,
}

/// Who subscribes. A client has one group and one topic: the first it named.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// Id of the client.
    pub client_id: &'a str,
    /// Its group.
    pub group: &'a str,
    /// The parent topic.
    pub topic: &'a str,
}

/// The subscribers of a queue in one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMembers {
    /// The group.
    pub group: Arc<str>,
    /// Whether it gets every light topic of the parent.
    pub is_wildcard: bool,
    /// Ids of its clients, sorted.
    pub client_ids: Vec<Arc<str>>,
}

/// What stands for the queues of a group that gets all light topics.
pub fn wildcard_lmq(topic: &str, group: &str) -> String {
    [topic, "@", group].concat()
}

impl Subscriptions {
    /// How many queues are subscribed to, each as often as it is.
    pub fn active(&self) -> usize {
        self.active
    }

    /// Whether a client can be taken: it is known, or there is room for one more.
    pub fn has_room_for(&self, client_id: &str) -> bool {
        self.clients.len() < MAX_CLIENTS || self.clients.contains_key(client_id)
    }

    /// A client's subscription.
    pub fn of_client(&self, client_id: &str) -> Option<&ClientSubscription> {
        self.clients.get(client_id)
    }

    /// Notes that the client is there. Returns it as a member of the group it is in.
    pub fn touch(&mut self, who: Who<'_>, now_ms: i64) -> Member {
        let client_id = self.clients.get_key_value(who.client_id).map_or_else(
            || Arc::from(who.client_id),
            |(client_id, _)| Arc::clone(client_id),
        );
        let client = self
            .clients
            .entry(Arc::clone(&client_id))
            .or_insert_with(|| ClientSubscription {
                group: Arc::from(who.group),
                topic: Arc::from(who.topic),
                lmqs: BTreeSet::new(),
                updated_ms: now_ms,
                connection: Weak::new(),
            });
        client.updated_ms = now_ms;
        Member {
            group: Arc::clone(&client.group),
            client_id,
        }
    }

    /// Over this connection it says so.
    pub fn connect(&mut self, member: &Member, connection: Weak<Connection>) {
        if let Some(client) = self.clients.get_mut(&member.client_id) {
            client.connection = connection;
        }
    }

    /// Subscribes a client that was [touched](Self::touch) to a queue; true if it was not subscribed before.
    pub fn add(&mut self, member: &Member, lmq: &str) -> bool {
        let Some(client) = self.clients.get_mut(&member.client_id) else {
            return false;
        };
        let known = self.subscribers.get_key_value(lmq);
        let lmq = known.map_or_else(|| Arc::from(lmq), |(lmq, _)| Arc::clone(lmq));
        client.lmqs.insert(Arc::clone(&lmq));
        let is_new = self.subscribers.entry(lmq).or_default().insert(member.clone());
        self.active += usize::from(is_new);
        is_new
    }

    /// The group gets every light topic of the parent, as long as it has a client.
    pub fn mark_wildcard(&mut self, topic: &str, group: &Arc<str>) {
        let groups = self.wildcards.entry(topic.to_owned()).or_default();
        groups.insert(Arc::clone(group));
    }

    /// Ends a client's subscription to a queue; true if there was one.
    pub fn remove(&mut self, member: &Member, lmq: &str) -> bool {
        if let Some(client) = self.clients.get_mut(&member.client_id) {
            client.lmqs.remove(lmq);
        }
        self.remove_subscriber(member, lmq)
    }

    fn remove_subscriber(&mut self, member: &Member, lmq: &str) -> bool {
        let Some(members) = self.subscribers.get_mut(lmq) else {
            return false;
        };
        let was_there = members.remove(member);
        self.active -= usize::from(was_there);
        if members.is_empty() {
            self.subscribers.remove(lmq);
            self.unmark_wildcard(lmq);
        }
        was_there
    }

    fn unmark_wildcard(&mut self, lmq: &str) {
        let Some((topic, group)) = lmq.split_once('@') else {
            return;
        };
        if let Some(groups) = self.wildcards.get_mut(topic) {
            groups.remove(group);
            if groups.is_empty() {
                self.wildcards.remove(topic);
            }
        }
    }

    /// Forgets a client and all it subscribed to.
    pub fn remove_client(&mut self, client_id: &str) -> Option<ClientSubscription> {
        let (client_id, client) = self.clients.remove_entry(client_id)?;
        let member = Member {
            group: Arc::clone(&client.group),
            client_id,
        };
        for lmq in &client.lmqs {
            self.remove_subscriber(&member, lmq);
        }
        Some(client)
    }

    /// Forgets a client that has subscribed to nothing.
    pub fn forget_if_idle(&mut self, client_id: &str) {
        if self
            .clients
            .get(client_id)
            .is_some_and(|client| client.lmqs.is_empty())
        {
            self.clients.remove(client_id);
        }
    }

    /// Ends all subscriptions to a queue: it is gone.
    pub fn remove_lmq(&mut self, lmq: &str) {
        for member in self.subscribers.get(lmq).cloned().unwrap_or_default() {
            self.remove(&member, lmq);
        }
    }

    /// The clients of a group that subscribed to a queue.
    pub fn members_of(&self, group: &str, lmq: &str) -> Vec<Member> {
        let members = self.subscribers.get(lmq).into_iter().flatten();
        members
            .filter(|member| &*member.group == group)
            .cloned()
            .collect()
    }

    /// All who subscribed to this queue by its name.
    pub fn subscribers_of(&self, lmq: &str) -> impl Iterator<Item = &Member> {
        self.subscribers.get(lmq).into_iter().flatten()
    }

    /// Who gets the messages of a queue, group by group, or in one group only.
    pub fn recipients(&self, lmq: &str, group: Option<&str>) -> Vec<GroupMembers> {
        let mut by_name: BTreeMap<&Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
        for member in self.subscribers_of(lmq) {
            let client_id = Arc::clone(&member.client_id);
            by_name.entry(&member.group).or_default().push(client_id);
        }
        let named = by_name.into_iter().map(|(group, client_ids)| GroupMembers {
            group: Arc::clone(group),
            is_wildcard: false,
            client_ids,
        });
        let topic = names::lite_topic_of_lmq(lmq).map(|(topic, _)| topic);
        let wildcards = topic.and_then(|topic| Some((topic, self.wildcards.get(topic)?)));
        let wildcards = wildcards.into_iter().flat_map(|(topic, groups)| {
            groups
                .iter()
                .map(move |group| self.wildcard_members(topic, group))
        });
        named
            .chain(wildcards)
            .filter(|members| group.is_none_or(|group| group == &*members.group))
            .collect()
    }

    /// The clients of a group that gets every light topic of the parent.
    pub fn wildcard_members(&self, topic: &str, group: &Arc<str>) -> GroupMembers {
        let lmq = wildcard_lmq(topic, group);
        let members = self.subscribers_of(&lmq);
        GroupMembers {
            group: Arc::clone(group),
            is_wildcard: true,
            client_ids: members.map(|member| Arc::clone(&member.client_id)).collect(),
        }
    }

    /// Ids of a group's clients.
    pub fn clients_of(&self, group: &str) -> Vec<Arc<str>> {
        let of_group = self.clients.iter().filter(|(_, client)| &*client.group == group);
        of_group.map(|(client_id, _)| Arc::clone(client_id)).collect()
    }

    /// Clients that have said nothing since `time_ms`, sorted.
    pub fn silent_since(&self, time_ms: i64) -> Vec<Arc<str>> {
        let silent = self
            .clients
            .iter()
            .filter(|(_, client)| client.updated_ms < time_ms);
        let mut silent: Vec<Arc<str>> = silent.map(|(client_id, _)| Arc::clone(client_id)).collect();
        silent.sort_unstable();
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Who<'static> = Who {
        client_id: "a",
        group: "g",
        topic: "T",
    };
    const B: Who<'static> = Who { client_id: "b", ..A };

    fn clients(recipients: &[GroupMembers]) -> Vec<(&str, bool, Vec<&str>)> {
        recipients
            .iter()
            .map(|members| {
                let ids = members.client_ids.iter().map(|id| &**id).collect();
                (&*members.group, members.is_wildcard, ids)
            })
            .collect()
    }

    #[test]
    fn both_tables_say_the_same() {
        let mut subscriptions = Subscriptions::default();
        let a = subscriptions.touch(A, 1);
        let b = subscriptions.touch(B, 2);
        assert!(subscriptions.add(&a, "%LMQ%$T$x"));
        assert!(!subscriptions.add(&a, "%LMQ%$T$x"));
        assert!(subscriptions.add(&b, "%LMQ%$T$x") && subscriptions.add(&b, "%LMQ%$T$y"));
        assert_eq!(subscriptions.active(), 3);
        let recipients = subscriptions.recipients("%LMQ%$T$x", None);
        assert_eq!(clients(&recipients), [("g", false, vec!["a", "b"])]);
        assert!(subscriptions.recipients("%LMQ%$T$x", Some("h")).is_empty());

        assert!(subscriptions.remove(&a, "%LMQ%$T$x"));
        assert!(!subscriptions.remove(&a, "%LMQ%$T$x"));
        assert!(subscriptions.of_client("a").unwrap().lmqs.is_empty());
        subscriptions.remove_lmq("%LMQ%$T$x");
        assert_eq!(subscriptions.active(), 1);
        let left = subscriptions.remove_client("b").unwrap();
        assert_eq!(left.lmqs.len(), 1);
        assert_eq!(subscriptions.active(), 0);
        assert!(subscriptions.subscribers.is_empty());
    }

    #[test]
    fn a_group_of_all_light_topics_gets_each_until_its_last_client_leaves() {
        let mut subscriptions = Subscriptions::default();
        let a = subscriptions.touch(A, 1);
        subscriptions.mark_wildcard("T", &a.group);
        subscriptions.add(&a, &wildcard_lmq("T", "g"));
        let recipients = subscriptions.recipients("%LMQ%$T$any", None);
        assert_eq!(clients(&recipients), [("g", true, vec!["a"])]);
        assert!(subscriptions.recipients("%LMQ%$U$any", None).is_empty());
        subscriptions.remove_client("a");
        assert!(subscriptions.recipients("%LMQ%$T$any", None).is_empty());
        assert!(subscriptions.wildcards.is_empty());
    }

    #[test]
    fn silent_clients_are_named() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.touch(A, 1_000);
        subscriptions.touch(B, 2_000);
        assert_eq!(subscriptions.silent_since(2_000), [Arc::from("a")]);
        subscriptions.touch(A, 3_000);
        assert!(subscriptions.silent_since(2_000).is_empty());
    }
}

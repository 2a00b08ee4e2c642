//! Broadcast offsets: how far each member of a broadcasting group has pulled, so that a member goes on where it was when it changes
//! between this broker and a proxy.
//!
//! ```text
//!   member ── pulls ─────────> broker      keeps its offsets itself
//!      └───── polls ─> proxy ─> broker     the proxy has none: it asks with offset -1 and is told where to begin
//! ```
//!
//! In memory only, and forgotten some time after the member's last pull. What the slowest member of a group has pulled is committed for
//! the group `group@broadcast`, where members begin that nobody knows. Reference: `BroadcastOffsetManager`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Members remembered at a time; the offsets of one more are not kept.
pub const MAX_MEMBERS: usize = 100_000;
/// Queues remembered of one member.
const MAX_QUEUES: usize = 16_384;

/// The group that broadcast offsets are committed for.
pub fn broadcast_group(group: &str) -> String {
    format!("{group}@broadcast")
}

/// One member of a broadcasting group, reading one topic.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The group.
    pub group: &'a str,
    /// The client, not the proxy it speaks through.
    pub client_id: &'a str,
    /// Whether it speaks through a proxy now.
    pub by_proxy: bool,
}

/// What the slowest member has pulled of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowestOffset {
    /// The topic.
    pub topic: String,
    /// The group.
    pub group: String,
    /// The queue.
    pub queue_id: i32,
    /// The queue offset.
    pub offset: i64,
}

/// The members of all broadcasting groups.
#[derive(Debug, Default)]
pub struct BroadcastOffsets {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// (topic, group) -> client id -> offsets.
    groups: HashMap<(String, String), HashMap<String, MemberOffsets>>,
    members: usize,
}

#[derive(Debug)]
struct MemberOffsets {
    last_update_ms: i64,
    by_proxy: bool,
    queues: BTreeMap<i32, i64>,
}

impl BroadcastOffsets {
    /// Nobody is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// A member has pulled a queue up to an offset. Offsets only rise.
    pub fn update(&self, member: Member<'_>, queue_id: i32, offset: i64, now_ms: i64) {
        let mut table = self.lock();
        let Some(known) = table.member(member, now_ms) else {
            return;
        };
        known.last_update_ms = now_ms;
        known.by_proxy = member.by_proxy;
        if known.queues.len() < MAX_QUEUES || known.queues.contains_key(&queue_id) {
            let kept = known.queues.entry(queue_id).or_insert(offset);
            *kept = offset.max(*kept);
        }
    }

    /// Where a member must go on that has just changed between broker and proxy, or asks for the first time through a proxy;
    /// `None` when it goes on where it asks for. Offsets that nobody pulled come from `otherwise`.
    pub fn initial(
        &self,
        member: Member<'_>,
        queue_id: i32,
        requested: i64,
        now_ms: i64,
        otherwise: impl FnOnce() -> i64,
    ) -> Option<i64> {
        let known = {
            let mut table = self.lock();
            let has_members = table.groups.contains_key(&member.key());
            if !has_members {
                None
            } else {
                let known = table.member(member, now_ms)?;
                Some((known.by_proxy, known.queues.get(&queue_id).copied()))
            }
        };
        let (was_by_proxy, offset) = known.unwrap_or((member.by_proxy, None));
        let asks_first = was_by_proxy && requested < 0;
        (asks_first || was_by_proxy != member.by_proxy).then(|| offset.unwrap_or_else(otherwise))
    }

    /// Forgets members that pulled nothing for `expire_ms`, those that are online for `online_expire_ms`. Says what the slowest
    /// of each group has pulled.
    pub fn expire(
        &self,
        now_ms: i64,
        expire_ms: i64,
        online_expire_ms: i64,
        is_online: impl Fn(&str, &str) -> bool,
    ) -> Vec<SlowestOffset> {
        let mut table = self.lock();
        let mut slowest = Vec::new();
        let mut members = 0;
        table.groups.retain(|(topic, group), clients| {
            let mut offsets: BTreeMap<i32, i64> = BTreeMap::new();
            clients.retain(|client_id, known| {
                let idle_ms = now_ms.saturating_sub(known.last_update_ms);
                let online = is_online(group, client_id);
                if online || idle_ms < expire_ms {
                    for (queue_id, offset) in &known.queues {
                        let least = offsets.entry(*queue_id).or_insert(*offset);
                        *least = (*least).min(*offset);
                    }
                }
                idle_ms < if online { online_expire_ms } else { expire_ms }
            });
            members += clients.len();
            slowest.extend(offsets.into_iter().map(|(queue_id, offset)| SlowestOffset {
                topic: topic.clone(),
                group: group.clone(),
                queue_id,
                offset,
            }));
            !clients.is_empty()
        });
        table.members = members;
        slowest
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member<'_> {
    fn key(&self) -> (String, String) {
        (self.topic.to_owned(), self.group.to_owned())
    }
}

impl Table {
    /// The member, remembered from now on; `None` when there are too many.
    fn member(&mut self, member: Member<'_>, now_ms: i64) -> Option<&mut MemberOffsets> {
        let clients = self.groups.entry(member.key()).or_default();
        if !clients.contains_key(member.client_id) {
            if self.members >= MAX_MEMBERS {
                return None;
            }
            self.members += 1;
        }
        let known = clients
            .entry(member.client_id.to_owned())
            .or_insert_with(|| MemberOffsets {
                last_update_ms: now_ms,
                by_proxy: member.by_proxy,
                queues: BTreeMap::new(),
            });
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECT: Member<'_> = Member {
        topic: "t",
        group: "g",
        client_id: "c",
        by_proxy: false,
    };
    const BY_PROXY: Member<'_> = Member {
        by_proxy: true,
        ..DIRECT
    };

    #[test]
    fn a_member_goes_on_where_it_was_when_it_changes_to_a_proxy_and_back() {
        let offsets = BroadcastOffsets::new();
        offsets.update(DIRECT, 0, 5, 0);
        offsets.update(DIRECT, 0, 3, 0);
        assert_eq!(offsets.initial(DIRECT, 0, 5, 0, || 99), None);
        assert_eq!(offsets.initial(BY_PROXY, 0, -1, 0, || 99), Some(5));
        offsets.update(BY_PROXY, 0, 8, 0);
        assert_eq!(offsets.initial(BY_PROXY, 0, 8, 0, || 99), None);
        assert_eq!(offsets.initial(BY_PROXY, 0, -1, 0, || 99), Some(8));
        assert_eq!(offsets.initial(DIRECT, 0, 5, 0, || 99), Some(8));
        assert_eq!(offsets.initial(DIRECT, 1, 5, 0, || 99), Some(99), "another queue");
    }

    #[test]
    fn a_member_nobody_knows_is_told_where_to_begin_by_proxy_only() {
        let offsets = BroadcastOffsets::new();
        assert_eq!(offsets.initial(DIRECT, 0, -1, 0, || 99), None);
        assert_eq!(offsets.initial(BY_PROXY, 0, -1, 0, || 99), Some(99));
        assert_eq!(offsets.initial(BY_PROXY, 0, 7, 0, || 99), None);
    }

    #[test]
    fn the_slowest_member_counts_and_silent_ones_are_forgotten() {
        let offsets = BroadcastOffsets::new();
        let other = Member {
            client_id: "d",
            ..DIRECT
        };
        offsets.update(DIRECT, 0, 5, 0);
        offsets.update(other, 0, 9, 60_000);
        let expire = |now_ms| offsets.expire(now_ms, 120_000, 300_000, |_, client| client == "d");
        let slowest = |offset| SlowestOffset {
            topic: "t".to_owned(),
            group: "g".to_owned(),
            queue_id: 0,
            offset,
        };
        assert_eq!(expire(100_000), [slowest(5)]);
        assert_eq!(expire(120_000), [slowest(9)], "c is gone");
        assert_eq!(expire(359_999), [slowest(9)], "d is online");
        assert_eq!(expire(360_000), [slowest(9)]);
        assert_eq!(expire(360_000), [], "and now forgotten too");
        assert_eq!(offsets.lock().members, 0);
    }

    #[test]
    fn one_member_too_many_is_not_remembered() {
        let offsets = BroadcastOffsets::new();
        offsets.lock().members = MAX_MEMBERS;
        offsets.update(DIRECT, 0, 5, 0);
        assert_eq!(offsets.initial(BY_PROXY, 0, -1, 0, || 99), None);
    }
}

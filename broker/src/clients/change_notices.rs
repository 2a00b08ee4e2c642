//! ChangeNotices: which consumer groups have changed, and when their members are told (NOTIFY_CONSUMER_IDS_CHANGED).
//!
//! ```text
//!   quiet ── change ──> a round at once ──> calm ── time over, no change ──> quiet
//!                            ^               │
//!                            └── time over ──┘ changed meanwhile
//! ```
//!
//! A round tells every member. Whoever joins or leaves a quiet group is announced at once; what changes while the group is calm
//! is announced together when that is over, so there is always a round behind the last change. Otherwise n members that join one
//! after the other would cost n x n notices. The larger the group, the longer it is calm: each notice makes a client ask
//! who is there and share the queues anew.
//!
//! Rounds run on a thread of their own: a heartbeat costs as much in a group of ten thousand as in a group of one.
//! Reference: `DefaultConsumerIdsChangeListener`, which tells all members of each change on the thread of the heartbeat, and
//! gives a round up only when another thread begins one of the same group.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::binary_heap::{BinaryHeap, PeekMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::clock::Now;
use common::properties::Live;
use common::service::{Next, Service, Waker};

use super::consumers::Consumers;
use super::notify;
use crate::config::BrokerConfig;

/// How long a group is calm after a round, at least.
const CALM: Duration = Duration::from_millis(50);

/// And for each member that was told: a group causes at most 20,000 notices a second.
const CALM_PER_MEMBER: Duration = Duration::from_micros(50);

/// With `realTimeNotifyConsumerChange=false` changes wait for so long. Reference: `DefaultConsumerIdsChangeListener`
const BATCHED: Duration = Duration::from_secs(15);

/// Between two ticks while all groups are quiet; a change wakes the service.
const QUIET_INTERVAL: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct ChangeNotices {
    changes: Mutex<Changes>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Changes {
    /// Groups that are not quiet, and whether they have changed since the last round began. As many as changed lately.
    groups: HashMap<Arc<str>, bool>,
    /// Those that were quiet until now.
    fresh: Vec<Arc<str>>,
}

impl ChangeNotices {
    /// `waker` is that of the [`NoticeRounds`].
    pub fn new(waker: Waker) -> Self {
        Self {
            changes: Mutex::default(),
            waker,
        }
    }

    /// A member came or went, or a subscription changed. To be called after the group's table shows it.
    pub fn changed(&self, group: &str) {
        let mut changes = self.changes();
        if let Some(changed) = changes.groups.get_mut(group) {
            *changed = true;
            return;
        }
        let group: Arc<str> = Arc::from(group);
        changes.groups.insert(Arc::clone(&group), true);
        changes.fresh.push(group);
        drop(changes);
        self.waker.wake();
    }

    fn take_fresh(&self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.changes().fresh)
    }

    /// The group's time is over. True if a round is due: it must look at the members after this. Else the group is quiet.
    fn begin_round(&self, group: &Arc<str>) -> bool {
        let mut changes = self.changes();
        match changes.groups.get_mut(group) {
            Some(changed @ true) => {
                *changed = false;
                true
            }
            _ => {
                changes.groups.remove(group);
                false
            }
        }
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the members of the groups that changed.
pub struct NoticeRounds {
    consumers: Arc<Consumers>,
    config: Arc<Live<BrokerConfig>>,
    /// Groups that are not quiet, by the time at which they are looked at again.
    waiting: BinaryHeap<Reverse<(Duration, Arc<str>)>>,
    /// Until the first of them.
    next: Duration,
}

impl NoticeRounds {
    /// For the groups of `consumers`.
    pub fn new(consumers: Arc<Consumers>, config: Arc<Live<BrokerConfig>>) -> Self {
        Self {
            consumers,
            config,
            waiting: BinaryHeap::new(),
            next: QUIET_INTERVAL,
        }
    }

    fn wait(&mut self, group: Arc<str>, until: Duration) {
        self.waiting.push(Reverse((until, group)));
    }

    fn take_due(&mut self, now: Duration) -> Option<Arc<str>> {
        let first = self.waiting.peek_mut()?;
        let Reverse((until, _)) = &*first;
        (*until <= now).then(|| PeekMut::pop(first).0.1)
    }

    fn look_at(&mut self, group: Arc<str>, now: Duration, real_time: bool) {
        if !self.consumers.notices.begin_round(&group) {
            return;
        }
        let told = self.consumers.info(&group).map_or(0, |info| {
            notify::consumer_ids_changed(&group, info.members());
            info.members().len()
        });
        let calm = match real_time {
            true => CALM.max(CALM_PER_MEMBER.saturating_mul(u32::try_from(told).unwrap_or(u32::MAX))),
            false => BATCHED,
        };
        self.wait(group, now + calm);
    }
}

impl Service for NoticeRounds {
    const NAME: &'static str = "consumer-notices";

    fn interval(&self) -> Duration {
        self.next
    }

    fn tick(&mut self, now: Now, _stopping: bool) -> anyhow::Result<Next> {
        let now = now.monotonic;
        let real_time = self.config.get().real_time_notify_consumer_change;
        for group in self.consumers.notices.take_fresh() {
            match real_time {
                true => self.look_at(group, now, real_time),
                false => self.wait(group, now + BATCHED),
            }
        }
        while let Some(group) = self.take_due(now) {
            self.look_at(group, now, real_time);
        }
        let first = self.waiting.peek().map(|Reverse((until, _))| *until);
        self.next = first.map_or(QUIET_INTERVAL, |until| until - now);
        Ok(Next::Idle)
    }
}

#[cfg(test)]
mod tests {
    use common::clock::{Clock as _, ManualClock};
    use common::random::Random;
    use remoting::body::ConsumerData;
    use remoting::connection::Connection;
    use remoting::frame::LanguageCode;

    use super::*;
    use crate::clients::ClientChannel;

    /// A table of consumers, the service behind it, and a clock.
    struct World {
        consumers: Arc<Consumers>,
        rounds: NoticeRounds,
        waker: Waker,
        clock: ManualClock,
        next_tick: Duration,
    }

    impl World {
        fn new(config: BrokerConfig) -> Self {
            let waker = Waker::new();
            let consumers = Arc::new(Consumers::new(waker.clone()));
            World {
                rounds: NoticeRounds::new(Arc::clone(&consumers), Arc::new(Live::new(config))),
                consumers,
                waker,
                clock: ManualClock::new(0),
                next_tick: QUIET_INTERVAL,
            }
        }

        fn join(&self, group: &str) -> Arc<Connection> {
            let connection = Connection::detached("127.0.0.1:9".parse().unwrap());
            self.rejoin(group, &connection);
            connection
        }

        fn rejoin(&self, group: &str, connection: &Arc<Connection>) {
            let data = ConsumerData {
                group_name: group.to_owned(),
                ..ConsumerData::default()
            };
            let channel = ClientChannel::new(Arc::clone(connection), "c", LanguageCode::JAVA, 513, 0);
            self.consumers.register(&data, channel, true);
        }

        /// As the thread of the service does: ticks when woken, or when the interval is over.
        fn pass(&mut self, time: Duration) {
            let end = self.clock.monotonic() + time;
            if self.waker.take() {
                self.tick();
            }
            while self.next_tick <= end {
                self.clock.advance(self.next_tick - self.clock.monotonic());
                self.tick();
            }
            self.clock.advance(end - self.clock.monotonic());
        }

        fn tick(&mut self) {
            assert_eq!(self.rounds.tick(self.clock.now(), false).unwrap(), Next::Idle);
            self.next_tick = self.clock.monotonic() + self.rounds.interval();
        }
    }

    fn notices(member: &Arc<Connection>) -> usize {
        member.take_sent().len()
    }

    #[test]
    fn a_change_of_a_quiet_group_is_told_at_once() {
        let mut world = World::new(BrokerConfig::default());
        let first = world.join("g");
        world.pass(Duration::ZERO);
        assert_eq!(notices(&first), 1);
        world.pass(CALM);
        let second = world.join("g");
        world.pass(Duration::ZERO);
        assert_eq!((notices(&first), notices(&second)), (1, 1));
        world.pass(Duration::from_secs(3_600));
        assert_eq!((notices(&first), notices(&second)), (0, 0));
        let changes = world.consumers.notices.changes();
        assert!(
            changes.groups.is_empty() && changes.fresh.is_empty(),
            "a quiet group leaves no trace"
        );
    }

    #[test]
    fn changes_that_follow_closely_are_told_together() {
        let mut world = World::new(BrokerConfig::default());
        let first = world.join("g");
        world.pass(Duration::ZERO);
        assert_eq!(notices(&first), 1);
        let others: Vec<_> = (0..20)
            .map(|_| {
                world.pass(CALM / 50);
                world.join("g")
            })
            .collect();
        let elsewhere = world.join("h");
        world.pass(Duration::ZERO);
        assert_eq!(notices(&first), 0, "the group is still calm");
        assert_eq!(notices(&elsewhere), 1, "and no other group waits for it");
        world.pass(CALM);
        assert_eq!(notices(&first), 1);
        assert!(others.iter().all(|other| notices(other) == 1));
    }

    #[test]
    fn many_members_that_join_one_after_the_other_cost_some_rounds_and_not_a_round_each() {
        const MEMBERS: usize = 4_000;
        const SPACING: Duration = Duration::from_micros(500);
        let most = MEMBERS * SPACING.as_micros() as usize / CALM_PER_MEMBER.as_micros() as usize;
        let mut world = World::new(BrokerConfig::default());
        let mut members = Vec::new();
        let mut told = 0;
        for joined in 0..MEMBERS {
            world.pass(SPACING);
            members.push(world.join("g"));
            // Read often enough that no notice is left out because one waits.
            if joined % 50 == 0 {
                told += members.iter().map(notices).sum::<usize>();
            }
        }
        members.iter().for_each(|member| drop(member.take_sent()));
        world.pass(CALM_PER_MEMBER * MEMBERS as u32);
        assert!(
            members.iter().all(|member| notices(member) == 1),
            "each is told after the last change"
        );
        // A round for each would be eight millions.
        assert!(told <= most, "{told} notices, at most {most}");

        world.pass(Duration::from_secs(10));
        told = 0;
        for (left, member) in members.iter().enumerate() {
            world.consumers.connection_closed(member, |_| true);
            world.pass(SPACING);
            if left % 50 == 0 {
                told += members.iter().map(notices).sum::<usize>();
            }
        }
        assert!(told <= most, "{told} notices, at most {most}, when they leave");
    }

    #[test]
    fn without_real_time_notices_changes_wait_for_fifteen_seconds() {
        let mut world = World::new(BrokerConfig {
            real_time_notify_consumer_change: false,
            ..BrokerConfig::default()
        });
        let first = world.join("g");
        world.pass(BATCHED - Duration::from_millis(1));
        let second = world.join("g");
        assert_eq!((notices(&first), notices(&second)), (0, 0));
        world.pass(Duration::from_millis(1));
        assert_eq!((notices(&first), notices(&second)), (1, 1));
        world.consumers.connection_closed(&second, |_| true);
        world.pass(BATCHED - Duration::from_millis(1));
        assert_eq!(notices(&first), 0);
        world.pass(Duration::from_millis(1));
        assert_eq!(notices(&first), 1);
    }

    /// Model: a member knows of a change when it reads a notice after it. Whatever happens in whatever order, everybody
    /// who is still there has a notice to read after the last change.
    #[test]
    fn the_last_change_is_told_to_every_member_there_is() {
        const GROUPS: [&str; 3] = ["g", "h", "i"];
        for seed in 0..300 {
            let random = Random::new(seed);
            let mut world = World::new(BrokerConfig::default());
            let mut members: Vec<(usize, Arc<Connection>, bool)> = Vec::new();
            for _ in 0..random.below(200) {
                let group = random.below(3) as usize;
                let one = random.below(members.len().max(1) as i32) as usize;
                match random.below(5) {
                    0 | 1 => {
                        let member = world.join(GROUPS[group]);
                        members.push((group, member, false));
                        outdate(&mut members, group);
                    }
                    2 if !members.is_empty() => {
                        let (group, left, _) = members.swap_remove(one);
                        world.consumers.connection_closed(&left, |_| true);
                        outdate(&mut members, group);
                    }
                    3 => world.pass(CALM * random.below(100) as u32 / 40),
                    _ if !members.is_empty() => {
                        let (_, member, knows) = &mut members[one];
                        *knows |= notices(member) > 0;
                    }
                    _ => {}
                }
            }
            world.pass(Duration::from_secs(1));
            for (group, member, knows) in &members {
                assert!(
                    *knows || notices(member) > 0,
                    "seed {seed}: a member of {} does not know",
                    GROUPS[*group]
                );
            }
        }
    }

    fn outdate(members: &mut [(usize, Arc<Connection>, bool)], changed: usize) {
        for (_, _, knows) in members.iter_mut().filter(|(group, _, _)| *group == changed) {
            *knows = false;
        }
    }
}

//! The parked requests of one kind: found by id, by deadline, by connection, and by what they wait for.
//!
//! ```text
//!   hold ─> waiting: id to request ──┬── resume: something picked it            ──> back to the task of its connection
//!           deadlines, connections   ├── expire: its time is up                 ──> the same
//!           index: by what it awaits └── connection_closed: nobody to answer    ──> withdrawn
//! ```
//!
//! A kind says how its requests are found ([`Kind`]) and adds what wakes them. Invariant: whatever is parked is resumed exactly
//! once, unless its connection closes first. The lock is a leaf; requests are resumed outside of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use common::clock::{Clock, Now};
use common::service::{Next, Service, Waker};
use remoting::connection::Connection;
use remoting::request::ParkedRequest;

/// A wall clock set back by more makes deadlines meaningless.
const CLOCK_TOLERANCE_MS: i64 = 1_000;
/// How long the expiry sleeps at most while something is parked: deadlines are wall times, and the clock may be set.
const LONGEST: Duration = Duration::from_secs(1);
/// And while nothing is: whoever parks something wakes it.
const IDLE: Duration = Duration::from_secs(5);

/// One kind of requests: an index of them by what they wait for.
pub trait Kind: Default {
    /// What one of them waits for.
    type Waits;
    /// Name of the service that resumes them on time.
    const EXPIRY: &'static str;

    /// A request is parked.
    fn add(&mut self, id: u64, waits: &Self::Waits);

    /// It no longer is.
    fn forget(&mut self, id: u64, waits: &Self::Waits);
}

/// The parked requests of a kind.
pub struct Hold<K: Kind> {
    /// How many are parked: whoever might wake one looks here first, so a broker without waiting clients pays nothing.
    count: AtomicUsize,
    stopped: AtomicBool,
    parked: Mutex<Parked<K>>,
    waker: Waker,
}

/// What the lock of a [`Hold`] guards.
pub(super) struct Parked<K: Kind> {
    /// By what they wait for.
    pub(super) index: K,
    /// By id: the greater, the later it was parked.
    pub(super) waiting: HashMap<u64, Waiting<K::Waits>, foldhash::fast::RandomState>,
    deadlines: BTreeSet<(i64, u64)>,
    /// By connection id.
    connections: HashMap<u64, BTreeSet<u64>>,
    last_id: u64,
}

/// One parked request.
pub(super) struct Waiting<W> {
    pub(super) waits: W,
    deadline_ms: i64,
    request: ParkedRequest,
}

impl<K: Kind> Hold<K> {
    /// Nothing parked. The waker belongs to the service that calls [`Self::expire`].
    pub fn new(waker: Waker) -> Self {
        Hold {
            count: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            parked: Mutex::new(Parked {
                index: K::default(),
                waiting: HashMap::default(),
                deadlines: BTreeSet::new(),
                connections: HashMap::new(),
                last_id: 0,
            }),
            waker,
        }
    }

    /// Parks a request until something wakes it, or `deadline_ms` (wall time) passes. What it waits for may have happened
    /// since it looked: look once more afterwards.
    ///
    /// # Errors
    /// With the request left to the caller, when there is no room or the broker stops.
    pub(super) fn hold<F: FnOnce() -> ParkedRequest>(
        &self,
        waits: K::Waits,
        deadline_ms: i64,
        connection: &Arc<Connection>,
        has_room: impl FnOnce(&Parked<K>) -> bool,
        request: F,
    ) -> Result<(), F> {
        let mut parked = self.parked();
        if self.stopped.load(Ordering::SeqCst) || !has_room(&parked) {
            return Err(request);
        }
        // An arrival that still sees zero came before the caller's second look, which will see it.
        self.count.fetch_add(1, Ordering::SeqCst);
        let is_next = parked.insert(waits, deadline_ms, request());
        drop(parked);
        if is_next {
            self.waker.wake();
        }
        // It may have closed before it had anything parked here to forget.
        if !connection.is_open() {
            self.connection_closed(connection);
        }
        Ok(())
    }

    /// Resumes what `pick` takes.
    pub(super) fn resume<I>(&self, pick: impl FnOnce(&mut Parked<K>) -> I)
    where
        I: IntoIterator<Item = Waiting<K::Waits>>,
    {
        if self.is_empty() {
            return;
        }
        let picked = pick(&mut self.parked());
        for waiting in picked {
            self.count.fetch_sub(1, Ordering::SeqCst);
            waiting.request.resume();
        }
    }

    /// Resumes those whose time is up. Returns when the next one's is, if any is parked.
    pub fn expire(&self, now_ms: i64) -> Option<i64> {
        self.resume(|parked| parked.take_due(now_ms));
        let parked = self.parked();
        parked.deadlines.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Resumes everything.
    pub fn resume_all(&self) {
        self.expire(i64::MAX);
    }

    /// Resumes everything and parks nothing more: the broker stops.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.resume_all();
    }

    /// Forgets the requests of a closed connection.
    pub fn connection_closed(&self, connection: &Arc<Connection>) {
        if self.is_empty() {
            return;
        }
        let gone = self.parked().take_of_connection(connection.id());
        self.count.fetch_sub(gone.len(), Ordering::SeqCst);
        gone.into_iter().for_each(|waiting| waiting.request.withdraw());
    }

    /// How many are parked.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Whether nothing is parked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn parked(&self) -> MutexGuard<'_, Parked<K>> {
        self.parked
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<K: Kind> std::fmt::Debug for Hold<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(K::EXPIRY).field("parked", &self.len()).finish()
    }
}

impl<K: Kind> Parked<K> {
    /// How many are parked over one connection.
    pub(super) fn of_connection(&self, connection_id: u64) -> usize {
        self.connections.get(&connection_id).map_or(0, BTreeSet::len)
    }

    /// Adds a request; true if its deadline is the next one.
    fn insert(&mut self, waits: K::Waits, deadline_ms: i64, request: ParkedRequest) -> bool {
        self.last_id += 1;
        let id = self.last_id;
        self.index.add(id, &waits);
        self.deadlines.insert((deadline_ms, id));
        let connection_id = request.connection().id();
        self.connections.entry(connection_id).or_default().insert(id);
        let waiting = Waiting {
            waits,
            deadline_ms,
            request,
        };
        self.waiting.insert(id, waiting);
        self.deadlines.first().is_some_and(|(_, first)| *first == id)
    }

    /// Takes a request out of every table.
    pub(super) fn take(&mut self, id: u64) -> Option<Waiting<K::Waits>> {
        let waiting = self.waiting.remove(&id)?;
        self.index.forget(id, &waiting.waits);
        self.deadlines.remove(&(waiting.deadline_ms, id));
        forget_in(&mut self.connections, &waiting.request.connection().id(), id);
        Some(waiting)
    }

    /// Takes several.
    pub(super) fn take_all(&mut self, ids: impl IntoIterator<Item = u64>) -> Vec<Waiting<K::Waits>> {
        ids.into_iter().filter_map(|id| self.take(id)).collect()
    }

    fn take_due(&mut self, now_ms: i64) -> Vec<Waiting<K::Waits>> {
        let due = self
            .deadlines
            .iter()
            .take_while(|(deadline_ms, _)| *deadline_ms <= now_ms);
        let due: Vec<u64> = due.map(|(_, id)| *id).collect();
        self.take_all(due)
    }

    fn take_of_connection(&mut self, connection_id: u64) -> Vec<Waiting<K::Waits>> {
        let ids = self.connections.get(&connection_id).cloned().unwrap_or_default();
        self.take_all(ids)
    }
}

/// Takes an id out of the set under a key, and the set when nothing is left in it.
pub(super) fn forget_in<Q: Eq + std::hash::Hash>(sets: &mut HashMap<Q, BTreeSet<u64>>, key: &Q, id: u64) {
    if let Some(ids) = sets.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            sets.remove(key);
        }
    }
}

/// Resumes the requests of a [`Hold`] on time.
#[derive(Debug)]
pub struct Expiry<K: Kind> {
    hold: Arc<Hold<K>>,
    clock: Arc<dyn Clock>,
    next_ms: Option<i64>,
    /// Wall time less monotonic time, at the last tick.
    wall_ahead_ms: Option<i64>,
}

impl<K: Kind> Expiry<K> {
    /// The expiry of `hold`; `clock` is the one that deadlines are made from.
    pub fn new(hold: Arc<Hold<K>>, clock: Arc<dyn Clock>) -> Self {
        Self {
            hold,
            clock,
            next_ms: None,
            wall_ahead_ms: None,
        }
    }

    /// Whether the wall clock was set back since the last tick: deadlines would then be hours away.
    fn clock_was_set_back(&mut self, now: Now) -> bool {
        let monotonic_ms = i64::try_from(now.monotonic.as_millis()).unwrap_or(i64::MAX);
        let wall_ahead_ms = now.wall_ms.saturating_sub(monotonic_ms);
        let before = self.wall_ahead_ms.replace(wall_ahead_ms);
        before.is_some_and(|before| wall_ahead_ms < before - CLOCK_TOLERANCE_MS)
    }
}

impl<K: Kind + Send + 'static> Service for Expiry<K>
where
    K::Waits: Send,
{
    const NAME: &'static str = K::EXPIRY;

    fn interval(&self) -> Duration {
        let Some(next_ms) = self.next_ms else {
            return IDLE;
        };
        let left_ms = next_ms.saturating_sub(self.clock.wall_ms()).max(1);
        LONGEST.min(Duration::from_millis(u64::try_from(left_ms).unwrap_or(1)))
    }

    fn tick(&mut self, now: Now, stopping: bool) -> anyhow::Result<Next> {
        if stopping {
            self.hold.stop();
        } else if self.clock_was_set_back(now) {
            self.hold.resume_all();
        }
        self.next_ms = self.hold.expire(now.wall_ms);
        Ok(Next::Idle)
    }
}

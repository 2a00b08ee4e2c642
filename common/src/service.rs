//! Background work: every repeating job is a [`Service`], and [`Services`] runs them all.
//!
//! A service is a `tick`; it owns no thread and knows no socket, so a test or the simulator can call
//! `tick` itself. In a server each one runs on its own named thread:
//!
//! ```text
//!   start ──> wait(interval or Waker) ──> tick ──> Idle: wait   Nap: sleep   Again: tick at once
//!                      │ stop
//!                      └──> tick(stopping = true) ──> thread ends
//! ```
//!
//! Waking a sleeping thread costs whoever wakes it several microseconds. A service with much small work naps: what comes
//! meanwhile costs nobody a wake-up and is found when the nap is over.
//!
//! A tick that errs is logged with the service's name and tried again at the next interval. A tick
//! that panics aborts the process: state behind it is no longer trusted, and a broker that seems
//! alive but no longer flushes is worse than one that is gone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use crate::clock::{Clock, Now};

/// How long the process outlives a panicked tick, so that the log can say why it ends.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What a tick asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing left to do before the interval passes or somebody wakes the service.
    Idle,
    /// Nothing left to do, but soon there will be: tick again after this time. Nobody has to wake the service until then.
    Nap(Duration),
    /// More work is waiting: tick again at once.
    Again,
}

/// Work that repeats. Runs when `interval` passes or its [`Waker`] is called.
pub trait Service: Send + 'static {
    /// Names the thread and the log lines.
    const NAME: &'static str;

    /// The longest time between two ticks.
    fn interval(&self) -> Duration;

    /// Does what is due. The last tick before the service ends has `stopping == true`.
    fn tick(&mut self, now: Now, stopping: bool) -> anyhow::Result<Next>;
}

/// Wakes one service's thread before its interval ends. Cheap when the service is already awake.
///
/// Made before the service, so that whoever produces its work can hold it.
#[derive(Clone, Debug, Default)]
pub struct Waker {
    shared: Arc<WakerState>,
}

#[derive(Debug, Default)]
struct WakerState {
    pending: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Waker {
    /// A waker that is not yet attached to a thread; calls before that are remembered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a tick. Many calls before the tick starts make one tick.
    pub fn wake(&self) {
        // SeqCst pairs with the swap in `take`: either the ticking thread sees our work, or we see
        // that it has taken the flag and unpark it again.
        if self.shared.pending.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(thread) = self.shared.thread.get() {
            thread.unpark();
        }
    }

    /// Takes the pending request, if any. For drivers that tick a service without a thread.
    pub fn take(&self) -> bool {
        self.shared.pending.swap(false, Ordering::SeqCst)
    }

    /// Makes calls cheap until the next tick: it is coming anyway.
    fn expect_tick(&self) {
        self.shared.pending.store(true, Ordering::SeqCst);
    }

    fn attach_current_thread(&self) {
        // A second attach would mean that two services share a waker: keep the first.
        let _ = self.shared.thread.set(std::thread::current());
    }
}

/// The running services, in start order.
#[derive(Debug)]
pub struct Services {
    clock: Arc<dyn Clock>,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    name: &'static str,
    stopping: Arc<AtomicBool>,
    waker: Waker,
    thread: JoinHandle<()>,
}

impl Services {
    /// No services yet; ticks will be given times from `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            running: Vec::new(),
        }
    }

    /// Starts a service on a thread of its own.
    ///
    /// # Errors
    /// When the operating system refuses another thread.
    pub fn start<S: Service>(&mut self, service: S, waker: &Waker) -> std::io::Result<()> {
        let stopping = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            service,
            clock: Arc::clone(&self.clock),
            waker: waker.clone(),
            stopping: Arc::clone(&stopping),
        };
        let thread = std::thread::Builder::new()
            .name(S::NAME.to_owned())
            .spawn(move || worker.run())?;
        self.running.push(Running {
            name: S::NAME,
            stopping,
            waker: waker.clone(),
            thread,
        });
        Ok(())
    }

    /// The names of the running services, in start order.
    pub fn names(&self) -> Vec<&'static str> {
        self.running.iter().map(|running| running.name).collect()
    }

    /// Stops the services in reverse start order; each gets its last tick and is joined.
    pub fn stop(mut self) {
        while let Some(running) = self.running.pop() {
            running.stopping.store(true, Ordering::SeqCst);
            running.waker.wake();
            running.thread.thread().unpark();
            if running.thread.join().is_err() {
                tracing::error!(service = running.name, "service thread ended by a panic");
            }
        }
    }
}

struct Worker<S> {
    service: S,
    clock: Arc<dyn Clock>,
    waker: Waker,
    stopping: Arc<AtomicBool>,
}

impl<S: Service> Worker<S> {
    fn run(mut self) {
        self.waker.attach_current_thread();
        loop {
            let stopping = self.stopping.load(Ordering::SeqCst);
            // Taken before the tick: work that arrives during it asks for another one.
            self.waker.take();
            let next = self.tick(stopping);
            if stopping {
                return;
            }
            match next {
                Next::Idle => self.wait(),
                Next::Nap(time) => self.nap(time),
                Next::Again => {}
            }
        }
    }

    fn tick(&mut self, stopping: bool) -> Next {
        let now = self.clock.now();
        match catch_unwind(AssertUnwindSafe(|| self.service.tick(now, stopping))) {
            Ok(Ok(next)) => next,
            Ok(Err(error)) => {
                tracing::error!(service = S::NAME, "tick failed, will be tried again: {error:#}");
                Next::Idle
            }
            Err(_) => {
                tracing::error!(service = S::NAME, "tick panicked: stopping the process");
                // Log lines are written by another thread: give it the time.
                std::thread::sleep(LAST_WORDS);
                std::process::abort();
            }
        }
    }

    fn wait(&self) {
        self.park(self.service.interval(), || {
            self.waker.shared.pending.load(Ordering::SeqCst)
        });
    }

    fn nap(&self, time: Duration) {
        self.waker.expect_tick();
        self.park(time, || false);
    }

    /// Sleeps until the time has passed, somebody woke the thread for a reason, or the service is to stop.
    fn park(&self, time: Duration, is_woken: impl Fn() -> bool) {
        let deadline = self.clock.monotonic() + time;
        loop {
            if is_woken() || self.stopping.load(Ordering::SeqCst) {
                return;
            }
            let Some(left) = deadline
                .checked_sub(self.clock.monotonic())
                .filter(|left| !left.is_zero())
            else {
                return;
            };
            std::thread::park_timeout(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    struct Recorder {
        interval: Duration,
        ticks: Sender<bool>,
        fail_first: bool,
        then: Next,
    }

    impl Service for Recorder {
        const NAME: &'static str = "recorder";

        fn interval(&self) -> Duration {
            self.interval
        }

        fn tick(&mut self, _now: Now, stopping: bool) -> anyhow::Result<Next> {
            self.ticks.send(stopping)?;
            if std::mem::take(&mut self.fail_first) {
                anyhow::bail!("first tick fails");
            }
            Ok(self.then)
        }
    }

    fn started(interval: Duration, fail_first: bool) -> (Services, Waker, Receiver<bool>) {
        let then = Next::Idle;
        start(|ticks| Recorder {
            interval,
            ticks,
            fail_first,
            then,
        })
    }

    fn napping(nap: Duration) -> (Services, Waker, Receiver<bool>) {
        start(|ticks| Recorder {
            interval: NEVER,
            ticks,
            fail_first: false,
            then: Next::Nap(nap),
        })
    }

    fn start(recorder: impl FnOnce(Sender<bool>) -> Recorder) -> (Services, Waker, Receiver<bool>) {
        let (sender, receiver) = channel();
        let mut services = Services::new(Arc::new(SystemClock::new()));
        let waker = Waker::new();
        services.start(recorder(sender), &waker).unwrap();
        (services, waker, receiver)
    }

    const PATIENCE: Duration = Duration::from_secs(10);
    const NEVER: Duration = Duration::from_secs(3600);

    #[test]
    fn a_wake_makes_a_tick_long_before_the_interval() {
        let (services, waker, ticks) = started(NEVER, false);
        assert_eq!(ticks.recv_timeout(PATIENCE), Ok(false));
        waker.wake();
        assert_eq!(ticks.recv_timeout(PATIENCE), Ok(false));
        services.stop();
    }

    #[test]
    fn a_nap_ends_by_itself_and_not_by_a_wake() {
        let (nap, since) = (Duration::from_millis(50), Instant::now());
        let (services, waker, ticks) = napping(nap);
        assert_eq!(ticks.recv_timeout(PATIENCE), Ok(false));
        assert_eq!(ticks.recv_timeout(PATIENCE), Ok(false));
        waker.wake();
        assert_eq!(ticks.recv_timeout(PATIENCE), Ok(false));
        assert!(
            since.elapsed() >= nap,
            "one nap at least lies between three ticks"
        );
        services.stop();
    }

    #[test]
    fn a_stop_ends_a_nap() {
        let (services, _waker, ticks) = napping(NEVER);
        assert_eq!(ticks.recv_timeout(PATIENCE), Ok(false));
        services.stop();
        assert_eq!(ticks.try_iter().last(), Some(true));
    }

    #[test]
    fn the_last_tick_knows_that_it_is_the_last() {
        let (services, _waker, ticks) = started(NEVER, false);
        assert_eq!(ticks.recv_timeout(PATIENCE), Ok(false));
        services.stop();
        assert_eq!(ticks.try_iter().last(), Some(true));
    }

    #[test]
    fn a_failed_tick_is_tried_again_at_the_next_interval() {
        let (services, _waker, ticks) = started(Duration::from_millis(1), true);
        assert_eq!(ticks.recv_timeout(PATIENCE), Ok(false));
        assert_eq!(ticks.recv_timeout(PATIENCE), Ok(false));
        services.stop();
    }
}

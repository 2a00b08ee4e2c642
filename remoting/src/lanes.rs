//! Lanes: where calls run that may not run on the task of their connection.
//!
//! Both lanes are bounded per connection and per server; a call beyond the bound is refused with SYSTEM_BUSY, as the
//! reference does when the queue of a thread pool is full. A call that leaves its connection's task has memory of its
//! own, so a slow one does not keep the read buffer.
//!
//! The blocking lane borrows threads from the runtime while there is work, at most `blocking_threads` of them, and gives
//! them back when nothing has come for a moment: an idle server keeps none, and of requests that follow one another each is
//! taken by a thread that waits for it.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use crate::codes::{request_name, response_code};
use crate::connection::Connection;
use crate::request::{Call, Handled, Refusal};
use crate::routes::HandlerFuture;

/// Reference: NettyRemotingAbstract, answer when a thread pool rejects
const OVERLOAD: &str = "[OVERLOAD]system busy, start flow control for a while";

/// How long a thread waits for the next job. To borrow one anew costs more than twice as much as to wake one that waits.
const LINGER: Duration = Duration::from_millis(20);

type Job = Box<dyn FnOnce() + Send>;

/// The lanes blocking and task of one server.
#[derive(Debug)]
pub(crate) struct Lanes {
    calls: Arc<AtomicUsize>,
    max_calls: usize,
    max_calls_per_connection: usize,
    pool: Arc<Pool>,
}

impl Lanes {
    pub(crate) fn new(blocking_threads: usize, max_calls: usize, max_calls_per_connection: usize) -> Self {
        let pool = Pool {
            queue: Mutex::default(),
            job_came: Condvar::new(),
            max_threads: blocking_threads.max(1),
        };
        Lanes {
            calls: Arc::default(),
            max_calls,
            max_calls_per_connection,
            pool: Arc::new(pool),
        }
    }

    /// Lanes without a runtime: a call of the lane blocking runs at once, on the thread that brings it.
    pub(crate) fn in_place() -> Self {
        Lanes {
            calls: Arc::default(),
            max_calls: usize::MAX,
            max_calls_per_connection: usize::MAX,
            pool: Arc::new(Pool {
                queue: Mutex::default(),
                job_came: Condvar::new(),
                max_threads: 0,
            }),
        }
    }

    /// Runs a handler on a thread that may block. The answer goes to the mailbox of the connection.
    pub(crate) fn run_blocking<S: Send + Sync + 'static>(
        &self,
        state: &Arc<S>,
        call: &Call,
        handler: fn(&S, &Call) -> Handled,
    ) -> Result<(), Refusal> {
        let place = self.take_place(&call.connection)?;
        let call = Call {
            frame: call.frame.detached(),
            may_block: true,
            ..call.clone()
        };
        let responder = call.responder();
        let state = state.clone();
        self.pool.run(Box::new(move || {
            let _place = place;
            responder.finish(guarded(call.frame.code, || handler(&state, &call)));
        }));
        Ok(())
    }

    /// Runs a handler as a task of its own. The answer goes to the mailbox of the connection.
    pub(crate) fn run_task<S: Send + Sync + 'static>(
        &self,
        state: &Arc<S>,
        call: &Call,
        handler: fn(Arc<S>, Call) -> HandlerFuture,
    ) -> Result<(), Refusal> {
        let place = self.take_place(&call.connection)?;
        let call = Call {
            frame: call.frame.detached(),
            ..call.clone()
        };
        let (code, responder, state) = (call.frame.code, call.responder(), state.clone());
        tokio::spawn(async move {
            let _place = place;
            let mut future = handler(state, call);
            let handled = std::future::poll_fn(|context| {
                match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
                    Ok(poll) => poll,
                    Err(panic) => Poll::Ready(Err(panic_refusal(code, panic.as_ref()))),
                }
            });
            responder.finish(handled.await);
        });
        Ok(())
    }

    /// Calls that run or wait.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn take_place(&self, connection: &Arc<Connection>) -> Result<Place, Refusal> {
        let place = Place {
            calls: self.calls.clone(),
            connection: connection.clone(),
        };
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        let of_connection = connection.lane_calls.fetch_add(1, Ordering::Relaxed);
        if calls >= self.max_calls || of_connection >= self.max_calls_per_connection {
            return Err(Refusal::new(response_code::SYSTEM_BUSY, OVERLOAD));
        }
        Ok(place)
    }
}

/// One call's share of the bounds; given back when dropped.
struct Place {
    calls: Arc<AtomicUsize>,
    connection: Arc<Connection>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
        self.connection.lane_calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Jobs in order, and the threads that take them. The queue is bounded by the places in the lanes.
#[derive(Debug)]
struct Pool {
    queue: Mutex<Queue>,
    job_came: Condvar,
    /// None: whoever brings a job does it.
    max_threads: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Borrowed threads, waiting ones included.
    threads: usize,
    /// Those that wait for a job.
    waiting: usize,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("jobs", &self.jobs.len())
            .field("threads", &self.threads)
            .finish()
    }
}

impl Pool {
    fn run(self: &Arc<Self>, job: Job) {
        if self.max_threads == 0 {
            return job();
        }
        let mut queue = self.queue();
        queue.jobs.push_back(job);
        // A job must not wait for another that may take long: each that waits has a thread of its own, as far as they go.
        let is_short = queue.jobs.len() > queue.waiting && queue.threads < self.max_threads;
        queue.threads += usize::from(is_short);
        // Whoever is woken needs the lock.
        drop(queue);
        if is_short {
            let pool = self.clone();
            tokio::task::spawn_blocking(move || pool.work());
        } else {
            self.job_came.notify_one();
        }
    }

    /// Jobs do not panic: the handler inside is guarded.
    fn work(&self) {
        while let Some(job) = self.next_job() {
            job();
        }
    }

    /// The next job; `None` when there was none for a while, and the thread no longer counts.
    fn next_job(&self) -> Option<Job> {
        let mut queue = self.queue();
        if queue.jobs.is_empty() {
            queue.waiting += 1;
            let (woken, _) = self
                .job_came
                .wait_timeout_while(queue, LINGER, |queue| queue.jobs.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.waiting -= 1;
        }
        let job = queue.jobs.pop_front();
        queue.threads -= usize::from(job.is_none());
        job
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a handler; a panic becomes an answer and a log line, and the server lives on.
pub(crate) fn guarded(code: i32, handler: impl FnOnce() -> Handled) -> Handled {
    // Whatever the handler left half done is behind locks of its own, which are poisoned then.
    catch_unwind(AssertUnwindSafe(handler)).unwrap_or_else(|panic| Err(panic_refusal(code, panic.as_ref())))
}

fn panic_refusal(code: i32, panic: &(dyn Any + Send)) -> Refusal {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    let name = request_name(code).unwrap_or("unknown");
    tracing::error!(code, name, panic = text, "request handler panicked");
    Refusal::system_error(format!("handler of {name} panicked: {text}"))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_job_waits_for_no_other_while_there_are_threads_and_they_are_given_back() {
        let lanes = Lanes::new(2, usize::MAX, usize::MAX);
        for _ in 0..50 {
            // The first needs the second: one thread, also one that waits for jobs, would not do.
            let (to_first, from_second) = channel();
            let (to_test, from_first) = channel();
            lanes.pool.run(Box::new(move || {
                let _ = to_test.send(from_second.recv_timeout(PATIENCE));
            }));
            lanes.pool.run(Box::new(move || {
                let _ = to_first.send(());
            }));
            assert_eq!(from_first.recv_timeout(PATIENCE), Ok(Ok(())));
        }
        let deadline = Instant::now() + PATIENCE;
        while lanes.pool.queue().threads > 0 && Instant::now() < deadline {
            std::thread::sleep(LINGER);
        }
        let queue = lanes.pool.queue();
        assert_eq!((queue.threads, queue.waiting, queue.jobs.len()), (0, 0, 0));
    }
}

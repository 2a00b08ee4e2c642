//! LOCK_BATCH_MQ, UNLOCK_BATCH_MQ: which client of a group consumes a queue in order.
//!
//! A lock ends by itself after a minute; consumers renew theirs every twenty seconds. Locks that other brokers must agree
//! to (`lockInStrictMode`) come with replicas. Reference: `AdminBrokerProcessor.lockBatchMQ`, `RebalanceLockManager`.

use remoting::body::consume::{LockBatchRequestBody, LockBatchResponseBody, UnlockBatchRequestBody};
use remoting::fields::NoHeader;
use remoting::request::{Handled, Request, Response};

use crate::broker::Broker;
use crate::processor::json::{parse_body, to_body};

/// Locks the queues that are free or already the client's; answers which.
pub(crate) fn lock_batch(broker: &Broker, request: Request<'_, NoHeader>) -> Handled {
    let asked: LockBatchRequestBody = parse_body(request.body())?;
    let locked = broker.queue_locks.lock_batch(
        &asked.consumer_group,
        &asked.mq_set,
        &asked.client_id,
        broker.clock.wall_ms(),
    );
    let body = LockBatchResponseBody {
        lock_ok_mq_set: locked,
    };
    Ok(Response::success().body(to_body(&body)?).into())
}

/// Gives up the locks that the client has.
pub(crate) fn unlock_batch(broker: &Broker, request: Request<'_, NoHeader>) -> Handled {
    let asked: UnlockBatchRequestBody = parse_body(request.body())?;
    broker
        .queue_locks
        .unlock_batch(&asked.consumer_group, &asked.mq_set, &asked.client_id);
    Ok(Response::success().into())
}

//! Figures about the timer, which slaves copy.

use remoting::fields::NoHeader;
use remoting::request::{Handled, Refusal, Request, Response};

use crate::broker::Broker;
use crate::processor::json::to_body;

/// GET_TIMER_CHECK_POINT: how far the timer is, as its file has it.
pub(crate) fn check_point(broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    let timers = broker
        .timers
        .as_deref()
        .ok_or_else(|| Refusal::system_error("The checkpoint is null"))?;
    Ok(Response::success()
        .body(timers.files.progress().encode().to_vec())
        .into())
}

/// GET_TIMER_METRICS: how many messages wait for each topic.
pub(crate) fn metrics(broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    let timers = broker
        .timers
        .as_deref()
        .ok_or_else(|| Refusal::system_error("The timer message store is null"))?;
    Ok(Response::success()
        .body(to_body(&timers.metrics.snapshot())?)
        .into())
}

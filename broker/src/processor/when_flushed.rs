//! Answers that promise something of the log: with SYNC_FLUSH they wait until it is on the disk.

use remoting::codes::response_code;
use remoting::request::{Outcome, Responder, Response};
use store::{FlushDiskType, FlushError, PhysicalOffset};

use crate::broker::Broker;
use crate::processor::refusals::flush_failed;

/// Answers now, or with SYNC_FLUSH when everything before `end` is on the disk. In doubt the promise is not given.
pub(crate) fn answer_when_flushed(
    broker: &Broker,
    end: PhysicalOffset,
    answer: Response,
    responder: impl FnOnce() -> Responder,
) -> Outcome {
    let store_config = broker.store_config.get();
    if store_config.flush_disk_type != FlushDiskType::SyncFlush {
        return answer.into();
    }
    let responder = responder();
    let deadline_ms = broker.clock.wall_ms() + store_config.sync_flush_timeout;
    broker.store.on_flushed(
        end,
        deadline_ms,
        Box::new(move |flushed| {
            responder.respond(match flushed {
                Ok(()) => answer,
                Err(FlushError::Timeout) => Response::new(response_code::FLUSH_DISK_TIMEOUT).remark(
                    "the disk was not reached in time: it is not known whether this survives a power loss",
                ),
                Err(error) => flush_failed(&error).into(),
            });
        }),
    );
    Outcome::Parked
}

//! END_TRANSACTION: makes a half message visible, or has it never become so.
//!
//! The request names the half message by its place in the log and in the half queue, and must come from its producer's
//! group. Unknown is no end and gets no answer: the check will ask again. What is committed goes the way of an ordinary
//! message from here on, so a delay begins now. Reference: `EndTransactionProcessor`.

use common::message::sys_flag;
use remoting::codes::response_code;
use remoting::header::EndTransactionRequestHeader;
use remoting::request::{Handled, Outcome, Refusal, Request, Response};
use store::{BrokerRole, PhysicalOffset, record};

use crate::broker::Broker;
use crate::processor::refusals::put_refused;
use crate::processor::send_message::{answer_when_safe, timer_slot};
use crate::processor::send_properties::SendProperties;
use crate::transaction::check::end_immunity_ms;
use crate::transaction::half_message::{Draft, HalfMessage};
use crate::transaction::transactions::EndError;

type EndRequest<'a> = Request<'a, EndTransactionRequestHeader<'a>>;

/// Commits or rolls back.
pub(crate) fn end_transaction(broker: &Broker, request: EndRequest<'_>) -> Handled {
    let header = &request.header;
    require_master(broker)?;
    let is_commit = match header.commit_or_rollback {
        sys_flag::TRANSACTION_COMMIT => true,
        sys_flag::TRANSACTION_ROLLBACK => false,
        sys_flag::TRANSACTION_NONE => return Ok(Outcome::Silent),
        _ => return Err(Refusal::system_error("commitOrRollback field wrong")),
    };
    let offset = PhysicalOffset(u64::try_from(header.commit_log_offset).unwrap_or(u64::MAX));
    if !request.may_block() && !broker.store.is_recent(offset) {
        return Ok(Outcome::MoveToBlocking);
    }
    let bytes = broker.store.read_at(offset).ok_or_else(half_message_missing)?;
    let half = record::decode(&bytes)
        .ok()
        .and_then(HalfMessage::of)
        .ok_or_else(half_message_missing)?;
    refuse_after_immunity(broker, header, &half)?;
    require_belongs_to(&half, header)?;
    let ended = if is_commit {
        let committed = committed(broker, &half)?;
        broker.transactions.commit(&half, &committed)
    } else {
        broker.transactions.roll_back(&half)
    };
    let followed = ended.map_err(|error| end_refused(broker, error))?;
    Ok(match followed {
        Some(end) => answer_when_safe(broker, &request, end, false, Response::success()),
        None => Response::success().into(),
    })
}

fn require_master(broker: &Broker) -> Result<(), Refusal> {
    if broker.store_config.get().broker_role == BrokerRole::Slave {
        return Err(Refusal::new(response_code::SLAVE_NOT_AVAILABLE, ""));
    }
    Ok(())
}

/// A producer that set a time before which it is not to be asked must end its transaction within it, or wait for the
/// question. Reference: `rejectCommitOrRollback`.
fn refuse_after_immunity(
    broker: &Broker,
    header: &EndTransactionRequestHeader<'_>,
    half: &HalfMessage<'_>,
) -> Result<(), Refusal> {
    let Some(immunity) = half.immunity().filter(|_| !header.from_transaction_check) else {
        return Ok(());
    };
    let age_ms = broker
        .clock
        .wall_ms()
        .saturating_sub(half.record.born_timestamp_ms);
    let immunity_ms = end_immunity_ms(immunity, broker.config.get().transaction_time_out);
    if age_ms <= immunity_ms {
        return Ok(());
    }
    Err(Refusal::new(
        response_code::ILLEGAL_OPERATION,
        format!("{age_ms} ms have passed, more than CHECK_IMMUNITY_TIME_IN_SECONDS allows: wait to be asked"),
    ))
}

/// Whether the request speaks of this half message, and for its group.
fn require_belongs_to(
    half: &HalfMessage<'_>,
    header: &EndTransactionRequestHeader<'_>,
) -> Result<(), Refusal> {
    if half.producer_group() != Some(&*header.producer_group) {
        return Err(Refusal::system_error("The producer group wrong"));
    }
    if half.record.queue_offset.to_wire() != header.tran_state_table_offset {
        return Err(Refusal::system_error("The transaction state table offset wrong"));
    }
    Ok(())
}

/// The message in its own topic, in the queue of its delay level, or in the timer topic.
fn committed<'a>(broker: &Broker, half: &HalfMessage<'a>) -> Result<Draft<'a>, Refusal> {
    let committed = half.committed().ok_or_else(half_message_missing)?;
    let properties = SendProperties::scan(half.record.properties)?;
    let level = properties.delay_level.min(broker.delay_levels.max_level());
    if level > 0 {
        return Ok(committed.delayed(level));
    }
    match timer_slot(broker, &properties)? {
        Some(out_ms) => Ok(committed.timed(out_ms)),
        None => Ok(committed),
    }
}

fn half_message_missing() -> Refusal {
    Refusal::system_error("Find prepared transaction message failed")
}

fn end_refused(broker: &Broker, error: EndError) -> Refusal {
    match error {
        EndError::Put(error) => put_refused(&error, broker.store_config.get().max_message_size),
        EndError::TooManyOpen => Refusal::new(
            response_code::SYSTEM_BUSY,
            format!("system busy, start flow control for a while. Here: {error}"),
        ),
        EndError::Over(_) => Refusal::system_error(error.to_string()),
    }
}

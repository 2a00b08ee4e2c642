//! Refusals that several processors share. Here alone the errors of the store become response codes.
//!
//! Remarks begin with the reference's words, which people search for, and end with what happened here.
//! Reference: `SendMessageProcessor.handlePutMessageResult`.

use remoting::codes::response_code;
use remoting::request::Refusal;
use store::{FlushError, PutError, WriteRefusal};

/// After remarks that operators look up, the newline included. Reference: `FAQUrl.suggestTodo`.
pub(crate) const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// The answer to a send that was not stored.
pub(crate) fn put_refused(error: &PutError, max_message_bytes: usize) -> Refusal {
    match error {
        PutError::IllegalTopic
        | PutError::TopicTooLong { .. }
        | PutError::BodyTooLarge { .. }
        | PutError::PropertiesTooLarge { .. }
        | PutError::RecordTooLarge { .. }
        | PutError::EmptyBatch
        | PutError::IllegalBatch(_) => message_illegal(max_message_bytes, error),
        PutError::TooManyLightQueues { .. } => Refusal::new(
            response_code::LMQ_QUOTA_EXCEEDED,
            format!("[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]lmq consume queue num exceeded. Here: {error}"),
        ),
        PutError::PageCacheBusy { .. } | PutError::Contended => Refusal::new(
            response_code::SYSTEM_BUSY,
            format!("[PC_SYNCHRONIZED]broker busy, start flow control for a while. Here: {error}"),
        ),
        PutError::NotWritable(WriteRefusal::Slave) => Refusal::new(
            response_code::SYSTEM_BUSY,
            "[REJECTREQUEST]system busy, start flow control for a while",
        ),
        PutError::NotWritable(refusal) => not_available(refusal),
    }
}

/// The answer to a send that no topic takes, and why.
pub(crate) fn message_illegal(max_message_bytes: usize, here: impl std::fmt::Display) -> Refusal {
    Refusal::new(
        response_code::MESSAGE_ILLEGAL,
        format!(
            "the message is illegal, maybe msg body or properties length not matched. msg body length limit \
             {max_message_bytes}B, msg properties length limit 32KB. Here: {here}"
        ),
    )
}

/// The answer to a send whose bytes may not have reached the disk. A timeout is no refusal: such a message is stored.
pub(crate) fn flush_failed(error: &FlushError) -> Refusal {
    not_available(error)
}

/// The answer to a pull, pop or peek of a queue that the disk does not give. Told that there is nothing, a client would ask again at
/// once, for as long as the disk fails; refused, it waits a little.
pub(crate) fn queue_unreadable() -> Refusal {
    Refusal::system_error("the queue cannot be read now")
}

/// The reference's name of what the store said; remarks of requests that are not sends carry it.
///
/// Reference: `PutMessageStatus`.
pub(crate) fn put_status(error: &PutError) -> &'static str {
    match error {
        PutError::IllegalTopic
        | PutError::TopicTooLong { .. }
        | PutError::BodyTooLarge { .. }
        | PutError::RecordTooLarge { .. }
        | PutError::EmptyBatch
        | PutError::IllegalBatch(_) => "MESSAGE_ILLEGAL",
        PutError::PropertiesTooLarge { .. } => "PROPERTIES_SIZE_EXCEEDED",
        PutError::TooManyLightQueues { .. } => "LMQ_CONSUME_QUEUE_NUM_EXCEEDED",
        PutError::PageCacheBusy { .. } | PutError::Contended => "OS_PAGE_CACHE_BUSY",
        PutError::NotWritable(_) => "SERVICE_NOT_AVAILABLE",
    }
}

fn not_available(reason: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(
        response_code::SERVICE_NOT_AVAILABLE,
        format!(
            "service not available now. It may be caused by one of the following reasons: the broker's disk is full, \
             messages are put to the slave, message store has been shut down, etc. Here: {reason}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_begin_with_the_words_people_search_for_and_end_with_the_cause() {
        let too_large = PutError::BodyTooLarge {
            size_bytes: 4_194_305,
            limit_bytes: 4_194_304,
        };
        let refusal = put_refused(&too_large, 4_194_304);
        assert_eq!(refusal.code, response_code::MESSAGE_ILLEGAL);
        assert_eq!(
            refusal.remark,
            "the message is illegal, maybe msg body or properties length not matched. msg body length limit 4194304B, \
             msg properties length limit 32KB. Here: body has 4194305 bytes, the limit is 4194304"
        );

        let full = PutError::NotWritable(WriteRefusal::DiskFull {
            path: "/data/commitlog".into(),
            percent: 93,
            limit_percent: 90,
        });
        let refusal = put_refused(&full, 1);
        assert_eq!(refusal.code, response_code::SERVICE_NOT_AVAILABLE);
        assert!(
            refusal.remark.starts_with("service not available now. "),
            "{}",
            refusal.remark
        );
        assert!(
            refusal
                .remark
                .ends_with("Here: disk use of /data/commitlog is 93 %, over the limit of 90 %"),
            "{}",
            refusal.remark
        );
    }

    #[test]
    fn clients_hold_back_from_a_busy_broker_and_from_a_slave() {
        let busy = put_refused(&PutError::PageCacheBusy { held_ms: 1_200 }, 1);
        assert_eq!(busy.code, response_code::SYSTEM_BUSY);
        assert!(
            busy.remark.starts_with("[PC_SYNCHRONIZED]broker busy"),
            "{}",
            busy.remark
        );

        let slave = put_refused(&PutError::NotWritable(WriteRefusal::Slave), 1);
        assert_eq!(slave.code, response_code::SYSTEM_BUSY);
        assert!(slave.remark.starts_with("[REJECTREQUEST]"), "{}", slave.remark);
    }
}

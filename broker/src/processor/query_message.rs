//! QUERY_MESSAGE and VIEW_MESSAGE_BY_ID: messages by key, by tag or by place, for operators.
//!
//! The index compares hashes only, so an answer may hold messages of other keys: clients compare for themselves.
//! Reference: `QueryMessageProcessor`.

use remoting::codes::response_code;
use remoting::header::{QueryMessageRequestHeader, QueryMessageResponseHeader, ViewMessageRequestHeader};
use remoting::request::{Handled, Refusal, Request, Response};
use store::PhysicalOffset;

use crate::broker::Broker;

/// Index type of unique keys.
const UNIQUE_KEY: &str = "U";
/// Index type of keys: what is meant when nothing is said.
const KEY: &str = "K";

/// The messages with a key or tag.
pub(crate) fn query_message(broker: &Broker, request: Request<'_, QueryMessageRequestHeader>) -> Handled {
    let header = &request.header;
    let (index_type, max_num) = if header.unique_key_query == Some(true) {
        (UNIQUE_KEY, broker.store_config.get().default_query_max_num)
    } else {
        let asked = header
            .index_type
            .as_deref()
            .filter(|index_type| !index_type.is_empty());
        (asked.unwrap_or(KEY), usize::try_from(header.max_num).unwrap_or(0))
    };
    let mut body = Vec::new();
    let found = broker.store.query_by_key(
        &header.topic,
        &header.key,
        Some(index_type),
        max_num,
        header.begin_timestamp,
        header.end_timestamp,
        &mut body,
    );
    if body.is_empty() {
        return Err(Refusal::new(
            response_code::QUERY_NOT_FOUND,
            "can not find message, maybe time range not correct",
        ));
    }
    let answer = QueryMessageResponseHeader {
        index_last_update_timestamp: found.index_last_update_timestamp_ms,
        index_last_update_phyoffset: found.index_last_update_physical_offset.to_wire(),
    };
    Ok(Response::success().header(&answer).body(body).into())
}

/// The message at an offset of the CommitLog.
pub(crate) fn view_message_by_id(broker: &Broker, request: Request<'_, ViewMessageRequestHeader>) -> Handled {
    let offset = request.header.offset;
    u64::try_from(offset)
        .ok()
        .and_then(|offset| broker.store.read_at(PhysicalOffset(offset)))
        .map(|record| Response::success().body(record).into())
        .ok_or_else(|| Refusal::system_error(format!("can not find message by the offset, {offset}")))
}

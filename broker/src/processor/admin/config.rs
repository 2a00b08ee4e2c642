//! The running broker's configuration as an operator sees and changes it.

use common::properties::parse_properties;
use remoting::body::broker::CheckRocksdbCqWriteResult;
use remoting::body::fastjson;
use remoting::codes::response_code;
use remoting::fields::NoHeader;
use remoting::header::{
    CheckRocksdbCqWriteProgressRequestHeader, ExportRocksDbConfigToJsonRequestHeader,
    GetBrokerConfigResponseHeader,
};
use remoting::request::{Handled, Refusal, Request, Response};

use super::{invalid_parameter, wait_registered, write_now};
use crate::broker::Broker;
use crate::config::UpdateError;
use crate::processor::json::to_body;

/// UPDATE_BROKER_CONFIG: some keys, as properties text. All of them are changed, or none.
pub(crate) fn update(broker: &Broker, request: Request<'_, NoHeader>) -> Handled {
    let changes = parse_properties(&String::from_utf8_lossy(request.body()));
    let peer = request.call.connection.peer_addr();
    let updated = broker.configuration.update(&changes).map_err(|error| {
        tracing::warn!(?changes, %peer, %error, "change of the configuration refused");
        refusal(&error)
    })?;
    tracing::info!(?changes, ?updated, %peer, "configuration changed");
    if updated.changed.iter().any(|key| key == "brokerPermission") {
        broker.topics.raise_version();
        wait_registered(broker);
    }
    let response = Response::success();
    if updated.after_restart.is_empty() {
        return Ok(response.into());
    }
    Ok(response
        .remark(format!(
            "restart the broker for: {}",
            updated.after_restart.join(", ")
        ))
        .into())
}

fn refusal(error: &UpdateError) -> Refusal {
    match error {
        UpdateError::BlackListed => Refusal::new(response_code::NO_PERMISSION, error.to_string()),
        UpdateError::Unknown { .. } | UpdateError::Value(_) => invalid_parameter(error),
        UpdateError::Unwritable { .. } => Refusal::system_error(error.to_string()),
    }
}

/// GET_BROKER_CONFIG: every key, as properties text.
pub(crate) fn get(broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    let (text, version) = broker.configuration.text();
    let version = fastjson::to_vec(&version).map_err(|error| Refusal::system_error(error.to_string()))?;
    let header = GetBrokerConfigResponseHeader {
        version: String::from_utf8_lossy(&version).into_owned(),
    };
    Ok(Response::success().header(&header).body(text).into())
}

/// EXPORT_ROCKSDB_CONFIG_TO_JSON: the tables are JSON files here, so this brings the files up to date.
pub(crate) fn export_to_json(
    broker: &Broker,
    request: Request<'_, ExportRocksDbConfigToJsonRequestHeader>,
) -> Handled {
    // The tool ends each name with a semicolon.
    let tables = request.header.config_type.split(';').map(str::trim);
    for table in tables.filter(|table| !table.is_empty()) {
        match table {
            "topics" => write_now(broker.topics.as_ref())?,
            "subscriptionGroups" => write_now(broker.groups.as_ref())?,
            "consumerOffsets" => write_now(broker.consumer_offsets.as_ref())?,
            unknown => return Err(invalid_parameter(format!("Unknown config type: {unknown}"))),
        }
    }
    Ok(Response::success().remark("export done.").into())
}

/// POP_ROLLBACK: moves what pops left behind from RocksDB into the revive topic. Pops leave it there in the first place,
/// since `popConsumerKVServiceInit` is refused, so it is done at once: the reference without that key does the same.
pub(crate) fn export_pop_records(_broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    tracing::info!(
        "pop records in RocksDB moved to the revive topic: there are none, the log holds all of them"
    );
    Ok(Response::success().into())
}

/// CHECK_ROCKSDB_CQ_WRITE_PROGRESS: compares the queues in RocksDB with those in files. The answer only says that it is
/// under way, what comes of it stands in the log; without queues in RocksDB that is known at once.
pub(crate) fn check_rocksdb_queues(
    _broker: &Broker,
    request: Request<'_, CheckRocksdbCqWriteProgressRequestHeader>,
) -> Handled {
    const STILL_CHECKING: i32 = 2;
    let topic = &request.header.topic;
    tracing::info!(
        topic,
        "queues in RocksDB checked: there are none, files hold all of them"
    );
    let body = CheckRocksdbCqWriteResult {
        check_result: None,
        check_status: STILL_CHECKING,
    };
    Ok(Response::success().body(to_body(&body)?).into())
}

/// SWITCH_TIMER_ENGINE: `F` is the time wheel in files, which is the only engine here; `R` would be RocksDB.
pub(crate) fn switch_timer_engine(_broker: &Broker, request: Request<'_, NoHeader>) -> Handled {
    let wanted = request.fields().find(|(name, _)| name == "E_T");
    match wanted.and_then(|(_, value)| value).as_deref() {
        Some("F") => Ok(Response::success().into()),
        Some("R") => Err(invalid_parameter("the timer in RocksDB is not enabled")),
        other => Err(invalid_parameter(format!(
            "timer engine type [{}] is neither F nor R",
            other.unwrap_or_default()
        ))),
    }
}

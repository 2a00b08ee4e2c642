//! The running broker's configuration as an operator sees and changes it.

use common::properties::parse_properties;
use remoting::body::fastjson;
use remoting::codes::response_code;
use remoting::fields::NoHeader;
use remoting::header::{ExportRocksDbConfigToJsonRequestHeader, GetBrokerConfigResponseHeader};
use remoting::request::{Handled, Refusal, Request, Response};

use super::{invalid_parameter, wait_registered, write_now};
use crate::broker::Broker;
use crate::config::UpdateError;

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
    for table in request.header.config_type.split(';') {
        match table.trim() {
            "topics" => write_now(broker.topics.as_ref())?,
            "subscriptionGroups" => write_now(broker.groups.as_ref())?,
            "consumerOffsets" => write_now(broker.consumer_offsets.as_ref())?,
            unknown => return Err(invalid_parameter(format!("Unknown config type: {unknown}"))),
        }
    }
    Ok(Response::success().remark("export done.").into())
}

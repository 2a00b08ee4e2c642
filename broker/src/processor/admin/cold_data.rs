//! Cold-data control, and how the log is read ahead, as an operator sees and changes them.

use common::properties::parse_properties;
use remoting::fields::NoHeader;
use remoting::header::SetCommitLogReadModeRequestHeader;
use remoting::request::{Handled, Refusal, Request, Response};

use super::invalid_parameter;
use crate::broker::Broker;
use crate::cold_data::MAX_GROUPS;
use crate::processor::json::to_body;

/// UPDATE_COLD_DATA_FLOW_CTR_CONFIG: groups and their thresholds, as properties text. What is no number is passed over.
pub(crate) fn set_thresholds(broker: &Broker, request: Request<'_, NoHeader>) -> Handled {
    for (group, threshold) in parse_properties(&String::from_utf8_lossy(request.body())) {
        match threshold.trim().parse() {
            Ok(threshold) if broker.cold_data.set_threshold(&group, threshold) => {
                tracing::info!(group, threshold, "cold-data threshold set");
            }
            Ok(_) => tracing::warn!(group, MAX_GROUPS, "cold-data threshold not set: too many"),
            Err(_) => tracing::warn!(group, threshold, "cold-data threshold not set: no number"),
        }
    }
    Ok(Response::success().into())
}

/// REMOVE_COLD_DATA_FLOW_CTR_CONFIG: the body is the group.
pub(crate) fn remove_threshold(broker: &Broker, request: Request<'_, NoHeader>) -> Handled {
    let group = String::from_utf8_lossy(request.body());
    broker.cold_data.remove_threshold(&group);
    Ok(Response::success().into())
}

/// GET_COLD_DATA_FLOW_CTR_INFO: who reads old messages, and who may.
pub(crate) fn info(broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    let info = broker.cold_data.info(broker.clock.wall_ms());
    Ok(Response::success().body(to_body(&info)?).into())
}

/// SET_COMMITLOG_READ_MODE: 0 reads ahead, 1 does not. The tool prints the remark.
pub(crate) fn set_read_mode(
    broker: &Broker,
    request: Request<'_, SetCommitLogReadModeRequestHeader>,
) -> Handled {
    let asked = request.header.read_ahead_mode.as_deref();
    let asked = asked.ok_or_else(|| Refusal::system_error("set commitlog readahead mode param error"))?;
    let mode: i32 = asked
        .parse()
        .map_err(|_| Refusal::system_error("set commitlog readahead mode failed"))?;
    let reads_ahead = match mode {
        0 => true,
        1 => false,
        _ => {
            return Err(invalid_parameter(
                "set commitlog readahead mode param value error",
            ));
        }
    };
    broker
        .store_config
        .update(|config| config.data_read_ahead_enable = reads_ahead);
    broker
        .store
        .set_read_ahead(reads_ahead)
        .map_err(|error| Refusal::system_error(format!("set commitlog readahead mode failed: {error}")))?;
    Ok(Response::success()
        .remark(format!("set commitlog readahead mode success, mode: {mode}"))
        .into())
}

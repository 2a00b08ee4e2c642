//! Brokers come, show life and go; what groups they form and who may write to them.
//!
//! Reference: `DefaultRequestProcessor`.

use std::time::Duration;

use bytes::Bytes;
use common::names;
use remoting::body::{
    DataVersion, GetBrokerMemberGroupResponseBody, KvTable, RegisterBrokerBody,
    TopicConfigAndMappingSerializeWrapper, TopicConfigSerializeWrapper, fastjson,
};
use remoting::fields::NoHeader;
use remoting::header::{
    AddWritePermOfBrokerRequestHeader, AddWritePermOfBrokerResponseHeader, BrokerHeartbeatRequestHeader,
    GetBrokerMemberGroupRequestHeader, QueryDataVersionRequestHeader, QueryDataVersionResponseHeader,
    RegisterBrokerRequestHeader, RegisterBrokerResponseHeader, UnRegisterBrokerRequestHeader,
    WipeWritePermOfBrokerRequestHeader, WipeWritePermOfBrokerResponseHeader,
};
use remoting::request::{Handled, Refusal, Request, Response};
use tracing::{info, warn};

use super::json_response;
use super::route::ZONE_NAME;
use crate::Namesrv;
use crate::route_table::{BrokerAddr, Registration};

/// Brokers of an older version send a bare topic table.
const V3_0_11: i32 = 37;

/// REGISTER_BROKER: a broker and all its topics, every 30 seconds and after each change.
///
/// The answer tells slaves their master, and everybody the order configs.
pub(crate) fn register_broker(
    namesrv: &Namesrv,
    request: Request<'_, RegisterBrokerRequestHeader>,
) -> Handled {
    require_intact(&request)?;
    let registration = decode_registration(&request)?;
    let config = namesrv.config.get();
    let registered = namesrv
        .route_table_mut()
        .register(
            registration,
            config.namesrv.delete_topic_with_broker_registration,
            namesrv.clock.now(),
        )
        .map_err(|refused| Refusal::system_error(refused.to_string()))?;
    namesrv.remember(request.connection());
    namesrv.notify(registered.new_min_broker_id.as_slice());

    let header = RegisterBrokerResponseHeader {
        ha_server_addr: registered.ha_server_addr,
        master_addr: registered.master_addr,
    };
    let order_configs = if config.namesrv.return_order_topic_config_to_broker {
        namesrv.kv_config.namespace(names::ORDER_TOPIC_CONFIG_NAMESPACE)
    } else {
        None
    };
    let response = match order_configs {
        Some(table) => json_response(&KvTable { table })?,
        None => Response::success(),
    };
    Ok(response.header(&header).into())
}

/// UNREGISTER_BROKER: a broker stops.
pub(crate) fn unregister_broker(
    namesrv: &Namesrv,
    request: Request<'_, UnRegisterBrokerRequestHeader>,
) -> Handled {
    let UnRegisterBrokerRequestHeader {
        cluster_name,
        broker_name,
        broker_addr,
        ..
    } = &request.header;
    let departures = namesrv
        .route_table_mut()
        .unregister(cluster_name, broker_name, broker_addr);
    namesrv.after(&departures);
    Ok(Response::success().into())
}

/// QUERY_DATA_VERSION: did the topics of a broker change since it registered? Also a sign of life.
pub(crate) fn query_data_version(
    namesrv: &Namesrv,
    request: Request<'_, QueryDataVersionRequestHeader>,
) -> Handled {
    let who = BrokerAddr::new(&request.header.cluster_name, &request.header.broker_addr);
    let asked: Option<DataVersion> = if request.body().is_empty() {
        None
    } else {
        Some(decode(request.body(), "DataVersion")?)
    };
    let known = {
        let mut route_table = namesrv.route_table_mut();
        route_table.heartbeat(&who, namesrv.clock.now());
        route_table.data_version(&who).copied()
    };
    let header = QueryDataVersionResponseHeader {
        changed: known.is_none() || known != asked,
    };
    let response = match known {
        Some(known) => json_response(&known)?,
        None => Response::success(),
    };
    Ok(response.header(&header).into())
}

/// BROKER_HEARTBEAT: alive, nothing changed.
pub(crate) fn broker_heartbeat(
    namesrv: &Namesrv,
    request: Request<'_, BrokerHeartbeatRequestHeader>,
) -> Handled {
    let who = BrokerAddr::new(&request.header.cluster_name, &request.header.broker_addr);
    namesrv.route_table_mut().heartbeat(&who, namesrv.clock.now());
    Ok(Response::success().into())
}

/// GET_BROKER_CLUSTER_INFO: all clusters and brokers.
pub(crate) fn get_broker_cluster_info(namesrv: &Namesrv, _request: Request<'_, NoHeader>) -> Handled {
    let cluster_info = namesrv.route_table().cluster_info();
    Ok(json_response(&cluster_info)?.into())
}

/// GET_BROKER_MEMBER_GROUP: who else is of a broker name.
pub(crate) fn get_broker_member_group(
    namesrv: &Namesrv,
    request: Request<'_, GetBrokerMemberGroupRequestHeader>,
) -> Handled {
    let GetBrokerMemberGroupRequestHeader {
        cluster_name,
        broker_name,
    } = &request.header;
    let group = namesrv
        .route_table()
        .broker_member_group(cluster_name, broker_name);
    Ok(json_response(&GetBrokerMemberGroupResponseBody {
        broker_member_group: Some(group),
    })?
    .into())
}

/// WIPE_WRITE_PERM_OF_BROKER: producers shall avoid a broker.
pub(crate) fn wipe_write_perm_of_broker(
    namesrv: &Namesrv,
    request: Request<'_, WipeWritePermOfBrokerRequestHeader>,
) -> Handled {
    let broker_name = &request.header.broker_name;
    let wipe_topic_count = namesrv.route_table_mut().wipe_write_perm(broker_name);
    info!(broker_name, wipe_topic_count, client = %request.connection().peer_addr(), "write permission wiped");
    Ok(Response::success()
        .header(&WipeWritePermOfBrokerResponseHeader { wipe_topic_count })
        .into())
}

/// ADD_WRITE_PERM_OF_BROKER: producers may use it again.
pub(crate) fn add_write_perm_of_broker(
    namesrv: &Namesrv,
    request: Request<'_, AddWritePermOfBrokerRequestHeader>,
) -> Handled {
    let broker_name = &request.header.broker_name;
    let add_topic_count = namesrv.route_table_mut().add_write_perm(broker_name);
    info!(broker_name, add_topic_count, client = %request.connection().peer_addr(), "write permission added");
    Ok(Response::success()
        .header(&AddWritePermOfBrokerResponseHeader { add_topic_count })
        .into())
}

/// The CRC is the reference's: without the top bit, 0 means not checked.
fn require_intact(request: &Request<'_, RegisterBrokerRequestHeader>) -> Result<(), Refusal> {
    let expected = request.header.body_crc32;
    let actual = (crc32fast::hash(request.body()) & 0x7FFF_FFFF) as i32;
    if expected == 0 || expected == actual {
        return Ok(());
    }
    warn!(from = %request.connection().peer_addr(), expected, actual, "registration with a wrong CRC");
    Err(Refusal::system_error("crc32 not match"))
}

fn decode_registration(request: &Request<'_, RegisterBrokerRequestHeader>) -> Result<Registration, Refusal> {
    let (wrapper, filter_servers) = decode_registration_body(request)?;
    let header = &request.header;
    let topics = wrapper.topic_config_table.into_iter().map(|(name, mut topic)| {
        if topic.topic_name.is_empty() {
            topic.topic_name = name;
        }
        topic
    });
    Ok(Registration {
        cluster: header.cluster_name.clone(),
        broker_name: header.broker_name.clone(),
        broker_addr: header.broker_addr.clone(),
        broker_id: header.broker_id,
        ha_server_addr: header.ha_server_addr.clone(),
        zone_name: request.fields().get(ZONE_NAME).map(|zone| zone.into_owned()),
        heartbeat_timeout: header.heartbeat_timeout_millis.map(millis),
        enable_acting_master: header.enable_acting_master,
        data_version: wrapper.data_version,
        topics: topics.collect(),
        mappings: wrapper.topic_queue_mapping_info_map.into_iter().collect(),
        filter_servers,
        connection: request.connection().id(),
    })
}

/// The topics, and the filter servers of a body that has them.
fn decode_registration_body(
    request: &Request<'_, RegisterBrokerRequestHeader>,
) -> Result<(TopicConfigAndMappingSerializeWrapper, Option<Vec<String>>), Refusal> {
    let body = request.body();
    if request.version() < V3_0_11 {
        let old: TopicConfigSerializeWrapper = if body.is_empty() {
            Default::default()
        } else {
            decode(body, "TopicConfigSerializeWrapper")?
        };
        let wrapper = TopicConfigAndMappingSerializeWrapper {
            data_version: old.data_version,
            topic_config_table: old.topic_config_table,
            ..Default::default()
        };
        return Ok((wrapper, None));
    }
    if body.is_empty() {
        return Ok((Default::default(), Some(Vec::new())));
    }
    let body = RegisterBrokerBody::decode(body, request.header.compressed, request.version())
        .map_err(|error| Refusal::system_error(format!("Failed to decode RegisterBrokerBody: {error}")))?;
    Ok((body.topic_config_serialize_wrapper, Some(body.filter_server_list)))
}

fn decode<T: serde::de::DeserializeOwned>(body: &Bytes, what: &str) -> Result<T, Refusal> {
    fastjson::from_slice(body)
        .map_err(|error| Refusal::system_error(format!("Failed to decode {what}: {error}")))
}

/// A negative timeout has passed already, as in the reference.
fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

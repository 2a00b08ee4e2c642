//! Consumer groups as an operator sees them: create, change, delete, look at, forbid topics to.

use std::collections::BTreeMap;

use common::names;
use remoting::body::{
    GroupForbidden, SubscriptionGroupConfig, SubscriptionGroupList, SubscriptionGroupWrapper,
};
use remoting::codes::response_code;
use remoting::fields::NoHeader;
use remoting::header::{
    DeleteSubscriptionGroupRequestHeader, GetAllSubscriptionGroupRequestHeader,
    GetAllSubscriptionGroupResponseHeader, GetSubscriptionGroupConfigRequestHeader,
    UpdateGroupForbiddenRequestHeader,
};
use remoting::request::{Handled, Refusal, Request, Response};

use super::page::Page;
use super::{attributes, invalid_parameter, write_now};
use crate::broker::Broker;
use crate::metrics::events::Events;
use crate::processor::json::{parse_body, to_body};

/// The bit that forbids reading. Reference: `PermName.INDEX_PERM_READ`.
const FORBID_READ: u32 = 2;

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP.
pub(crate) fn update_and_create(broker: &Broker, request: Request<'_, NoHeader>) -> Handled {
    let wanted: SubscriptionGroupConfig = parse_body(request.body())?;
    tracing::info!(group = wanted.group_name, peer = %request.call.connection.peer_addr(), "update group");
    put_all(broker, vec![wanted])
}

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: all of them, or none when one cannot be accepted.
pub(crate) fn update_and_create_list(broker: &Broker, request: Request<'_, NoHeader>) -> Handled {
    let body: SubscriptionGroupList = parse_body(request.body())?;
    tracing::info!(groups = body.group_config_list.len(), peer = %request.call.connection.peer_addr(), "update groups");
    put_all(broker, body.group_config_list)
}

fn put_all(broker: &Broker, all: Vec<SubscriptionGroupConfig>) -> Handled {
    for wanted in &all {
        names::validate_group(&wanted.group_name).map_err(invalid_parameter)?;
        alter_attributes(broker.groups.get(&wanted.group_name).as_deref(), wanted)?;
    }
    let begun = broker.stats.events().map(Events::begin);
    let created = put_acceptable(broker, all);
    if let (Some(events), Some(begun)) = (broker.stats.events(), begun) {
        events
            .group_creations
            .record(&created.is_ok(), events.elapsed_ms(begun));
    }
    created.map(|()| Response::success().into())
}

fn put_acceptable(broker: &Broker, all: Vec<SubscriptionGroupConfig>) -> Result<(), Refusal> {
    for wanted in all {
        let group = wanted.group_name.clone();
        broker.groups.put_with(&group, |current| {
            Ok::<_, Refusal>(SubscriptionGroupConfig {
                attributes: alter_attributes(current, &wanted)?,
                ..wanted
            })
        })?;
    }
    write_now(broker.groups.as_ref())
}

fn alter_attributes(
    current: Option<&SubscriptionGroupConfig>,
    wanted: &SubscriptionGroupConfig,
) -> Result<BTreeMap<String, String>, Refusal> {
    attributes::alter(
        attributes::OF_GROUPS,
        current.map(|current| &current.attributes),
        &wanted.attributes,
    )
    .map_err(Refusal::system_error)
}

/// DELETE_SUBSCRIPTIONGROUP, with its offsets if asked for. Its clients may make it again.
pub(crate) fn delete(broker: &Broker, request: Request<'_, DeleteSubscriptionGroupRequestHeader>) -> Handled {
    let header = &request.header;
    let group = &header.group_name;
    tracing::info!(group, clean_offset = header.clean_offset, peer = %request.call.connection.peer_addr(), "delete group");
    broker.groups.remove(group);
    broker.invisible.forget(|queue| queue.group == group.as_str());
    if header.clean_offset {
        broker.consumer_offsets.remove_group(group);
        write_now(broker.consumer_offsets.as_ref())?;
    }
    if broker.config.get().auto_delete_unused_stats {
        broker.stats.remove_group(group);
    }
    write_now(broker.groups.as_ref())?;
    Ok(Response::success().into())
}

/// GET_SUBSCRIPTIONGROUP_CONFIG. Makes the group if clients may.
pub(crate) fn config(
    broker: &Broker,
    request: Request<'_, GetSubscriptionGroupConfigRequestHeader>,
) -> Handled {
    let config = broker.groups.find(&request.header.group).ok_or_else(|| {
        Refusal::new(
            response_code::SUBSCRIPTION_GROUP_NOT_EXIST,
            "No group in this broker",
        )
    })?;
    Ok(Response::success().body(to_body(&*config)?).into())
}

/// GET_ALL_SUBSCRIPTIONGROUP_CONFIG, whole or in pages.
pub(crate) fn all_configs(
    broker: &Broker,
    request: Request<'_, GetAllSubscriptionGroupRequestHeader>,
) -> Handled {
    let header = &request.header;
    let SubscriptionGroupWrapper {
        data_version,
        mut forbidden_table,
        subscription_group_table,
    } = broker.groups.to_wrapper();
    let total_group_num = i32::try_from(subscription_group_table.len()).ok();
    let page = Page {
        first: header.group_seq,
        data_version: header.data_version.as_deref(),
        most: header.max_group_num,
    };
    let subscription_group_table = page.of(subscription_group_table, data_version, &broker.config.get());
    forbidden_table.retain(|group, _| subscription_group_table.contains_key(group));
    let body = SubscriptionGroupWrapper {
        data_version,
        forbidden_table,
        subscription_group_table,
    };
    let header = GetAllSubscriptionGroupResponseHeader { total_group_num };
    Ok(Response::success().header(&header).body(to_body(&body)?).into())
}

/// UPDATE_AND_GET_GROUP_FORBIDDEN: whether a group may read a topic; sets it first if the request says how.
pub(crate) fn forbidden(broker: &Broker, request: Request<'_, UpdateGroupForbiddenRequestHeader>) -> Handled {
    let UpdateGroupForbiddenRequestHeader {
        group,
        topic,
        readable,
    } = request.header;
    if let Some(readable) = readable {
        broker
            .groups
            .set_forbidden(&group, &topic, FORBID_READ, !readable);
        write_now(broker.groups.as_ref())?;
    }
    let readable = Some(!broker.groups.is_forbidden(&group, &topic, FORBID_READ));
    Ok(Response::success()
        .body(to_body(&GroupForbidden {
            group,
            readable,
            topic,
        })?)
        .into())
}

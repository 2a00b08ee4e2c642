//! GET_ROUTEINFO_BY_TOPIC: where a topic's queues are.
//!
//! Broker ids are always quoted, as requesters from 4.9.4 on want them and older ones read them, too.
//!
//! Reference: `ClientRequestProcessor`, `ZoneRouteRPCHook`.

use std::time::Duration;

use common::names;
use remoting::body::TopicRouteData;
use remoting::codes::response_code;
use remoting::fields::Fields;
use remoting::header::GetRouteInfoRequestHeader;
use remoting::request::{Handled, Refusal, Request};

use super::json_response;
use crate::Namesrv;
use crate::route_table::MASTER_ID;

/// Clients show this text to users.
const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// "true" from clients that want near brokers only.
const ZONE_MODE: &str = "__ZONE_MODE";
/// The zone of such a client; with REGISTER_BROKER, of a broker.
pub(super) const ZONE_NAME: &str = "__ZONE_NAME";

/// Where a topic is served. Unknown topics must be answered TOPIC_NOT_EXIST: producers then ask for the
/// template topic and create it.
pub(crate) fn get_route_info_by_topic(
    namesrv: &Namesrv,
    request: Request<'_, GetRouteInfoRequestHeader<'_>>,
) -> Handled {
    let config = namesrv.config.get();
    if config.namesrv.need_wait_for_service && namesrv.age() < config.wait_for_service() {
        return Err(Refusal::system_error("name server not ready"));
    }
    let topic = &*request.header.topic;
    let route = namesrv
        .route_table()
        .route(topic, config.namesrv.support_acting_master);
    let Some(mut route) = route else {
        let remark = format!("No topic route info in name server for the topic: {topic}{FAQ}");
        return Err(Refusal::new(response_code::TOPIC_NOT_EXIST, remark));
    };
    if config.namesrv.order_message_enable {
        route.order_topic_conf = namesrv.kv_config.get(names::ORDER_TOPIC_CONFIG_NAMESPACE, topic);
    }
    if let Some(zone) = requested_zone(request.fields()) {
        keep_zone(&mut route, &zone);
    }
    Ok(json_response(&route)?.into())
}

fn requested_zone(fields: Fields<'_>) -> Option<String> {
    let zone_mode = fields
        .get(ZONE_MODE)
        .is_some_and(|mode| mode.eq_ignore_ascii_case("true"));
    let zone = fields
        .get(ZONE_NAME)
        .filter(|zone| zone_mode && !zone.trim().is_empty())?;
    Some(zone.into_owned())
}

/// Leaves out brokers of other zones. A group without master stays: reading from a far slave beats nothing.
fn keep_zone(route: &mut TopicRouteData, zone: &str) {
    let (near, far): (Vec<_>, Vec<_>) =
        std::mem::take(&mut route.broker_datas)
            .into_iter()
            .partition(|group| {
                let zone_name = group.zone_name.as_deref().unwrap_or_default();
                !group.broker_addrs.contains_key(&MASTER_ID) || zone_name.eq_ignore_ascii_case(zone)
            });
    route.broker_datas = near;
    for group in far {
        route
            .queue_datas
            .retain(|queues| queues.broker_name != group.broker_name);
        route
            .filter_server_table
            .retain(|addr, _| !group.broker_addrs.values().any(|far| far == addr));
    }
}

impl crate::Config {
    fn wait_for_service(&self) -> Duration {
        Duration::from_secs(self.namesrv.wait_seconds_for_service)
    }
}

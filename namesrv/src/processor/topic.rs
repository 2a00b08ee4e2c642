//! Lists of topics, and single topics that appear or go.
//!
//! Reference: `DefaultRequestProcessor`.

use remoting::body::{TopicList, TopicRouteData, fastjson};
use remoting::fields::NoHeader;
use remoting::header::{
    DeleteTopicFromNamesrvRequestHeader, GetTopicsByClusterRequestHeader, RegisterTopicRequestHeader,
};
use remoting::request::{Handled, Refusal, Request, Response};
use tracing::info;

use super::json_response;
use crate::Namesrv;
use crate::route_table::UnitTopics;

/// GET_ALL_TOPIC_LIST_FROM_NAMESERVER.
pub(crate) fn get_all_topic_list(namesrv: &Namesrv, _request: Request<'_, NoHeader>) -> Handled {
    require_enabled(namesrv.config.get().namesrv.enable_all_topic_list)?;
    topic_list(namesrv.route_table().topics())
}

/// GET_TOPICS_BY_CLUSTER.
pub(crate) fn get_topics_by_cluster(
    namesrv: &Namesrv,
    request: Request<'_, GetTopicsByClusterRequestHeader>,
) -> Handled {
    require_enabled(namesrv.config.get().namesrv.enable_topic_list)?;
    topic_list(namesrv.route_table().topics_of_cluster(&request.header.cluster))
}

/// GET_SYSTEM_TOPIC_LIST_FROM_NS: names of clusters and brokers, which are also topics, and a broker to ask
/// for the others.
pub(crate) fn get_system_topic_list(namesrv: &Namesrv, _request: Request<'_, NoHeader>) -> Handled {
    let (names, broker_addr) = namesrv.route_table().system_topics();
    let list = TopicList {
        broker_addr,
        topic_list: names.into_iter().collect(),
    };
    Ok(json_response(&list)?.into())
}

/// GET_UNIT_TOPIC_LIST.
pub(crate) fn get_unit_topic_list(namesrv: &Namesrv, _request: Request<'_, NoHeader>) -> Handled {
    unit_topic_list(namesrv, UnitTopics::Unit)
}

/// GET_HAS_UNIT_SUB_TOPIC_LIST.
pub(crate) fn get_has_unit_sub_topic_list(namesrv: &Namesrv, _request: Request<'_, NoHeader>) -> Handled {
    unit_topic_list(namesrv, UnitTopics::HasUnitSub)
}

/// GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST.
pub(crate) fn get_has_unit_sub_ununit_topic_list(
    namesrv: &Namesrv,
    _request: Request<'_, NoHeader>,
) -> Handled {
    unit_topic_list(namesrv, UnitTopics::HasUnitSubUnUnit)
}

/// DELETE_TOPIC_IN_NAMESRV, in one cluster or everywhere.
pub(crate) fn delete_topic_in_namesrv(
    namesrv: &Namesrv,
    request: Request<'_, DeleteTopicFromNamesrvRequestHeader>,
) -> Handled {
    let DeleteTopicFromNamesrvRequestHeader { topic, cluster_name } = &request.header;
    let cluster = cluster_name.as_deref().filter(|cluster| !cluster.is_empty());
    namesrv.route_table_mut().delete_topic(topic, cluster);
    info!(topic, cluster, client = %request.connection().peer_addr(), "topic deleted");
    Ok(Response::success().into())
}

/// REGISTER_TOPIC_IN_NAMESRV: a broker announces one topic ahead of its next registration. What names unknown
/// brokers is dropped without a word, as in the reference.
pub(crate) fn register_topic_in_namesrv(
    namesrv: &Namesrv,
    request: Request<'_, RegisterTopicRequestHeader>,
) -> Handled {
    if !request.body().is_empty() {
        let route: TopicRouteData = fastjson::from_slice(request.body())
            .map_err(|error| Refusal::system_error(format!("Failed to decode TopicRouteData: {error}")))?;
        namesrv
            .route_table_mut()
            .register_topic(&request.header.topic, &route.queue_datas);
    }
    Ok(Response::success().into())
}

fn unit_topic_list(namesrv: &Namesrv, which: UnitTopics) -> Handled {
    require_enabled(namesrv.config.get().namesrv.enable_topic_list)?;
    topic_list(namesrv.route_table().unit_topics(which))
}

fn topic_list(topics: Vec<String>) -> Handled {
    let list = TopicList {
        broker_addr: None,
        topic_list: topics.into_iter().collect(),
    };
    Ok(json_response(&list)?.into())
}

fn require_enabled(enabled: bool) -> Result<(), Refusal> {
    if enabled {
        Ok(())
    } else {
        Err(Refusal::system_error("disable"))
    }
}

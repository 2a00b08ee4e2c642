//! The KV config: namespaces of keys and values that administrators keep here.
//!
//! Reference: `DefaultRequestProcessor`.

use remoting::body::KvTable;
use remoting::codes::response_code;
use remoting::header::{
    DeleteKvConfigRequestHeader, GetKvConfigRequestHeader, GetKvConfigResponseHeader,
    GetKvListByNamespaceRequestHeader, PutKvConfigRequestHeader,
};
use remoting::request::{Handled, Refusal, Request, Response};

use super::json_response;
use crate::Namesrv;
use crate::kv_config::KvChangeError;

/// PUT_KV_CONFIG.
pub(crate) fn put_kv_config(namesrv: &Namesrv, request: Request<'_, PutKvConfigRequestHeader>) -> Handled {
    let PutKvConfigRequestHeader {
        namespace,
        key,
        value,
    } = &request.header;
    namesrv
        .kv_config
        .put(namespace, key, value)
        .map_err(not_changed)?;
    Ok(Response::success().into())
}

/// GET_KV_CONFIG.
pub(crate) fn get_kv_config(namesrv: &Namesrv, request: Request<'_, GetKvConfigRequestHeader>) -> Handled {
    let GetKvConfigRequestHeader { namespace, key } = &request.header;
    let Some(value) = namesrv.kv_config.get(namespace, key) else {
        return Err(not_found(format!(
            "No config item, Namespace: {namespace} Key: {key}"
        )));
    };
    Ok(Response::success()
        .header(&GetKvConfigResponseHeader { value: Some(value) })
        .into())
}

/// DELETE_KV_CONFIG.
pub(crate) fn delete_kv_config(
    namesrv: &Namesrv,
    request: Request<'_, DeleteKvConfigRequestHeader>,
) -> Handled {
    let DeleteKvConfigRequestHeader { namespace, key } = &request.header;
    namesrv.kv_config.delete(namespace, key).map_err(not_changed)?;
    Ok(Response::success().into())
}

/// GET_KVLIST_BY_NAMESPACE.
pub(crate) fn get_kv_list_by_namespace(
    namesrv: &Namesrv,
    request: Request<'_, GetKvListByNamespaceRequestHeader>,
) -> Handled {
    let namespace = &request.header.namespace;
    let Some(table) = namesrv.kv_config.namespace(namespace) else {
        return Err(not_found(format!("No config item, Namespace: {namespace}")));
    };
    Ok(json_response(&KvTable { table })?.into())
}

fn not_found(remark: String) -> Refusal {
    Refusal::new(response_code::QUERY_NOT_FOUND, remark)
}

/// The reference answers success when the file cannot be written; here a change that would not last is none.
fn not_changed(error: KvChangeError) -> Refusal {
    Refusal::system_error(error.to_string())
}

//! The handlers of the NameServer, one file per subject; `routes.rs` says which request reaches which.
//!
//! - `route`: where a topic is; what clients ask all day
//! - `broker`: brokers come, show life, go; groups and permissions
//! - `topic`: lists of topics, single topics
//! - `kv`: the KV config
//! - `admin`: the configuration of the NameServer itself

pub(crate) mod admin;
pub(crate) mod broker;
pub(crate) mod kv;
pub(crate) mod route;
pub(crate) mod topic;

use remoting::body::fastjson;
use remoting::request::{Refusal, Response};
use serde::Serialize;

/// SUCCESS with a JSON body.
fn json_response(body: &impl Serialize) -> Result<Response, Refusal> {
    let text =
        fastjson::to_vec(body).map_err(|error| Refusal::system_error(format!("write body: {error}")))?;
    Ok(Response::success().body(text))
}

//! The configuration of the NameServer itself.
//!
//! Reference: `DefaultRequestProcessor`, `Configuration`.

use remoting::codes::response_code;
use remoting::fields::NoHeader;
use remoting::request::{Handled, Refusal, Request, Response};
use tracing::info;

use crate::Namesrv;
use crate::config::UpdateError;

/// UPDATE_NAMESRV_CONFIG: properties text with the keys to change.
pub(crate) fn update_namesrv_config(namesrv: &Namesrv, request: Request<'_, NoHeader>) -> Handled {
    let text = String::from_utf8_lossy(request.body());
    if !text.is_empty() {
        info!(client = %request.connection().peer_addr(), "config update");
        namesrv.config.update(&text)?;
    }
    Ok(Response::success().into())
}

/// GET_NAMESRV_CONFIG: all keys as properties text.
pub(crate) fn get_namesrv_config(namesrv: &Namesrv, _request: Request<'_, NoHeader>) -> Handled {
    Ok(Response::success().body(namesrv.config.get().text()).into())
}

impl From<UpdateError> for Refusal {
    fn from(error: UpdateError) -> Refusal {
        let code = match error {
            UpdateError::BlackListed => response_code::NO_PERMISSION,
            UpdateError::Value(_) | UpdateError::Unusable(_) | UpdateError::Persist { .. } => {
                response_code::SYSTEM_ERROR
            }
        };
        Refusal::new(code, error.to_string())
    }
}

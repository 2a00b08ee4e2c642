//! Admin: everything mqadmin and the admin API ask of a broker, one file for one subject.
//!
//! ```text
//!   topic     17 18 513 215 351 21 202 305 306 316 329      config   25 26 354 355 5001
//!   group     200 225 201 207 352 353                   stats    28 315 907 908 1007
//!   offset    222 308 314 43 45                         client   203 204 328 345 307 223
//!   progress  208 317 300 343 303                       message  309 321
//!   timer     60 61
//!   lite      200074-200079
//!
//!   cold_data 2001 2002 2003 2004
//!
//!   attributes   what topics and groups may be given by name       page   tables that are answered in parts
//! ```
//!
//! Changes are on disk, and registered with the name servers that can be reached, before they are answered.
//! Reference: `AdminBrokerProcessor`.

pub mod attributes;
pub(crate) mod client;
pub(crate) mod cold_data;
pub(crate) mod config;
pub(crate) mod group;
pub(crate) mod lite;
pub(crate) mod message;
pub(crate) mod offset;
mod page;
pub(crate) mod progress;
pub(crate) mod stats;
pub(crate) mod timer;
pub(crate) mod topic;

use std::time::Duration;

use remoting::codes::response_code;
use remoting::request::Refusal;

use crate::broker::Broker;
use crate::registry::persist::Table;

/// How long an answer waits for the name servers: the operator's next question goes to one of them.
const REGISTRATION_WAIT: Duration = Duration::from_secs(3);

/// Gets the change that was just made to the disk.
fn write_now(table: &dyn Table) -> Result<(), Refusal> {
    table.secure().map_err(|error| {
        Refusal::system_error(format!(
            "changed in memory, but not on disk, and tried again: {error}"
        ))
    })
}

/// Lets the name servers know what was changed. One that does not answer now will hear of it when it can.
fn wait_registered(broker: &Broker) {
    let _ = broker.registration.wait(REGISTRATION_WAIT);
}

fn invalid_parameter(remark: impl ToString) -> Refusal {
    Refusal::new(response_code::INVALID_PARAMETER, remark.to_string())
}

//! What an operator may set: the keys, one declaration each; the file they come from; the running broker's values.
//!
//! ```text
//! broker.rs         BrokerConfig                           host.rs   the defaults that depend on the host
//! (NettyServerConfig and NettyClientConfig are remoting's, MessageStoreConfig is the store's)
//! settings.rs       Settings: all of them, read from a file and checked before a start
//! check.rs          what --check-config finds in a file
//! configuration.rs  Configuration: the same while the broker runs, shown and changed by admin requests
//! ```

mod broker;
mod check;
mod configuration;
pub mod host;
mod settings;

pub use ::operations::config::MetricsExporterType;
pub use ::remoting::config::{NettyClientConfig, NettyServerConfig};
pub use broker::{BrokerConfig, IMPORTANT_KEYS, MessageRequestMode};
pub use check::check;
pub use configuration::{Configuration, UpdateError, Updated};
pub use settings::{ConfigError, Identity, Loaded, Settings, Warning, namesrv_addresses};

//! What an operator may set: the keys, one declaration each.
//!
//! ```text
//! broker.rs     BrokerConfig                           host.rs   the defaults that depend on the host
//! remoting.rs   NettyServerConfig, NettyClientConfig   (MessageStoreConfig is the store's)
//! ```

mod broker;
pub mod host;
mod remoting;

pub use broker::{BrokerConfig, IMPORTANT_KEYS, MessageRequestMode, MetricsExporterType};
pub use remoting::{NettyClientConfig, NettyServerConfig};

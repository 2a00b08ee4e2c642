//! Peers: requests to the other brokers of a static topic.
//!
//! A place names its broker, so the address of the broker's master is asked of the name servers and kept until a request
//! to it fails. The callers wait: a request goes out from the lane blocking only. Reference: `RpcClientImpl`,
//! `ClientMetadata`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::properties::Live;
use remoting::body::{ClusterInfo, fastjson};
use remoting::client::{Client, ClientConfig};
use remoting::codes::{request_code, response_code};
use remoting::frame::Frame;
use remoting::request::{OutgoingRequest, Refusal};
use tokio::runtime::Handle;

use crate::config::BrokerConfig;

/// Broker id of a master.
const MASTER_ID: i64 = 0;
/// Most broker names whose addresses are kept.
const ADDRESS_LIMIT: usize = 10_000;

/// The other brokers, by name.
#[derive(Debug)]
pub(crate) struct Peers {
    config: Arc<Live<BrokerConfig>>,
    client: Client,
    addresses: Mutex<HashMap<String, String>>,
}

impl Peers {
    pub(crate) fn new(config: Arc<Live<BrokerConfig>>) -> Self {
        Peers {
            config,
            client: Client::new(ClientConfig::default()),
            addresses: Mutex::default(),
        }
    }

    /// Asks the master of a broker name and waits for the answer, at most `forwardTimeout`.
    ///
    /// # Errors
    /// SYSTEM_ERROR when no name server knows the broker, or it does not answer.
    pub(crate) fn ask(&self, broker_name: &str, request: OutgoingRequest) -> Result<Frame, Refusal> {
        let runtime = Handle::try_current()
            .map_err(|_| Refusal::system_error("requests to other brokers need a running broker"))?;
        runtime.block_on(self.ask_master(broker_name, request))
    }

    async fn ask_master(&self, broker_name: &str, request: OutgoingRequest) -> Result<Frame, Refusal> {
        let timeout = Duration::from_millis(self.config.get().forward_timeout.max(1).unsigned_abs());
        let known = self.known(broker_name);
        let address = match &known {
            Some(address) => address.clone(),
            None => self.look_up(broker_name, timeout).await?,
        };
        let asked = self.client.invoke(&address, request, timeout).await;
        asked.map_err(|error| {
            // It may have come back elsewhere: the next request asks the name servers.
            self.addresses().remove(broker_name);
            Refusal::system_error(format!("ask broker {broker_name} at {address}: {error}"))
        })
    }

    fn known(&self, broker_name: &str) -> Option<String> {
        self.addresses().get(broker_name).cloned()
    }

    async fn look_up(&self, broker_name: &str, timeout: Duration) -> Result<String, Refusal> {
        let namesrv_addr = self.config.get().namesrv_addr.clone();
        for name_server in namesrv_addr
            .split(';')
            .map(str::trim)
            .filter(|address| !address.is_empty())
        {
            let request = OutgoingRequest::new(request_code::GET_BROKER_CLUSTER_INFO);
            let Ok(answer) = self.client.invoke(name_server, request, timeout).await else {
                continue;
            };
            if answer.code == response_code::SUCCESS
                && let Ok(info) = fastjson::from_slice::<ClusterInfo>(&answer.body)
            {
                self.learn(&info);
                if let Some(address) = self.known(broker_name) {
                    return Ok(address);
                }
            }
        }
        Err(Refusal::system_error(format!(
            "no name server knows a master of broker {broker_name}"
        )))
    }

    fn learn(&self, info: &ClusterInfo) {
        let mut addresses = self.addresses();
        for (name, broker) in &info.broker_addr_table {
            if let Some(master) = broker.broker_addrs.get(&MASTER_ID)
                && addresses.len() < ADDRESS_LIMIT
            {
                addresses.insert(name.clone(), master.clone());
            }
        }
    }

    fn addresses(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Every background service of the NameServer, in start order. There is one.

use std::sync::Arc;
use std::time::Duration;

use common::clock::Now;
use common::service::{Next, Service, Services, Waker};

use crate::Namesrv;

/// Starts them all.
///
/// # Errors
/// When the operating system refuses a thread.
pub fn start(namesrv: &Arc<Namesrv>, services: &mut Services) -> std::io::Result<()> {
    services.start(
        ScanNotActiveBroker {
            namesrv: Arc::clone(namesrv),
        },
        &Waker::new(),
    )
}

/// Drops brokers that fell silent and closes their connections, so that they register anew if they live.
///
/// Reference: `RouteInfoManager.scanNotActiveBroker`.
struct ScanNotActiveBroker {
    namesrv: Arc<Namesrv>,
}

impl Service for ScanNotActiveBroker {
    const NAME: &'static str = "scan-not-active-broker";

    fn interval(&self) -> Duration {
        self.namesrv.config.get().scan_interval()
    }

    fn tick(&mut self, now: Now, _stopping: bool) -> anyhow::Result<Next> {
        self.namesrv.expire_silent_brokers(now);
        Ok(Next::Idle)
    }
}

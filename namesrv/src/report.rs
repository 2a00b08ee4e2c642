//! NamesrvReport: what `/metrics` and `/healthz` say. The reference's NameServer has neither; the names are those that its
//! broker and controller use for the same figures.

use std::sync::Arc;

use operations::exposition::{Exposition, HistogramReading, Kind, Metric};
use operations::http::Source;
use remoting::latency::{LATENCY_LIMITS_MS, RpcLatencies};

use crate::Namesrv;

/// Brokers that are registered. Reference: `ControllerMetricsConstant.GAUGE_ACTIVE_BROKER_NUM`.
const ACTIVE_BROKERS: Metric = Metric {
    name: "rocketmq_active_broker_num",
    kind: Kind::Gauge,
    help: "Brokers that are registered",
};
/// Topics of all clusters. Reference: `BrokerMetricsConstant.GAUGE_TOPIC_NUM`.
const TOPIC_NUMBER: Metric = Metric {
    name: "rocketmq_topic_number",
    kind: Kind::Gauge,
    help: "Topics that brokers registered",
};
/// Reference: `RemotingMetricsConstant.HISTOGRAM_RPC_LATENCY`.
const RPC_LATENCY: Metric = Metric {
    name: "rocketmq_rpc_latency_milliseconds",
    kind: Kind::Histogram,
    help: "Rpc latency",
};

/// See the [module](self).
pub(crate) struct NamesrvReport {
    pub(crate) namesrv: Arc<Namesrv>,
    pub(crate) latencies: Arc<RpcLatencies>,
}

impl Source for NamesrvReport {
    /// Whoever answers this serves routes as well, except while it waits for brokers to register.
    fn health(&self) -> Result<(), String> {
        let config = self.namesrv.config.get();
        let (namesrv, age) = (&config.namesrv, self.namesrv.age());
        if namesrv.need_wait_for_service && age.as_secs() < namesrv.wait_seconds_for_service {
            return Err(format!(
                "no routes are answered for {} s yet (needWaitForService)",
                namesrv.wait_seconds_for_service - age.as_secs()
            ));
        }
        Ok(())
    }

    fn write_metrics(&self, out: &mut Exposition<'_>) {
        out.configure([("node_type", "nameserver")], usize::MAX);
        let (brokers, topics) = self.namesrv.route_table().sizes();
        out.metric(&ACTIVE_BROKERS);
        out.value(&[], brokers);
        out.metric(&TOPIC_NUMBER);
        out.value(&[], topics);
        out.metric(&RPC_LATENCY);
        for (kind, latency) in self.latencies.read() {
            let labels = [
                ("request_code", &*kind.request_name().to_lowercase()),
                ("response_code", &*kind.response_name().to_lowercase()),
                ("protocol_type", "remoting"),
                ("result", if kind.is_oneway { "oneway" } else { "success" }),
            ];
            let reading = HistogramReading {
                limits: &LATENCY_LIMITS_MS,
                counts: &latency.counts,
                sum: latency.sum_ms,
            };
            out.histogram(&labels, reading);
        }
    }
}

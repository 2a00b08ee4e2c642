//! What the configuration says about metrics, under the reference's keys.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

use common::property_enum;

property_enum! {
    /// Where metrics go. Reference: `MetricsExporterType`.
    pub enum MetricsExporterType {
        /// Nowhere.
        Disable = "DISABLE",
        /// Pushed over OpenTelemetry's gRPC; not built.
        OtlpGrpc = "OTLP_GRPC",
        /// Scraped by Prometheus.
        Prom = "PROM",
        /// Into the log; not built.
        Log = "LOG",
    }
}

/// Why an exporter is refused, if it is.
pub fn refuse_exporter(exporter: MetricsExporterType) -> Option<&'static str> {
    match exporter {
        MetricsExporterType::Disable | MetricsExporterType::Prom => None,
        MetricsExporterType::OtlpGrpc => {
            Some("metrics are not pushed over OTLP; set PROM and let a collector scrape, or DISABLE")
        }
        MetricsExporterType::Log => Some("metrics are not written to the log; set PROM, or DISABLE"),
    }
}

/// The address of `/metrics` and `/healthz`: `host` may be a name.
///
/// # Errors
/// When host or port cannot be listened on by their form; the text says what to do.
pub fn http_address(host: &str, port: i32) -> Result<SocketAddr, &'static str> {
    let port = u16::try_from(port)
        .ok()
        .filter(|port| *port > 0)
        .ok_or("the port must lie from 1 to 65535")?;
    let host = host.trim().trim_matches(['[', ']']);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, port));
    }
    (host, port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .ok_or(
            "it is neither an address of this host nor a name that resolves to one; 0.0.0.0 is all of them",
        )
}

/// The pairs of `metricsLabel`, `key:value,key:value`; malformed ones are left out, as in the reference.
pub fn metrics_labels(text: &str) -> Vec<(&str, &str)> {
    text.split(',')
        .filter_map(|pair| pair.trim().split_once(':'))
        .filter(|(name, value)| is_label_name(name) && !value.contains(':'))
        .collect()
}

fn is_label_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused() {
        assert_eq!(
            http_address("127.0.0.1", 5557).unwrap().to_string(),
            "127.0.0.1:5557"
        );
        assert_eq!(http_address("[::1]", 1).unwrap().to_string(), "[::1]:1");
        assert!(http_address("localhost", 5557).is_ok());
        assert!(http_address("0.0.0.0", 0).is_err());
        assert!(http_address("0.0.0.0", 65_536).is_err());
        assert!(http_address("no such host", 1).is_err());
    }

    #[test]
    fn labels_are_pairs_and_what_is_none_is_left_out() {
        assert_eq!(
            metrics_labels("region:eu, zone:a,bad,x:y:z,9:a,a-b:c"),
            [("region", "eu"), ("zone", "a")]
        );
        assert!(metrics_labels("").is_empty());
    }
}

//! Check: what `mqnamesrv --check-config FILE` finds in a file, all of it at once.

use std::path::Path;

use common::config_report::{ConfigReport, Severity};
use common::properties::{PropertyKey, PropertyLine, property_lines};

use operations::config::MetricsExporterType;

use super::{Config, ConfigError, known_keys};

/// Most refusals that one check looks for.
const REFUSALS_MAX: usize = 100;

/// Keys that files of the reference often have, about parts of it that this server is built without.
const WITHOUT_EFFECT: &[&str] = &[
    "clientRequestThreadPoolNums",
    "defaultThreadPoolNums",
    "clientRequestThreadPoolQueueCapacity",
    "defaultThreadPoolQueueCapacity",
    "unRegisterBrokerQueueCapacity",
    "serverSelectorThreads",
    "serverCallbackExecutorThreads",
    "serverPooledByteBufAllocatorEnable",
    "useEpollNativeSelector",
];

/// A key that does nothing while another has the value it has.
struct Contradiction {
    key: &'static str,
    holds: fn(&Config) -> bool,
    text: &'static str,
}

const CONTRADICTIONS: &[Contradiction] = &[
    Contradiction {
        key: "waitSecondsForService",
        holds: |config| !config.namesrv.need_wait_for_service,
        text: "has no effect while needWaitForService=false",
    },
    Contradiction {
        key: "productEnvName",
        holds: |config| !config.namesrv.cluster_test,
        text: "has no effect while clusterTest=false",
    },
    Contradiction {
        key: "metricsPromExporterPort",
        holds: |config| config.metrics.metrics_exporter_type != MetricsExporterType::Prom,
        text: "has no effect without metricsExporterType=PROM",
    },
    Contradiction {
        key: "configStorePath",
        holds: |_| true,
        text: "has no effect in a file given with -c: changes are saved to that file",
    },
];

/// Reads and checks a file.
pub fn check(path: &Path) -> ConfigReport {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return ConfigReport::unreadable(path, format!("cannot be read: {error}")),
    };
    let pairs = property_lines(&String::from_utf8_lossy(&bytes));
    let mut report = ConfigReport::new(path, &pairs);
    let mut config = Config::default();
    for pair in &pairs {
        check_pair(&mut config, pair, &mut report);
    }
    report_refusals(&mut config, &mut report);
    for contradiction in CONTRADICTIONS {
        if report.has(contradiction.key) && (contradiction.holds)(&config) {
            report.add(Severity::Warning, contradiction.key, contradiction.text);
        }
    }
    report
}

fn check_pair(config: &mut Config, pair: &PropertyLine, report: &mut ConfigReport) {
    let PropertyLine { key, value, .. } = pair;
    if let Err(cause) = config.set_from_file(key, value) {
        let default = key_of(key).map(|known| (known.default)()).unwrap_or_default();
        let text = format!(
            "cannot be `{value}`: expected {}; the default is `{default}`",
            cause.expected
        );
        report.add(Severity::Error, key, text);
    } else if key_of(key).is_none() {
        report.add_unknown(key, known_keys().map(|known| known.name));
    } else if WITHOUT_EFFECT.contains(&key.as_str()) {
        report.add(
            Severity::Note,
            key,
            "has no effect here: requests wait in no such queue",
        );
    }
}

/// Names each value that a start refuses; a refused one falls back to its default, so that the next is found too.
fn report_refusals(config: &mut Config, report: &mut ConfigReport) {
    for _ in 0..REFUSALS_MAX {
        match config.check() {
            Ok(()) => return,
            Err(ConfigError::Unusable { key, value, remedy }) => {
                report.add(Severity::Error, key, format!("`{value}` is refused: {remedy}"));
                let default = key_of(key).map(|known| (known.default)()).unwrap_or_default();
                if config.set_from_file(key, &default).is_err() {
                    return;
                }
            }
            Err(other) => {
                report.add(Severity::Error, "", other.to_string());
                return;
            }
        }
    }
}

fn key_of(name: &str) -> Option<&'static PropertyKey> {
    known_keys().find(|known| known.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> ConfigReport {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("namesrv.conf");
        std::fs::write(&path, text).unwrap();
        check(&path)
    }

    #[test]
    fn an_ordinary_file_is_fine() {
        let report = checked("listenPort=9876\norderMessageEnable=true\n");
        assert!(report.findings().is_empty(), "{report}");
    }

    #[test]
    fn everything_wrong_is_found_at_once_at_its_line() {
        let report = checked(
            "listenPort=many\nclusterTest=true\nmetricsExporterType=LOG\nenableControllerInNamesrv=true\nlistenPrt=1\nwaitSecondsForService=4\ndefaultThreadPoolNums=4\n",
        );
        let found: Vec<String> = report
            .findings()
            .into_iter()
            .map(|finding| {
                format!(
                    "{:?} {:?} {}: {}",
                    finding.line, finding.severity, finding.key, finding.text
                )
            })
            .collect();
        let expected = [
            "Some(1) Error listenPort: cannot be `many`",
            "Some(2) Error clusterTest: `true` is refused",
            "Some(3) Error metricsExporterType: `LOG` is refused",
            "Some(4) Error enableControllerInNamesrv: `true` is refused",
            "Some(5) Warning listenPrt: unknown, it has no effect; did you mean `listenPort`?",
            "Some(6) Warning waitSecondsForService: has no effect while",
            "Some(7) Note defaultThreadPoolNums: has no effect here",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}");
        }
        assert_eq!(report.exit_code(), 2);
    }

    #[test]
    fn a_missing_file_is_an_error() {
        assert_eq!(check(Path::new("/no/such/namesrv.conf")).exit_code(), 2);
    }
}

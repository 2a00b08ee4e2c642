//! Check: what `mqbroker --check-config FILE` finds in a file, all of it at once, without touching store or ports.
//!
//! ```text
//!   every line   value readable? key known? deprecated? without effect here?
//!   settle       the checks of a start; a refused key falls back to its default, so that the next one is found too
//!   contradictions   keys that are fine one by one and do not fit each other
//! ```

use std::path::Path;

use common::config_report::{ConfigReport, Severity};
use common::properties::{PropertyLine, property_lines};
use store::config::{BrokerRole, FlushDiskType};

use super::settings::{AUTH_KEYS, read};
use super::{ConfigError, Settings, namesrv_addresses};
use crate::timer::schedule;

/// Names of the 4.x releases that 5.x spells otherwise and does not read any more.
const RENAMED: &[(&str, &str)] = &[
    ("mapedFileSizeCommitLog", "mappedFileSizeCommitLog"),
    ("mapedFileSizeConsumeQueue", "mappedFileSizeConsumeQueue"),
];

/// Known keys that something newer replaced. Reference: `@Deprecated` in `MessageStoreConfig`; ACL 1.0.
const DEPRECATED: &[(&str, &str)] = &[
    (
        "maxTopicLength",
        "deprecated: autoMessageVersionOnTopicLen decides which topics fit",
    ),
    (
        "aclEnable",
        "deprecated: access control 1.0, replaced by authenticationEnabled and authorizationEnabled",
    ),
];

/// Most refusals that one check looks for; each costs one run of the start's checks.
const REFUSALS_MAX: usize = 100;

/// Reads and checks a file.
pub fn check(path: &Path) -> ConfigReport {
    let text = match read(path) {
        Ok(text) => text,
        Err(error) => return ConfigReport::unreadable(path, error),
    };
    let pairs = property_lines(&text);
    let mut report = ConfigReport::new(path, &pairs);
    let mut settings = Settings::default();
    for pair in &pairs {
        check_pair(&mut settings, pair, &mut report);
    }
    if settle(&mut settings, &mut report) {
        report_contradictions(&settings, &mut report);
    }
    report
}

fn check_pair(settings: &mut Settings, pair: &PropertyLine, report: &mut ConfigReport) {
    let PropertyLine { key, value, .. } = pair;
    settings.given.insert(key.clone());
    match settings.set("", key, value) {
        Ok(true) => check_known(key, report),
        Ok(false) => {
            check_unknown(key, report);
            settings.unknown.insert(key.clone(), value.clone());
        }
        Err(ConfigError::Value { cause, default, .. }) => report.add(
            Severity::Error,
            key,
            format!(
                "cannot be `{value}`: expected {}; the default is `{default}`",
                cause.expected
            ),
        ),
        Err(other) => report.add(Severity::Error, key, other.to_string()),
    }
}

fn check_known(key: &str, report: &mut ConfigReport) {
    if let Some((_, why)) = DEPRECATED.iter().find(|(deprecated, _)| *deprecated == key) {
        report.add(Severity::Warning, key, *why);
    } else if let Some(why) = without_effect(key) {
        report.add(Severity::Note, key, format!("has no effect here: {why}"));
    }
}

fn check_unknown(key: &str, report: &mut ConfigReport) {
    if let Some((_, new)) = RENAMED.iter().find(|(old, _)| *old == key) {
        let text = format!("the name of 4.x, which 5.x ignores; write `{new}`");
        report.add(Severity::Warning, key, text);
    } else if !AUTH_KEYS.contains(&key) {
        report.add_unknown(key, Settings::keys().map(|known| known.name));
    }
}

/// Keys that files of the reference often have, about parts of it that this broker is built without.
fn without_effect(key: &str) -> Option<&'static str> {
    match key {
        "useReentrantLockWhenPutMessage" | "useABSLock" | "spinLockCollisionRetreatOptimalDegree" => {
            Some("there is one kind of writer lock")
        }
        "warmMapedFileEnable" | "flushLeastPagesWhenWarmMapedFile" => {
            Some("pages ahead of the writer are always touched")
        }
        "serverSelectorThreads"
        | "serverCallbackExecutorThreads"
        | "serverPooledByteBufAllocatorEnable"
        | "useEpollNativeSelector" => Some("there is no Netty"),
        _ if key.ends_with("ThreadPoolNums") || key.ends_with("QueueCapacity") => {
            Some("requests wait in no such queue; they run where they are read, or on one bounded pool")
        }
        _ if key.starts_with("waitTimeMillsIn") => Some("requests wait in no such queue"),
        _ => None,
    }
}

/// Runs the checks of a start. False when they cannot be passed even with the refused keys left out.
fn settle(settings: &mut Settings, report: &mut ConfigReport) -> bool {
    for _ in 0..REFUSALS_MAX {
        match settings.settle() {
            Ok(warnings) => {
                for warning in warnings {
                    report.add(Severity::Warning, warning.key, warning.text);
                }
                return true;
            }
            Err(ConfigError::Refused { key, value, reason }) => {
                report.add(Severity::Error, key, format!("`{value}` is refused: {reason}"));
                if !settings.reset(key) {
                    return false;
                }
                if key == "brokerRole" {
                    // The number of a slave is wrong for a master alone.
                    settings.reset("brokerId");
                }
            }
            Err(other) => {
                report.add(Severity::Error, "", other.to_string());
                return false;
            }
        }
    }
    false
}

/// A combination of keys that does not make sense.
struct Contradiction {
    /// The key to name; it is looked at only if the file has it, or one of `with`.
    key: &'static str,
    with: &'static [&'static str],
    holds: fn(&Settings) -> bool,
    text: &'static str,
}

const CONTRADICTIONS: &[Contradiction] = &[
    Contradiction {
        key: "shortPollingTimeMills",
        with: &[],
        holds: |settings| settings.broker.long_polling_enable,
        text: "has no effect while longPollingEnable=true",
    },
    Contradiction {
        key: "msgTraceTopicName",
        with: &[],
        holds: |settings| !settings.broker.trace_topic_enable,
        text: "the topic is not made at the start while traceTopicEnable=false",
    },
    Contradiction {
        key: "defaultTopicQueueNums",
        with: &[],
        holds: |settings| !settings.broker.auto_create_topic_enable,
        text: "has no effect while autoCreateTopicEnable=false",
    },
    Contradiction {
        key: "metricsPromExporterPort",
        with: &[],
        holds: |settings| settings.broker.metrics_exporter_type != super::MetricsExporterType::Prom,
        text: "has no effect without metricsExporterType=PROM",
    },
    Contradiction {
        key: "metricsPromExporterHost",
        with: &[],
        holds: |settings| settings.broker.metrics_exporter_type != super::MetricsExporterType::Prom,
        text: "has no effect without metricsExporterType=PROM",
    },
    Contradiction {
        key: "registerNameServerPeriod",
        with: &[],
        holds: |settings| !(10_000..=60_000).contains(&settings.broker.register_name_server_period),
        text: "is taken as the nearest of 10000 to 60000",
    },
    Contradiction {
        key: "diskSpaceCleanForciblyRatio",
        with: &["diskSpaceWarningLevelRatio"],
        holds: |settings| {
            settings.store.disk_space_clean_forcibly_ratio >= settings.store.disk_space_warning_level_ratio
        },
        text: "must lie below diskSpaceWarningLevelRatio, or messages are refused before old files are deleted to make room",
    },
    Contradiction {
        key: "diskMaxUsedSpaceRatio",
        with: &["diskSpaceCleanForciblyRatio"],
        holds: |settings| {
            settings.store.disk_max_used_space_ratio > settings.store.disk_space_clean_forcibly_ratio
        },
        text: "must not lie above diskSpaceCleanForciblyRatio, or files are deleted by force before expired ones",
    },
    Contradiction {
        key: "fileReservedTime",
        with: &["timerMaxDelaySec", "timerRollWindowSlot", "timerPrecisionMs"],
        holds: timer_messages_outlive_their_files,
        text: "is shorter than a message with a delivery time may wait in one file, which would be deleted before it is due; see timerMaxDelaySec and timerRollWindowSlot",
    },
    Contradiction {
        key: "maxMessageSize",
        with: &[],
        holds: |settings| settings.store.max_message_size >= remoting::frame::MAX_FRAME_BYTES,
        text: "a frame holds at most 16 MiB with its header, larger messages never arrive",
    },
    Contradiction {
        key: "maxMessageSize",
        with: &["mappedFileSizeCommitLog"],
        holds: |settings| settings.store.max_message_size >= settings.store.mapped_file_size_commit_log,
        text: "a message must fit into one file of mappedFileSizeCommitLog bytes",
    },
    Contradiction {
        key: "inSyncReplicas",
        with: &["totalReplicas"],
        holds: |settings| settings.store.in_sync_replicas > settings.store.total_replicas,
        text: "is more than totalReplicas: no send could ever be confirmed",
    },
    Contradiction {
        key: "minInSyncReplicas",
        with: &["inSyncReplicas"],
        holds: |settings| settings.store.min_in_sync_replicas > settings.store.in_sync_replicas,
        text: "is more than inSyncReplicas",
    },
    Contradiction {
        key: "brokerRole",
        with: &["inSyncReplicas"],
        holds: |settings| {
            settings.store.broker_role == BrokerRole::SyncMaster && settings.store.in_sync_replicas <= 1
        },
        text: "SYNC_MASTER waits for nobody while inSyncReplicas=1, the master itself",
    },
    Contradiction {
        key: "flushDiskType",
        with: &["wakeFlushWhenPutMessage"],
        holds: |settings| {
            settings.store.flush_disk_type == FlushDiskType::SyncFlush
                && settings.store.wake_flush_when_put_message
        },
        text: "SYNC_FLUSH flushes with every put; wakeFlushWhenPutMessage is for ASYNC_FLUSH",
    },
    Contradiction {
        key: "brokerIP1",
        with: &["namesrvAddr"],
        holds: advertises_loopback_to_others,
        text: "clients of a name server on another host are told to connect to a loopback address",
    },
    Contradiction {
        key: "haListenPort",
        with: &["listenPort"],
        holds: |settings| {
            let port = i32::from(settings.server.listen_port);
            [port, port - 2].contains(&settings.store.ha_listen_port)
        },
        text: "is the broker's own port: listenPort and the fast port two below are taken",
    },
];

fn report_contradictions(settings: &Settings, report: &mut ConfigReport) {
    for contradiction in CONTRADICTIONS {
        let is_given = report.has(contradiction.key) || contradiction.with.iter().any(|key| report.has(key));
        if is_given && (contradiction.holds)(settings) {
            report.add(Severity::Warning, contradiction.key, contradiction.text);
        }
    }
    if settings.broker.namesrv_addr.is_empty() {
        report.add(
            Severity::Note,
            "namesrvAddr",
            "not set: without -n or NAMESRV_ADDR no client finds this broker",
        );
    }
}

fn timer_messages_outlive_their_files(settings: &Settings) -> bool {
    let store = &settings.store;
    let kept_ms = store.file_reserved_time.saturating_mul(3_600_000);
    store.timer_wheel_enable && kept_ms < schedule::longest_wait_ms(store)
}

fn advertises_loopback_to_others(settings: &Settings) -> bool {
    let is_loopback = |host: &str| {
        host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    };
    is_loopback(&settings.broker.broker_ip1)
        && namesrv_addresses(&settings.broker.namesrv_addr)
            .iter()
            .filter_map(|address| address.rsplit_once(':'))
            .any(|(host, _)| !is_loopback(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> ConfigReport {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("broker.conf");
        std::fs::write(&path, text).unwrap();
        check(&path)
    }

    fn findings(text: &str) -> Vec<(Option<usize>, Severity, String)> {
        checked(&format!("namesrvAddr=127.0.0.1:9876\n{text}"))
            .findings()
            .into_iter()
            .map(|finding| {
                (
                    finding.line,
                    finding.severity,
                    format!("{}: {}", finding.key, finding.text),
                )
            })
            .collect()
    }

    #[test]
    fn an_ordinary_file_is_fine() {
        let report = checked(
            "brokerName=a\nnamesrvAddr=127.0.0.1:9876\nbrokerIP1=127.0.0.1\nflushDiskType=SYNC_FLUSH\n",
        );
        assert!(report.findings().is_empty(), "{report}");
        assert_eq!(report.exit_code(), 0);
    }

    #[test]
    fn everything_wrong_is_found_at_once_at_its_line() {
        let text = "fileReservedTime=three days\nenableControllerMode=true\nlistenPort=1\nbrokerPermision=6\nmapedFileSizeCommitLog=1\naclEnable=false\n";
        let found = findings(text);
        let expected = [
            (2, Severity::Error, "fileReservedTime: cannot be `three days`"),
            (3, Severity::Error, "enableControllerMode: `true` is refused"),
            (4, Severity::Error, "listenPort: `1` is refused"),
            (5, Severity::Warning, "brokerPermision: unknown"),
            (6, Severity::Warning, "mapedFileSizeCommitLog: the name of 4.x"),
            (7, Severity::Warning, "aclEnable: deprecated"),
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for ((line, severity, text), (expected_line, expected_severity, start)) in found.iter().zip(expected)
        {
            assert_eq!(
                (*line, *severity),
                (Some(expected_line), expected_severity),
                "{text}"
            );
            assert!(text.starts_with(start), "{text}");
        }
        assert!(
            found[3].2.ends_with("did you mean `brokerPermission`?"),
            "{}",
            found[3].2
        );
        assert_eq!(checked(text).exit_code(), 2);
    }

    #[test]
    fn of_a_slave_only_its_role_is_refused() {
        let found = findings("brokerId=1\nbrokerRole=SLAVE\n");
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!((found[0].0, found[0].1), (Some(3), Severity::Error));
        assert!(found[0].2.starts_with("brokerRole: `SLAVE` is refused"));
    }

    #[test]
    fn contradictions_are_named_once_per_pair() {
        let cases = [
            ("shortPollingTimeMills=500\n", "longPollingEnable=true"),
            ("msgTraceTopicName=T\n", "traceTopicEnable=false"),
            (
                "autoCreateTopicEnable=false\ndefaultTopicQueueNums=4\n",
                "autoCreateTopicEnable=false",
            ),
            ("metricsPromExporterPort=5557\n", "metricsExporterType=PROM"),
            ("metricsPromExporterHost=127.0.0.1\n", "metricsExporterType=PROM"),
            ("registerNameServerPeriod=1\n", "nearest of 10000"),
            (
                "diskSpaceWarningLevelRatio=80\n",
                "must lie below diskSpaceWarningLevelRatio",
            ),
            (
                "diskMaxUsedSpaceRatio=86\n",
                "must not lie above diskSpaceCleanForciblyRatio",
            ),
            ("fileReservedTime=47\n", "which would be deleted before it is due"),
            (
                "fileReservedTime=48\ntimerPrecisionMs=500\ntimerRollWindowSlot=500000\n",
                "which would be deleted before it is due",
            ),
            ("maxMessageSize=16777216\n", "at most 16 MiB"),
            ("mappedFileSizeCommitLog=1048576\n", "must fit into one file"),
            ("inSyncReplicas=2\n", "more than totalReplicas"),
            ("minInSyncReplicas=2\n", "more than inSyncReplicas"),
            ("brokerRole=SYNC_MASTER\n", "waits for nobody"),
            (
                "flushDiskType=SYNC_FLUSH\nwakeFlushWhenPutMessage=true\n",
                "is for ASYNC_FLUSH",
            ),
            ("namesrvAddr=10.0.0.1:9876\nbrokerIP1=127.0.0.1\n", "loopback"),
            ("haListenPort=10909\n", "own port"),
        ];
        for (text, expected) in cases {
            let found: Vec<_> = findings(text)
                .into_iter()
                .filter(|(_, _, said)| said.contains(expected))
                .collect();
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert_eq!(found[0].1, Severity::Warning);
        }
    }

    #[test]
    fn files_are_kept_long_enough_for_timer_messages_by_default_and_where_delays_are_short() {
        for text in [
            "fileReservedTime=48\n",
            "fileReservedTime=24\ntimerMaxDelaySec=86400\n",
            "fileReservedTime=24\ntimerRollWindowSlot=86400\n",
            "fileReservedTime=24\ntimerPrecisionMs=500\n",
            "fileReservedTime=1\ntimerWheelEnable=false\n",
        ] {
            let found = findings(text);
            assert!(
                !found
                    .iter()
                    .any(|(_, _, said)| said.starts_with("fileReservedTime")),
                "{text}: {found:?}"
            );
        }
    }

    #[test]
    fn keys_of_parts_that_do_not_exist_here_are_notes() {
        let text = "namesrvAddr=127.0.0.1:9876\nsendMessageThreadPoolNums=16\nuseReentrantLockWhenPutMessage=true\nwaitTimeMillsInSendQueue=1\n";
        let report = checked(text);
        assert_eq!(report.findings().len(), 3, "{report}");
        assert_eq!(report.exit_code(), 0);
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let report = check(Path::new("/no/such/broker.conf"));
        assert_eq!(report.exit_code(), 2);
        assert!(report.to_string().contains("/no/such/broker.conf"), "{report}");
    }
}

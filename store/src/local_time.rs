//! The host's local time, where the reference uses it: names of index files and the hours of `deleteWhen`.
//!
//! The zone is that of the `TZ` variable, else of the host; UTC if neither can be read.

use chrono::{DateTime, Local, TimeZone, Timelike};

/// `yyyyMMddHHmmssSSS`.
pub fn file_stamp(wall_ms: i64) -> String {
    at(wall_ms).format("%Y%m%d%H%M%S%3f").to_string()
}

/// The hour of the day, 0 to 23.
pub fn hour(wall_ms: i64) -> u32 {
    at(wall_ms).hour()
}

fn at(wall_ms: i64) -> DateTime<Local> {
    Local
        .timestamp_millis_opt(wall_ms)
        .earliest()
        .unwrap_or_else(|| DateTime::UNIX_EPOCH.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_have_17_digits_and_rise() {
        let stamp = file_stamp(1_795_377_329_672);
        assert_eq!(stamp.len(), 17);
        assert!(stamp.starts_with("202611") && stamp.ends_with("672"), "{stamp}");
        assert!(file_stamp(1_795_377_329_673) > stamp);
    }

    #[test]
    fn hours_follow_each_other() {
        let first = hour(1_795_377_329_672);
        assert_eq!(hour(1_795_377_329_672 + 3_600_000), (first + 1) % 24);
    }
}

//! Wall time as the host's time zone shows it: for what happens at an hour of the day, and for text that people read.
//!
//! The zone is the one of `TZ` or of the host, read once; a host that has none is in UTC.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// The hour of the day, 0 to 23.
pub fn hour(wall_ms: i64) -> u32 {
    u32::try_from(civil(wall_ms).hour()).unwrap_or_default()
}

/// When the next day begins.
pub fn next_midnight_ms(wall_ms: i64) -> i64 {
    next_midnight_in(&TimeZone::system(), wall_ms)
}

/// `2026-01-02#03:04:05:006`, as JSON bodies show times. Reference: `UtilAll.timeMillisToHumanString2` and its kin.
pub fn human_text(wall_ms: i64) -> String {
    text_in(&TimeZone::system(), wall_ms)
}

fn civil(wall_ms: i64) -> DateTime {
    timestamp(wall_ms).to_zoned(TimeZone::system()).datetime()
}

/// Times that no calendar holds read as the epoch: they come from messages, and must not stop anyone.
fn timestamp(wall_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(wall_ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn next_midnight_in(zone: &TimeZone, wall_ms: i64) -> i64 {
    let tomorrow = timestamp(wall_ms).to_zoned(zone.clone()).checked_add(1.day());
    // A day that does not begin at midnight, because clocks change then, begins where `start_of_day` says.
    tomorrow
        .and_then(|tomorrow| tomorrow.start_of_day())
        .map_or(i64::MAX, |midnight| midnight.timestamp().as_millisecond())
}

fn text_in(zone: &TimeZone, wall_ms: i64) -> String {
    let time = timestamp(wall_ms).to_zoned(zone.clone()).datetime();
    format!(
        "{:04}-{:02}-{:02}#{:02}:{:02}:{:02}:{:03}",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * 3_600_000;

    #[test]
    fn the_next_midnight_is_that_of_the_zone() {
        let east = TimeZone::fixed(jiff::tz::offset(8));
        // 1970-01-02T20:00Z is the 3rd at 04:00 eight hours east.
        let evening = DAY_MS + 20 * 3_600_000;
        assert_eq!(next_midnight_in(&TimeZone::UTC, evening), 2 * DAY_MS);
        assert_eq!(next_midnight_in(&east, evening), 3 * DAY_MS - 8 * 3_600_000);
        assert_eq!(next_midnight_in(&TimeZone::UTC, 2 * DAY_MS), 3 * DAY_MS);
    }

    #[test]
    fn text_shows_every_part_down_to_the_millisecond() {
        assert_eq!(text_in(&TimeZone::UTC, 2), "1970-01-01#00:00:00:002");
        assert_eq!(
            text_in(&TimeZone::fixed(jiff::tz::offset(8)), DAY_MS + 61_007),
            "1970-01-02#08:01:01:007"
        );
        assert_eq!(text_in(&TimeZone::UTC, i64::MAX), "1970-01-01#00:00:00:000");
    }

    #[test]
    fn the_host_has_an_hour() {
        assert!(hour(0) < 24 && next_midnight_ms(0) > 0 && human_text(0).len() == 23);
    }
}

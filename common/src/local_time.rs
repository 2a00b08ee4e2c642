//! Wall time as the host's time zone shows it: for what happens at an hour of the day or at midnight, and for file names.
//!
//! The zone is the one of `TZ` or of the host; a host that has none is in UTC.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// The hour of the day, 0 to 23.
pub fn hour(wall_ms: i64) -> u32 {
    let here = timestamp(wall_ms).to_zoned(TimeZone::system());
    u32::try_from(here.hour()).unwrap_or_default()
}

/// When the next day begins.
pub fn next_midnight_ms(wall_ms: i64) -> i64 {
    next_midnight_in(&TimeZone::system(), wall_ms)
}

/// `yyyyMMddHHmmssSSS`, the name of an index file. Reference: `UtilAll.timeMillisToHumanString`.
pub fn file_stamp(wall_ms: i64) -> String {
    file_stamp_in(&TimeZone::system(), wall_ms)
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

fn file_stamp_in(zone: &TimeZone, wall_ms: i64) -> String {
    let time = timestamp(wall_ms).to_zoned(zone.clone()).datetime();
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}{:03}",
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
    fn file_stamps_show_every_part_down_to_the_millisecond() {
        let east = TimeZone::fixed(jiff::tz::offset(8));
        assert_eq!(file_stamp_in(&TimeZone::UTC, 2), "19700101000000002");
        assert_eq!(file_stamp_in(&east, DAY_MS + 61_007), "19700102080101007");
        assert_eq!(file_stamp_in(&TimeZone::UTC, i64::MAX), "19700101000000000");
    }

    #[test]
    fn hours_follow_each_other_where_the_host_is() {
        let first = hour(1_795_377_329_672);
        assert_eq!(hour(1_795_377_329_672 + 3_600_000), (first + 1) % 24);
        assert!(next_midnight_ms(0) > 0 && file_stamp(0).len() == 17);
    }
}

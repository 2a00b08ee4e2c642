//! The delay levels: `messageDelayLevel` of the broker's configuration.

use thiserror::Error;

/// The reference's default: level 1 is one second, level 18 two hours.
pub const DEFAULT_DELAY_LEVELS: &str = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";

/// Delays by level; levels count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayLevels {
    delays_ms: Vec<i64>,
}

/// A `messageDelayLevel` that cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("delay level `{level}` is not a number followed by s, m, h or d")]
pub struct DelayLevelError {
    /// The word that is wrong.
    pub level: String,
}

impl DelayLevels {
    /// Reads words such as `30s` or `2h`, one level a word. Reference: `ScheduleMessageService.parseDelayLevel`.
    pub fn parse(text: &str) -> Result<Self, DelayLevelError> {
        let delays_ms = text
            .split_whitespace()
            .map(parse_delay_ms)
            .collect::<Result<_, _>>()?;
        Ok(Self { delays_ms })
    }

    /// The delay of a level in ms; `None` outside 1..=max.
    pub fn delay_ms(&self, level: i32) -> Option<i64> {
        let index = usize::try_from(level).ok()?.checked_sub(1)?;
        self.delays_ms.get(index).copied()
    }

    /// The highest level, 0 when there is none.
    pub fn max_level(&self) -> i32 {
        i32::try_from(self.delays_ms.len()).unwrap_or(i32::MAX)
    }

    /// When a message stored at `store_timestamp_ms` with this level is due; a level over the maximum counts as the maximum.
    pub fn deliver_at_ms(&self, level: i32, store_timestamp_ms: i64) -> i64 {
        let delay_ms = self.delay_ms(level.min(self.max_level())).unwrap_or(1_000);
        // Both come from outside: the time from a record on the disk, the delay from the configuration.
        store_timestamp_ms.saturating_add(delay_ms)
    }
}

impl Default for DelayLevels {
    fn default() -> Self {
        Self::parse(DEFAULT_DELAY_LEVELS).expect("the default levels are well formed")
    }
}

fn parse_delay_ms(word: &str) -> Result<i64, DelayLevelError> {
    let error = || DelayLevelError {
        level: word.to_owned(),
    };
    let unit = word.chars().last().ok_or_else(error)?;
    let unit_ms: i64 = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return Err(error()),
    };
    let count: i64 = word[..word.len() - 1].parse().map_err(|_| error())?;
    count
        .checked_mul(unit_ms)
        .filter(|delay_ms| *delay_ms >= 0)
        .ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_has_eighteen_levels_from_a_second_to_two_hours() {
        let levels = DelayLevels::default();
        assert_eq!(levels.max_level(), 18);
        assert_eq!(levels.delay_ms(1), Some(1_000));
        assert_eq!(levels.delay_ms(18), Some(7_200_000));
        assert_eq!(levels.delay_ms(0), None);
        assert_eq!(levels.delay_ms(19), None);
        assert_eq!(levels.deliver_at_ms(40, 10), 7_200_010);
        assert_eq!(levels.deliver_at_ms(1, i64::MAX), i64::MAX);
    }

    #[test]
    fn a_bad_word_is_named() {
        for bad in ["1s 2x", "s", "1s -5m", "9223372036854775807d", "1s \u{00e9}"] {
            assert!(DelayLevels::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(DelayLevels::parse("1s 2x").unwrap_err().level, "2x");
    }
}

//! A fixed rate: message n is due at start + n / rate, whatever became of those before it.

use std::time::Duration;

const NANOS: u128 = 1_000_000_000;

/// So many messages a second.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    rate: u64,
}

impl Pace {
    /// `rate` messages a second, at least one.
    pub fn new(rate: u64) -> Self {
        Self { rate: rate.max(1) }
    }

    /// When message `number` is due, after the start.
    pub fn due(self, number: u64) -> Duration {
        Duration::from_nanos((u128::from(number) * NANOS / u128::from(self.rate)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_due_by_its_number_alone() {
        let pace = Pace::new(2_000);
        assert_eq!(pace.due(0), Duration::ZERO);
        assert_eq!(pace.due(3), Duration::from_micros(1_500));
        assert_eq!(
            pace.due(u64::from(u32::MAX)),
            Duration::from_micros(2_147_483_647_500)
        );
    }
}

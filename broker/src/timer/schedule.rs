//! Whether a message waits, and in which slot.
//!
//! ```text
//!   precision 1000 ms:   due in (5000, 6000]  ->  slot 5000 = TIMER_OUT_MS
//! ```
//!
//! Reference: `HookUtils.transformTimerMessage`, `TimerMessageStore.isReject`, `SendMessageProcessor.handlePutMessageResult`.

use remoting::codes::response_code;
use remoting::request::Refusal;
use store::MessageStoreConfig;
use store::timer::WHEEL_SLOTS;
use thiserror::Error;

use super::timers::precision_ms;
use crate::broker::Broker;

/// Slots between the end of the roll window and where the wheel has gone half round. Reference: `TIMER_BLANK_SLOTS`.
const BLANK_SLOTS: i64 = 60;

/// Why a message cannot wait. The remarks are the reference's.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum TimerRefusal {
    /// It is due too late, or takes a message back that is due already.
    #[error(
        "timer message illegal, the delay time should not be bigger than the max delay {max_delay_ms}ms; or if set del \
         msg, the delay time should be bigger than the current time"
    )]
    Illegal { max_delay_ms: i64 },
    /// Too many wait for the same time.
    #[error(
        "timer message is under flow control, max num limit is {} or the current value is greater than {limit} and less \
         than {}, trigger random flow control",
        limit * 2,
        limit * 2
    )]
    FlowControl { limit: i64 },
    /// `timerWheelEnable` is off.
    #[error("accurate timer message is not enabled, timerWheelEnable is false")]
    NotEnabled,
}

impl From<TimerRefusal> for Refusal {
    fn from(refusal: TimerRefusal) -> Self {
        let code = match refusal {
            TimerRefusal::Illegal { .. } => response_code::MESSAGE_ILLEGAL,
            TimerRefusal::FlowControl { .. } | TimerRefusal::NotEnabled => response_code::SYSTEM_ERROR,
        };
        Refusal::new(code, refusal.to_string())
    }
}

/// The slot in which a message waits that is to be delivered at `deliver_at_ms`; `None` when that is now or was before.
///
/// `takes_back`: it stands for a recall, which must not come too late.
pub(crate) fn schedule(
    broker: &Broker,
    deliver_at_ms: i64,
    takes_back: bool,
) -> Result<Option<i64>, TimerRefusal> {
    let timers = broker.timers.as_deref().ok_or(TimerRefusal::NotEnabled)?;
    let config = broker.store_config.get();
    let now_ms = broker.clock.wall_ms();
    let illegal = TimerRefusal::Illegal {
        max_delay_ms: max_delay_ms(&config),
    };
    if deliver_at_ms <= now_ms {
        return if takes_back { Err(illegal) } else { Ok(None) };
    }
    if deliver_at_ms.saturating_sub(now_ms) > max_delay_ms(&config) {
        return Err(illegal);
    }
    let out_ms = slot_before(deliver_at_ms, timers.files.precision_ms());
    let limit = i64::from(config.timer_congest_num_each_slot);
    let waiting = i64::from(timers.files.count_at(out_ms));
    if is_crowded(waiting, limit, || broker.random.below(1_000)) {
        return Err(TimerRefusal::FlowControl { limit });
    }
    Ok(Some(out_ms))
}

/// The longest delay, in ms.
pub(crate) fn max_delay_ms(config: &MessageStoreConfig) -> i64 {
    config.timer_max_delay_sec.saturating_mul(1_000)
}

/// For how long ahead a message is filed, in ms: one that is due later is put into the log anew after a while.
pub(crate) fn roll_window_ms(config: &MessageStoreConfig, precision_ms: i64) -> i64 {
    let most_slots = WHEEL_SLOTS / 2 - BLANK_SLOTS;
    let slots = Some(config.timer_roll_window_slot).filter(|slots| (2..=most_slots).contains(slots));
    slots.unwrap_or(most_slots) * precision_ms
}

/// For how long a message may wait at one place in the log, in ms.
pub(crate) fn longest_wait_ms(config: &MessageStoreConfig) -> i64 {
    let window_ms = roll_window_ms(config, precision_ms(config.timer_precision_ms));
    max_delay_ms(config).min(window_ms)
}

/// The last slot that begins before a time.
pub(crate) fn slot_before(deliver_at_ms: i64, precision_ms: i64) -> i64 {
    (deliver_at_ms - 1).div_euclid(precision_ms) * precision_ms
}

/// Above the limit a growing part is refused at random, from twice the limit on everything.
fn is_crowded(waiting: i64, limit: i64, per_mille: impl FnOnce() -> i32) -> bool {
    if waiting <= limit {
        return false;
    }
    waiting >= limit.saturating_mul(2)
        || f64::from(per_mille()) > 1_000.0 * (waiting - limit) as f64 / (limit as f64 + 0.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_waits_in_the_slot_that_is_over_when_it_is_due_at_the_latest() {
        assert_eq!(slot_before(5_001, 1_000), 5_000);
        assert_eq!(slot_before(5_999, 1_000), 5_000);
        assert_eq!(
            slot_before(6_000, 1_000),
            5_000,
            "an exact multiple waits in the slot before"
        );
        assert_eq!(slot_before(6_001, 1_000), 6_000);
        assert_eq!(slot_before(6_000, 100), 5_900);
    }

    #[test]
    fn a_crowded_slot_refuses_some_and_a_full_one_all() {
        let never = || panic!("not left to chance");
        assert!(!is_crowded(10, 10, never));
        assert!(is_crowded(20, 10, never));
        assert!(!is_crowded(i64::from(i32::MAX), i64::from(i32::MAX), never));
        // Refused when the draw is over 1000 * (15 - 10) / 10.1 = 495.
        assert!(!is_crowded(15, 10, || 495));
        assert!(is_crowded(15, 10, || 496));
    }

    #[test]
    fn remarks_are_those_of_the_reference() {
        let illegal = Refusal::from(TimerRefusal::Illegal {
            max_delay_ms: 259_200_000,
        });
        assert_eq!(illegal.code, 13);
        assert_eq!(
            illegal.remark,
            "timer message illegal, the delay time should not be bigger than the max delay 259200000ms; or if set del \
             msg, the delay time should be bigger than the current time"
        );
        let crowded = Refusal::from(TimerRefusal::FlowControl { limit: 10 });
        assert_eq!(crowded.code, 1);
        assert_eq!(
            crowded.remark,
            "timer message is under flow control, max num limit is 20 or the current value is greater than 10 and less \
             than 20, trigger random flow control"
        );
        let off = Refusal::from(TimerRefusal::NotEnabled);
        assert_eq!(
            (off.code, &*off.remark),
            (
                1,
                "accurate timer message is not enabled, timerWheelEnable is false"
            )
        );
    }
}

//! What a round of the check does with each half message: a pure function of the half messages, of those that are over,
//! and of the time.
//!
//! ```text
//!   over?  yes ──> pass
//!   stored since the round began?          yes ──> the round ends: it would meet its own copies
//!   asked too often, or too old?           yes ──> discard
//!   producer wants no question yet?        yes ──> put back
//!   younger than transactionTimeOut?       yes ──> the round ends: those after it are younger still
//!                                          else ─> ask the producer, put back
//! ```
//!
//! The reference discards before it looks when the message was stored, and so never waits for the answer to the last
//! question. It also asks about messages whose end it has not written yet; here the ledger knows them.
//! Reference: `TransactionalMessageServiceImpl.check`.

use super::half_message::HalfMessage;

/// The limits of a round, and when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// Wall time.
    pub(crate) began_ms: i64,
    /// `transactionTimeOut`.
    pub(crate) time_out_ms: i64,
    /// `transactionCheckMax`.
    pub(crate) check_max: i32,
    /// `fileReservedTime`: an older message may be deleted at any time.
    pub(crate) keep_ms: i64,
}

/// What the check must know of a half message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HalfEntry {
    pub(crate) queue_offset: u64,
    /// An op record or an end since says so, or a copy took its place.
    pub(crate) is_over: bool,
    /// `None` when its record cannot be read any more.
    pub(crate) facts: Option<HalfFacts>,
}

/// The part of it that its record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HalfFacts {
    pub(crate) born_timestamp_ms: i64,
    pub(crate) store_timestamp_ms: i64,
    /// How often the producer was asked.
    pub(crate) check_times: Option<i32>,
    /// For how long after its birth its producer wants not to be asked.
    pub(crate) immunity_ms: Option<i64>,
}

impl HalfFacts {
    /// What the record of a half message tells.
    pub(crate) fn of(half: &HalfMessage<'_>, time_out_ms: i64) -> Self {
        HalfFacts {
            born_timestamp_ms: half.record.born_timestamp_ms,
            store_timestamp_ms: half.record.store_timestamp_ms,
            check_times: half.check_times(),
            immunity_ms: half
                .immunity()
                .map(|seconds| check_immunity_ms(seconds, time_out_ms)),
        }
    }
}

/// What to do with a half message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing: it is over.
    Pass,
    /// Put it back without a question.
    PutBack,
    /// Put it back and ask its producer.
    Ask,
    /// Move it to the topic of those that nobody answers for.
    Discard,
    /// Nothing can be done: its record is gone.
    GiveUp,
}

/// What to do with some half messages, and whether the round ends there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// By queue offset, in their order.
    pub(crate) actions: Vec<(u64, Action)>,
    pub(crate) ends_round: bool,
}

/// Decides about the half messages in their order, up to the first that has to wait.
pub(crate) fn plan(halves: &[HalfEntry], now_ms: i64, round: &Round) -> Plan {
    let mut actions = Vec::with_capacity(halves.len());
    for half in halves {
        let action = match &half.facts {
            _ if half.is_over => Action::Pass,
            None => Action::GiveUp,
            Some(facts) => match judge(facts, now_ms, round) {
                Some(action) => action,
                None => {
                    return Plan {
                        actions,
                        ends_round: true,
                    };
                }
            },
        };
        actions.push((half.queue_offset, action));
    }
    Plan {
        actions,
        ends_round: false,
    }
}

/// What to do with an open half message; `None` when it has to wait.
fn judge(half: &HalfFacts, now_ms: i64, round: &Round) -> Option<Action> {
    if half.store_timestamp_ms >= round.began_ms {
        return None;
    }
    let age_ms = now_ms.saturating_sub(half.born_timestamp_ms);
    if half.check_times.is_some_and(|times| times >= round.check_max) || age_ms > round.keep_ms {
        return Some(Action::Discard);
    }
    match half.immunity_ms {
        Some(immunity_ms) if age_ms <= immunity_ms => Some(Action::PutBack),
        // A producer whose clock is ahead of ours is asked at once.
        None if (0..=round.time_out_ms).contains(&age_ms) => None,
        _ => Some(Action::Ask),
    }
}

/// CHECK_IMMUNITY_TIME_IN_SECONDS as the check reads it: -1, and what is no number, mean `transactionTimeOut`.
fn check_immunity_ms(seconds: &str, time_out_ms: i64) -> i64 {
    match seconds.parse::<i64>() {
        Ok(-1) | Err(_) => time_out_ms,
        Ok(seconds) => seconds.saturating_mul(1_000),
    }
}

/// The same as the end of a transaction reads it: never shorter than `transactionTimeOut`.
///
/// Reference: `TransactionalMessageUtil.getImmunityTime`.
pub(crate) fn end_immunity_ms(seconds: &str, time_out_ms: i64) -> i64 {
    let seconds: i64 = seconds.parse().unwrap_or(0);
    seconds.saturating_mul(1_000).max(time_out_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_000_000;
    const ROUND: Round = Round {
        began_ms: NOW_MS - 10,
        time_out_ms: 6_000,
        check_max: 15,
        keep_ms: 72 * 3_600_000,
    };

    fn facts(age_ms: i64) -> HalfFacts {
        HalfFacts {
            born_timestamp_ms: NOW_MS - age_ms,
            store_timestamp_ms: NOW_MS - 500,
            check_times: None,
            immunity_ms: None,
        }
    }

    fn entry(queue_offset: u64, facts: HalfFacts) -> HalfEntry {
        HalfEntry {
            queue_offset,
            is_over: false,
            facts: Some(facts),
        }
    }

    #[test]
    fn each_half_message_is_judged_by_its_age_its_checks_and_its_immunity() {
        let asked = |times| HalfFacts {
            check_times: Some(times),
            ..facts(90_000)
        };
        let immune = |age_ms, immunity_ms| HalfFacts {
            immunity_ms: Some(immunity_ms),
            ..facts(age_ms)
        };
        let stored = |store_timestamp_ms| HalfFacts {
            store_timestamp_ms,
            ..asked(15)
        };
        let cases = [
            ("just sent", facts(0), None),
            ("as old as the time out", facts(6_000), None),
            ("older than the time out", facts(6_001), Some(Action::Ask)),
            ("born in the future", facts(-1), Some(Action::Ask)),
            ("asked once less than the limit", asked(14), Some(Action::Ask)),
            ("asked up to the limit", asked(15), Some(Action::Discard)),
            ("a check count that is no number", asked(-1), Some(Action::Ask)),
            (
                "older than files are kept",
                facts(72 * 3_600_000 + 1),
                Some(Action::Discard),
            ),
            (
                "old, but its producer wants an hour",
                immune(60_000, 3_600_000),
                Some(Action::PutBack),
            ),
            (
                "young, and its producer wants a second",
                immune(1_001, 1_000),
                Some(Action::Ask),
            ),
            (
                "born in the future and immune",
                immune(-5, 1_000),
                Some(Action::PutBack),
            ),
            ("stored as the round began", stored(ROUND.began_ms), None),
            (
                "stored before the round began",
                stored(ROUND.began_ms - 1),
                Some(Action::Discard),
            ),
        ];
        for (name, facts, expected) in cases {
            assert_eq!(judge(&facts, NOW_MS, &ROUND), expected, "{name}");
        }
    }

    #[test]
    fn a_round_passes_what_is_over_and_ends_at_the_first_that_has_to_wait() {
        let halves = [
            entry(3, facts(0)),
            entry(4, facts(7_000)),
            HalfEntry {
                queue_offset: 5,
                is_over: false,
                facts: None,
            },
            entry(6, facts(0)),
            entry(7, facts(7_000)),
        ];
        let plan_with = |over: &[u64]| {
            let mark = |half: &HalfEntry| HalfEntry {
                is_over: over.contains(&half.queue_offset),
                ..*half
            };
            plan(&halves.iter().map(mark).collect::<Vec<_>>(), NOW_MS, &ROUND)
        };
        let first = [(3, Action::Pass), (4, Action::Ask), (5, Action::GiveUp)];
        assert_eq!(
            plan_with(&[3]),
            Plan {
                actions: first.to_vec(),
                ends_round: true
            }
        );
        let rest = [(6, Action::Pass), (7, Action::Ask)];
        assert_eq!(
            plan_with(&[3, 6]),
            Plan {
                actions: [&first[..], &rest[..]].concat(),
                ends_round: false
            }
        );
    }

    #[test]
    fn the_wanted_immunity_is_read_as_the_reference_reads_it() {
        for (seconds, checked_ms, ended_ms) in [
            ("30", 30_000, 30_000),
            ("1", 1_000, 6_000),
            ("-1", 6_000, 6_000),
            ("0", 0, 6_000),
            ("soon", 6_000, 6_000),
            ("9223372036854775807", i64::MAX, i64::MAX),
        ] {
            assert_eq!(check_immunity_ms(seconds, 6_000), checked_ms, "{seconds}");
            assert_eq!(end_immunity_ms(seconds, 6_000), ended_ms, "{seconds}");
        }
    }
}

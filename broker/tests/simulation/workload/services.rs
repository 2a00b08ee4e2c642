//! Services tick in any order, and time passes.

use std::time::Duration;

use super::consumers::offsets_are_durable;
use super::{broadcast, nothing};
use crate::checks::{self, Expect};
use crate::world::{TICKS, Tick, World};
use crate::{Violation, ensure};

/// How often the files of consumer offsets and of delay levels are written.
pub const OFFSETS_PERIOD: Duration = Duration::from_secs(5);
pub const DELAYS_PERIOD: Duration = Duration::from_secs(10);

pub fn tick(world: &mut World) -> Result<(), Violation> {
    let number = world.below(TICKS.len() as i32 + 5) as usize;
    let tick = match number.checked_sub(TICKS.len()) {
        None => TICKS[number],
        Some(0 | 1) => Tick::Flush,
        Some(_) => Tick::Dispatch,
    };
    run_tick(world, tick, false)
}

pub fn run_tick(world: &mut World, tick: Tick, stopping: bool) -> Result<(), Violation> {
    world.note(format!("  tick {tick:?}"));
    let log_end = world.model.log_end;
    world.tick(tick, stopping)?;
    if tick == Tick::Lite && !stopping {
        checks::lite::take_expired(world)?;
        world.model.lites.looked_ms = world.now_ms();
        checks::lite::subscriptions_are_known(world)?;
    }
    if tick == Tick::ClientExpiry {
        broadcast::take_look(world)?;
    }
    let expect = match tick {
        Tick::Delay => Expect::Deliveries,
        Tick::TransactionCheck | Tick::TransactionOps => Expect::OfTransactions,
        Tick::Timer => Expect::OfTimer,
        Tick::Revive => Expect::OfRevive,
        _ => nothing(),
    };
    checks::after_step(world, &expect, None)?;
    if world.power_is_failing {
        return Ok(());
    }
    match tick {
        Tick::Flush if world.is_sync => {
            ensure!(
                world.model.unanswered.is_empty(),
                "flushed, and senders still wait"
            );
        }
        Tick::Dispatch => {
            let reached = if world.is_sync {
                world.model.flushed
            } else {
                // Pops that were waiting have put more since.
                log_end
            };
            ensure!(
                world.model.dispatched == reached,
                "dispatch stopped before {reached}"
            );
            world.model.may_be_half_dispatched = false;
        }
        Tick::PullExpiry => checks::no_pull_is_overdue(world)?,
        Tick::PopExpiry => checks::pops::no_poll_is_overdue(world)?,
        Tick::Lite => checks::lite::no_poll_is_overdue(world)?,
        Tick::Persist => {
            let now = world.monotonic();
            if stopping || now >= world.offsets_due {
                offsets_are_durable(world);
                world.model.lites.are_written();
                world.offsets_due = now + OFFSETS_PERIOD;
            } else if world.dues_are_latest {
                // The file may have been due before that, and written just now.
                world.offsets_due = world.offsets_due.max(now + OFFSETS_PERIOD);
            }
            if stopping || now >= world.delays_due {
                let model = &mut world.model;
                // A level that has not delivered since a crash may have gone back to what was durable before.
                let certain = model
                    .delivered
                    .iter()
                    .filter(|(level, _)| !model.may_repeat.contains(level));
                let least = |level: &i32| model.may_be_at.get(level)?.first().copied();
                let certain: Vec<_> = certain
                    .map(|(level, next)| (*level, least(level).unwrap_or(*next)))
                    .collect();
                model.delivered_durable.extend(certain);
                world.delays_due = now + DELAYS_PERIOD;
            } else if world.dues_are_latest {
                world.delays_due = world.delays_due.max(now + DELAYS_PERIOD);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Dispatch and timer work until there is nothing left to do at this time.
pub fn catch_up(world: &mut World) -> Result<(), Violation> {
    loop {
        let end = world.model.log_end;
        for tick in [Tick::Flush, Tick::Dispatch, Tick::Timer] {
            run_tick(world, tick, false)?;
        }
        if world.model.log_end == end {
            return Ok(());
        }
    }
}

pub fn advance(world: &mut World) -> Result<(), Violation> {
    let ms = match world.below(4) {
        0 => world.below(20_000),
        1 => world.below(5_000),
        _ => world.below(600),
    };
    world.note(format!("  {ms} ms pass"));
    world
        .clock
        .advance(Duration::from_millis(ms.unsigned_abs().into()));
    Ok(())
}

/// Delayed messages become due and are delivered, and the progress is written now and then.
pub fn deliver(world: &mut World) -> Result<(), Violation> {
    run_tick(world, Tick::Dispatch, false)?;
    let ms = 1_000 + world.below(12_000);
    world.note(format!("  {ms} ms pass"));
    world
        .clock
        .advance(Duration::from_millis(ms.unsigned_abs().into()));
    run_tick(world, Tick::Delay, false)?;
    if world.below(2) == 0 {
        run_tick(world, Tick::Persist, false)?;
    }
    Ok(())
}

/// The disk is nearly full for a while: old files go.
pub fn retention(world: &mut World) -> Result<(), Violation> {
    world.disk.set_used_percent(88);
    let result = run_tick(world, Tick::Retention, false);
    world.disk.set_used_percent(10);
    let min = world.model.log_min;
    world.note(format!("  the log begins at {min}"));
    result?;
    run_tick(world, Tick::Retention, false)
}

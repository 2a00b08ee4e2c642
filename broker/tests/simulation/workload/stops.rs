//! The broker stops: as an operator stops it, killed, or without power.

use std::time::Duration;

use super::nothing;
use super::sends::send;
use super::services::{run_tick, tick};
use crate::checks;
use crate::world::{TICKS, Tick, World};
use crate::{Violation, ensure};

/// A clean stop, as an operator does it, and a start.
pub fn restart(world: &mut World) -> Result<(), Violation> {
    world.note("  clean stop");
    world.running().broker.resume_parked();
    checks::after_step(world, &nothing(), None)?;
    ensure!(
        world.model.parked.is_empty()
            && world.model.pops.parked.is_empty()
            && world.model.lites.parked.is_empty()
            && world.model.broadcasts.parked.is_empty(),
        "a parked request was not answered at the stop"
    );
    for tick in TICKS.iter().rev() {
        run_tick(world, *tick, true)?;
    }
    let closed = world.store().close();
    checks::settle_connections(world)?;
    if let Err(error) = closed {
        ensure!(world.power_is_failing, "the store does not close: {error:#}");
        return crash(world);
    }
    ensure!(
        world.model.unanswered.is_empty(),
        "a send was not answered at the stop"
    );
    if world.power_is_failing {
        return crash(world);
    }
    world.drop_broker();
    if world.below(3) == 0 {
        // The power fails while nothing runs: a clean stop leaves nothing to lose.
        world.note("  power failure after the stop");
        let seed = world.random.next_u64();
        world.disk.crash(seed).map_err(|error| error.to_string())?;
    }
    world.open()?;
    checks::after_clean_start(world)
}

/// From some operation on, nothing reaches the disk.
pub fn fail_power(world: &mut World) -> Result<(), Violation> {
    if world.power_is_failing {
        return crash(world);
    }
    let operations = world.below(30).unsigned_abs().into();
    world.note(format!("  the power will fail after {operations} operations"));
    world.fail_power_after(operations);
    for _ in 0..1 + world.below(4) {
        match world.below(4) {
            0 => send(world)?,
            1 => run_tick(world, Tick::Flush, false)?,
            2 => tick(world)?,
            _ => return restart(world),
        }
    }
    crash(world)
}

pub fn crash(world: &mut World) -> Result<(), Violation> {
    world.model.orders.lose_what_is_not_synced();
    world.model.lites.lose_what_is_not_synced();
    loop {
        world.note("  crash");
        world.drop_broker();
        let seed = world.random.next_u64();
        world.disk.crash(seed).map_err(|error| error.to_string())?;
        world.power_is_failing = false;
        world.model.opens_fail = false;
        // No machine is back in the millisecond in which it went.
        let ms = 5 + world.below(3_000);
        world
            .clock
            .advance(Duration::from_millis(ms.unsigned_abs().into()));
        if world.below(5) == 0 {
            // And again, somewhere in the recovery.
            let operations = world.below(60).unsigned_abs().into();
            world.note(format!("  the recovery crashes after {operations} operations"));
            world.fail_power_after(operations);
            if world.open().is_err() {
                continue;
            }
            continue;
        }
        world.open()?;
        return checks::after_crash(world);
    }
}

pub fn write_back(world: &mut World) -> Result<(), Violation> {
    world.note("  the kernel writes pages back");
    let seed = world.random.next_u64();
    world.disk.write_back(seed).map_err(|error| error.to_string())
}

/// The process is gone, the machine is not: the kernel still has every page that was written.
pub fn kill(world: &mut World) -> Result<(), Violation> {
    if world.power_is_failing {
        return crash(world);
    }
    world.note("  kill");
    world.drop_broker();
    world.model.keep_what_is_written();
    world.clock.advance(Duration::from_millis(5));
    world.open()?;
    checks::after_crash(world)
}

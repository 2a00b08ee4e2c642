//! Operations of the disk fail, and the broker lives on.

use remoting::codes::response_code;
use store::WriteRefusal;
use store::sim_disk::{Fault, Faults, Operation};

use super::consumers::pull;
use super::sends::send;
use super::services::{DELAYS_PERIOD, OFFSETS_PERIOD, run_tick, tick};
use super::{nothing, random_queue, stops};
use crate::checks;
use crate::world::{Tick, World, send_request};
use crate::{Violation, ensure};

/// When the timer tries again what failed.
const TIMER_RETRY_MS: i64 = 500;

/// No room for new files: a message is taken or refused, nothing between.
pub fn full_disk(world: &mut World) -> Result<(), Violation> {
    if world.power_is_failing {
        return Ok(());
    }
    world.note("  the disk is full for a while");
    let full = [Operation::Create, Operation::Reserve, Operation::Write];
    world.disk.set_faults(Faults {
        operations: full.map(|operation| (operation, Fault::NoSpace)).into(),
        power_fails_after: None,
    });
    // Not a failing power, but the same licence to refuse.
    world.power_is_failing = true;
    let result = send(world);
    world.power_is_failing = false;
    world.disk.set_faults(Faults::default());
    result
}

/// One kind of operation fails for a while. What was promised before holds, requests are answered, and reads go on.
pub fn failing_disk(world: &mut World) -> Result<(), Violation> {
    const OPERATIONS: [Operation; 8] = [
        Operation::Flush,
        Operation::Create,
        Operation::Reserve,
        Operation::Write,
        Operation::Rename,
        Operation::SyncDir,
        Operation::RemoveFile,
        Operation::Open,
    ];
    if world.power_is_failing {
        return Ok(());
    }
    let operation = OPERATIONS[world.below(8) as usize];
    let fault = [Fault::Io, Fault::NoSpace][world.below(2) as usize];
    world.note(format!("  {operation:?} fails for a while: {fault:?}"));
    world.disk.set_faults(Faults {
        operations: [(operation, fault)].into(),
        power_fails_after: None,
    });
    // Not a failing power, but the same licence to refuse.
    world.power_is_failing = true;
    world.model.opens_fail = operation == Operation::Open;
    let result = live_on(world);
    world.power_is_failing = false;
    world.model.opens_fail = false;
    world.disk.set_faults(Faults::default());
    result?;
    // The service may have looked at its files meanwhile, and looks at them again after their period.
    world.timer_waits_until_ms = world.now_ms() + TIMER_RETRY_MS;
    let now = world.monotonic();
    world.offsets_due = world.offsets_due.max(now + OFFSETS_PERIOD);
    world.delays_due = world.delays_due.max(now + DELAYS_PERIOD);
    world.dues_are_latest = true;
    let failure = world.store().writable();
    if let Err(WriteRefusal::LogFailed(_)) = failure {
        takes_nothing_more(world)?;
        return stops::crash(world);
    }
    Ok(())
}

fn live_on(world: &mut World) -> Result<(), Violation> {
    for _ in 0..1 + world.below(4) {
        match world.below(6) {
            0 | 1 => send(world)?,
            2 => run_tick(world, Tick::Flush, false)?,
            3 => run_tick(world, Tick::FlushQueues, false)?,
            4 => pull(world)?,
            _ => tick(world)?,
        }
    }
    Ok(())
}

/// Nobody knows what the disk holds after a failed sync: no message is taken until the restart, and clients are sent to
/// another broker. Those who read are served.
fn takes_nothing_more(world: &mut World) -> Result<(), Violation> {
    world.note("  the log has failed");
    if let Some((topic, queue_id)) = random_queue(world) {
        let request = send_request((&topic, queue_id), "", b"to nobody".to_vec(), false, 0);
        let (_, answer) = world.call(0, request);
        let answer = answer.ok_or("a send to a failed log waits")?;
        ensure!(
            answer.code == response_code::SERVICE_NOT_AVAILABLE,
            "a send to a failed log: {} {}",
            answer.code,
            answer.remark
        );
        checks::after_step(world, &nothing(), None)?;
    }
    pull(world)
}

//! What survives of pops in order.

use super::query_offset;
use crate::Violation;
use crate::model::Queue;
use crate::model::orders::ORDERED;
use crate::world::World;

/// After a start: the group goes on where it was, as far as that survives.
pub fn are_kept(world: &mut World) -> Result<(), Violation> {
    let queues: Vec<Queue> = world.model.orders.queues.keys().cloned().collect();
    for queue in queues {
        let found = query_offset(world, ORDERED, &queue)?;
        let known = world.model.orders.queues.entry(queue.clone()).or_default();
        known.take_start(&queue, found)?;
    }
    Ok(())
}

//! Messages that are in several light queues at once, and their consumers.

use common::message::properties::name;

use super::consumers::{commit_in, pull_of};
use super::sends::{delay_one_in, finish_send, new_properties, text_of};
use super::topics;
use crate::Violation;
use crate::model::light::{LIGHT_GROUPS, LIGHT_QUEUES, LIGHT_TOPIC};
use crate::model::{Queue, Wanted};
use crate::world::{World, send_request};

const QUEUES: i32 = 2;

/// Nothing else happens to this topic: it is not among those of the model.
pub fn create_topic(world: &mut World) -> Result<(), Violation> {
    topics::put_topic(world, LIGHT_TOPIC, QUEUES)
}

/// A message for some of the light queues.
pub fn send(world: &mut World) -> Result<(), Violation> {
    let chosen = 1 + world.below((1 << LIGHT_QUEUES.len()) - 1);
    let names = LIGHT_QUEUES.iter().enumerate();
    let names = names.filter(|(bit, _)| chosen & (1 << bit) != 0);
    let names: Vec<&str> = names.map(|(_, name)| *name).collect();
    let body = world.new_body();
    let mut pairs = new_properties(world);
    pairs.push((name::INNER_MULTI_DISPATCH, names.join(",")));
    let queue_id = world.below(QUEUES);
    let mut wanted = Wanted {
        queue: (LIGHT_TOPIC.to_owned(), queue_id),
        body: body.clone(),
        properties: pairs.clone(),
    };
    delay_one_in(world, 5, &mut pairs, &mut wanted);
    let request = send_request(
        (LIGHT_TOPIC, queue_id),
        &text_of(&pairs),
        body,
        false,
        world.now_ms(),
    );
    finish_send(world, request, vec![wanted], true, &format!("send to {names:?}"))
}

fn random_light_queue(world: &World) -> Queue {
    let name = LIGHT_QUEUES[world.below(LIGHT_QUEUES.len() as i32) as usize];
    (name.to_owned(), 0)
}

/// A consumer reads one of them, or waits for a message there.
pub fn pull(world: &mut World) -> Result<(), Violation> {
    let queue = random_light_queue(world);
    pull_of(world, &queue, LIGHT_GROUPS)
}

/// A consumer goes on in one of them.
pub fn commit(world: &mut World) -> Result<(), Violation> {
    let queue = random_light_queue(world);
    commit_in(world, queue, LIGHT_GROUPS)
}

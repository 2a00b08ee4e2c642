//! Operators make topics, widen them, delete them.

use remoting::codes::request_code;
use remoting::header::{CreateTopicRequestHeader, DeleteTopicRequestHeader};
use remoting::request::OutgoingRequest;

use super::consumers::offsets_are_durable;
use super::{TOPICS, must_succeed, nothing, pops};
use crate::Violation;
use crate::checks;
use crate::world::World;

pub fn create_topic(world: &mut World, topic: &str) -> Result<(), Violation> {
    let queues = 1 + world.below(2);
    // A topic keeps its queues: messages in those taken away would be nobody's.
    let queues = world
        .model
        .topics
        .get(topic)
        .map_or(queues, |present| queues.max(*present));
    put_topic(world, topic, queues)?;
    world.note(format!("  topic {topic} has {queues} queues"));
    world.model.topics.insert(topic.to_owned(), queues);
    Ok(())
}

/// A topic with so many queues, made or widened.
pub fn put_topic(world: &mut World, topic: &str, queues: i32) -> Result<(), Violation> {
    let header = CreateTopicRequestHeader {
        topic: topic.to_owned(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".to_owned(),
        ..Default::default()
    };
    must_succeed(
        world,
        OutgoingRequest::new(request_code::UPDATE_AND_CREATE_TOPIC).header(&header),
    )
}

pub fn change_topics(world: &mut World) -> Result<(), Violation> {
    if world.power_is_failing {
        return Ok(());
    }
    let topic = TOPICS[world.below(3) as usize];
    if world.below(2) == 0 || !world.model.topics.contains_key(topic) {
        create_topic(world, topic)?;
        return checks::after_step(world, &nothing(), None);
    }
    let header = DeleteTopicRequestHeader {
        topic: topic.to_owned(),
    };
    must_succeed(
        world,
        OutgoingRequest::new(request_code::DELETE_TOPIC_IN_BROKER).header(&header),
    )?;
    world.note(format!("  topic {topic} is deleted"));
    pops::forget_topic(world, topic);
    let model = &mut world.model;
    model.topics.remove(topic);
    model.deleted.insert(topic.to_owned(), model.log_end);
    model.next_offsets.retain(|queue, _| queue.0 != topic);
    model.offsets.retain(|(_, queue), _| queue.0 != topic);
    model.resets.retain(|(_, queue)| queue.0 != topic);
    offsets_are_durable(world);
    checks::after_step(world, &nothing(), None)
}

//! What happens to the broker: the seed picks one operation after another, from a table.
//!
//! | file | operations |
//! |---|---|
//! | `sends` | messages come in |
//! | `pipelines` | many requests of several connections come at once |
//! | `broadcast` | members of broadcasting groups pull, by themselves and through a proxy |
//! | `consumers` | pulls, commits, resets |
//! | `transactions` | half messages and their ends |
//! | `repeats` | producers send again what was stored |
//! | `light` | messages of light queues, their pulls and commits |
//! | `lite` | light topics: messages, subscriptions, pops, acks, expiry |
//! | `orders` | pops in order, and their acks |
//! | `pops` | pops, acks, peeks, notifications |
//! | `timers` | messages with a delivery time, their recalls, stops among them |
//! | `topics` | operators change topics |
//! | `services` | ticks, time, retention |
//! | `faults` | the disk fails, the broker lives on |
//! | `stops` | clean stops, kills, power failures |
//!
//! An operation asks something of the world, takes what came of it into the model, and ends with
//! [`checks::after_step`]. A new one is a function and a row in [`OPERATIONS`].

mod broadcast;
mod consumers;
mod faults;
mod light;
mod lite;
mod orders;
mod pipelines;
mod pops;
mod repeats;
mod sends;
mod services;
mod stops;
mod timers;
mod topics;
mod transactions;

use std::time::Duration;

use remoting::body::SubscriptionGroupConfig;
use remoting::body::fastjson;
use remoting::codes::{request_code, response_code};
use remoting::request::OutgoingRequest;

use crate::checks::{self, Expect};
use crate::model::Queue;
use crate::model::broadcast::BROADCASTERS;
use crate::model::light::LIGHT_GROUPS;
use crate::model::orders::ORDERED;
use crate::model::pops::POPPERS;
use crate::world::{Answer, CONNECTIONS, TICKS, Tick, World};
use crate::{Violation, ensure};

const GROUPS: [&str; 2] = ["GroupA", "GroupB"];
const TOPICS: [&str; 3] = ["TopicA", "TopicB", "TopicC"];
const TAGS: [&str; 2] = ["red", "blue"];

/// Something that can happen: how often, in comparison, and what.
type Operation = (i32, fn(&mut World) -> Result<(), Violation>);

/// Everything that can happen.
const OPERATIONS: &[Operation] = &[
    (280, sends::send),
    (60, sends::send_batch),
    (60, sends::send_back),
    (60, repeats::send_again),
    (40, pipelines::pipeline),
    (50, light::send),
    (40, light::pull),
    (20, light::commit),
    (40, lite::send),
    (40, lite::control),
    (40, lite::pop),
    (40, lite::ack),
    (10, lite::change_invisible_time),
    (90, lite::work),
    (30, lite::expire),
    (40, broadcast::pull),
    (70, broadcast::work),
    (80, transactions::send_half),
    (120, transactions::end),
    (120, pops::pop),
    (60, pops::ack),
    (30, pops::ack_batch),
    (30, pops::change_invisible_time),
    (10, pops::change_and_lose_power),
    (15, pops::ack_nonsense),
    (15, pops::peek),
    (20, pops::notify),
    (50, pops::revive),
    (70, orders::pop),
    (60, orders::ack),
    (20, orders::ack_batch),
    (20, orders::change_invisible_time),
    (40, orders::reset),
    (80, timers::send),
    (30, timers::recall),
    (50, timers::deliver),
    (6, timers::stop_in_slot),
    (130, consumers::pull),
    (80, consumers::commit),
    (10, consumers::reset),
    (180, services::tick),
    (70, services::advance),
    (30, services::deliver),
    (20, services::retention),
    (20, topics::change_topics),
    (20, faults::full_disk),
    (20, faults::failing_disk),
    (20, stops::write_back),
    (20, stops::restart),
    (20, stops::kill),
    (20, stops::fail_power),
    (30, stops::crash),
];

/// Runs the world for so many steps, then lets every delay pass and looks at everything.
pub fn run(world: &mut World, steps: u64) -> Result<(), Violation> {
    world.open()?;
    prepare(world)?;
    for step in 0..steps {
        world.note(format!("{step}"));
        one_step(world)?;
    }
    finish(world)
}

fn prepare(world: &mut World) -> Result<(), Violation> {
    let poppers = POPPERS.map(|popper| popper.group);
    for group in GROUPS
        .into_iter()
        .chain(poppers)
        .chain([ORDERED])
        .chain(LIGHT_GROUPS)
        .chain(BROADCASTERS)
    {
        let body =
            fastjson::to_vec(&SubscriptionGroupConfig::new(group)).map_err(|error| error.to_string())?;
        let request = OutgoingRequest::new(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).body(body);
        must_succeed(world, request)?;
    }
    for topic in &TOPICS[..2] {
        topics::create_topic(world, topic)?;
    }
    light::create_topic(world)?;
    lite::prepare(world)?;
    broadcast::prepare(world)?;
    checks::after_step(world, &nothing(), None)
}

fn one_step(world: &mut World) -> Result<(), Violation> {
    let sum = OPERATIONS.iter().map(|(weight, _)| weight).sum();
    let mut number = world.below(sum);
    for (weight, operation) in OPERATIONS {
        number -= weight;
        if number < 0 {
            return operation(world);
        }
    }
    Ok(())
}

/// Lets every delay pass, with all services running, and looks at everything.
fn finish(world: &mut World) -> Result<(), Violation> {
    world.note("end");
    if world.power_is_failing {
        stops::crash(world)?;
    }
    lite::stop_expiry(world)?;
    for _ in 0..2 {
        world.clock.advance(Duration::from_secs(7_300));
        for tick in TICKS {
            services::run_tick(world, tick, false)?;
        }
        services::run_tick(world, Tick::Flush, false)?;
        services::run_tick(world, Tick::Dispatch, false)?;
    }
    checks::delayed_messages_arrived(world)?;
    timers::all_arrived(world)?;
    transactions::end_all(world)?;
    services::run_tick(world, Tick::TransactionOps, false)?;
    services::run_tick(world, Tick::Flush, false)?;
    services::run_tick(world, Tick::Dispatch, false)?;
    pops::all_consumed(world)?;
    orders::all_consumed(world)?;
    lite::all_consumed(world)?;
    broadcast::all_read(world)?;
    checks::everything(world)?;
    services::catch_up(world)?;
    stops::restart(world)?;
    timers::counts_are_right(world)
}

fn nothing() -> Expect {
    Expect::Records(Vec::new())
}

fn random_queue(world: &World) -> Option<Queue> {
    let topics: Vec<_> = world.model.topics.iter().collect();
    let index = world.below(i32::try_from(topics.len()).unwrap_or(0)) as usize;
    let (topic, queues) = topics.get(index)?;
    Some(((*topic).clone(), world.below(**queues)))
}

fn connection(world: &World) -> usize {
    world.below(CONNECTIONS as i32) as usize
}

fn note_answer(world: &mut World, what: &str, answer: Option<&Answer>) {
    let end = world.model.log_end;
    let outcome = answer.map_or("waits".to_owned(), |answer| {
        format!("{} {}", answer.code, answer.remark)
    });
    world.note(format!("  {what} (log ends at {end}): {outcome}"));
}

fn must_succeed(world: &mut World, request: OutgoingRequest) -> Result<(), Violation> {
    let code = request.code;
    let (_, answer) = world.call(0, request);
    let answer = answer.ok_or_else(|| format!("request {code} was not answered"))?;
    ensure!(
        answer.code == response_code::SUCCESS,
        "request {code}: {} {}",
        answer.code,
        answer.remark
    );
    Ok(())
}

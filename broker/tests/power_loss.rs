//! Power loss in the middle of a load: the store lies on an ext4 whose device gets nothing any more from a random moment on.
//!
//! Unlike kill -9 this takes the page cache away. What was acknowledged under synchronous flush must be there afterwards; under
//! asynchronous flush what was acknowledged before the last flush interval.
//!
//! `POWER_ROUNDS` sets how many rounds for each kind of flush, `POWER_SEED` the moments. Not run without root, mkfs.ext4 and python3.

mod durability;

use std::time::Duration;

use common::random::Random;
use durability::{
    Checked, Ledger, Load, LoadSpec, Mount, Mqbroker, TOPIC, Wire, body_of, from_environment, seed,
};

const QUEUES: i32 = 4;
/// Sparse; so large that the rounds of a fast broker do not fill it.
const IMAGE_BYTES: u64 = 8 << 30;
const FLUSH_INTERVAL: Duration = Duration::from_millis(500);
/// What a flush itself takes on a busy machine, and the way from the broker's answer to our clock.
const SLACK: Duration = Duration::from_millis(1_500);

fn main() {
    let (rounds, seed) = (from_environment("POWER_ROUNDS", 1), seed("POWER_SEED"));
    println!("power loss: {rounds} rounds each, POWER_SEED={seed}");
    for flush in ["SYNC_FLUSH", "ASYNC_FLUSH"] {
        let home = tempfile::tempdir().expect("a directory can be made");
        let mount = Mount::ext4(&home.path().join("disk"), &home.path().join("image"), IMAGE_BYTES);
        match mount {
            Ok(mount) => lose_power(flush, rounds, &Random::new(seed), home.path(), &mount),
            Err(missing) => return println!("power loss: not run: {missing}"),
        }
    }
}

fn lose_power(flush: &str, rounds: u64, random: &Random, home: &std::path::Path, mount: &Mount) {
    let settings = [("flushDiskType", flush)];
    let start = || {
        let mut broker = Mqbroker::spawn_on(home, &mount.directory().join("store"), &settings);
        broker.await_serving();
        broker
    };
    let mut broker = start();
    let mut wire = Wire::connect(broker.address()).expect("the broker accepts connections");
    wire.create_topic(TOPIC, QUEUES);
    let mut all = Ledger::default();
    let mut ends = vec![0; QUEUES as usize];
    let (mut total, mut lost_total) = (0, 0);
    for round in 0..rounds {
        let load = Load::start(
            broker.address(),
            &LoadSpec {
                name: format!("p{round}"),
                seed: random.next_u64(),
                producers: 3,
                queues: QUEUES,
                window: 16,
                pause: Duration::ZERO,
                consume_from: ends.clone(),
            },
        );
        std::thread::sleep(Duration::from_millis(500 + random.below(2_500) as u64));
        let cut = mount.cut_power();
        // A machine does not go at once either: whatever the broker still says must hold.
        std::thread::sleep(Duration::from_millis(random.below(300) as u64));
        broker.kill();
        let of_round = load.join();
        let acked = of_round.acked.len();
        all.merge(of_round);
        mount.restore_power();

        broker = start();
        let mut checked = Checked::of(broker.address(), &all, &vec![0; QUEUES as usize]);
        // With the power a broker would have fallen silent. Here it lives on for a moment, and in that moment the kernel can let
        // a sync succeed whose extents it can no longer convert.
        let afterwards = checked.lost.extract_if(.., |key| all.acked[key].at >= cut);
        let after_the_cut: Vec<String> = afterwards.collect();
        let bytes: usize = checked.lost.iter().map(|key| body_of(key).len()).sum();
        let oldest = checked
            .lost
            .iter()
            .map(|key| cut.saturating_duration_since(all.acked[key].at))
            .max()
            .unwrap_or_default();
        println!(
            "{flush} round {round}: {acked} acknowledged, {} of them lost ({bytes} bytes of bodies), the oldest acknowledged {} ms \
             before the power went; {} more acknowledged afterwards",
            checked.lost.len(),
            oldest.as_millis(),
            after_the_cut.len()
        );
        match flush {
            "SYNC_FLUSH" => {
                assert_eq!(
                    checked.lost,
                    Vec::<String>::new(),
                    "acknowledged after a flush, and lost"
                );
                if after_the_cut.is_empty() {
                    checked.require_seen(&all);
                }
            }
            _ => assert!(
                oldest < FLUSH_INTERVAL + SLACK,
                "lost a message that was acknowledged {oldest:?} before the power went"
            ),
        }
        assert!(acked > 0, "the load of round {round} was a load");
        total += acked;
        lost_total += checked.lost.len();
        for key in checked.lost.iter().chain(&after_the_cut) {
            all.forget(key);
        }
        all.seen.clear();
        ends = checked.ends;
    }
    broker.stop();
    println!("{flush}: {rounds} power losses, {total} acknowledged, {lost_total} lost");
}

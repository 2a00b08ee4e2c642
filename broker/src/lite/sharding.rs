//! Which broker a light topic belongs to: where its producers send, so where its subscribers must ask.
//!
//! Reference: `LiteShardingImpl`, and Guava's `Hashing.consistentHash`.

use common::message::tags_code::java_hash_code;

/// The place of a light topic among so many write queues; `None` without any.
pub fn bucket_of(lite_topic: &str, buckets: usize) -> Option<usize> {
    let buckets = i32::try_from(buckets).ok().filter(|buckets| *buckets > 0)?;
    let mut state = i64::from(java_hash_code(lite_topic));
    let mut candidate = 0;
    loop {
        let next = f64::from(candidate + 1) / next_double(&mut state);
        // Java's cast: what is too great is the greatest int.
        if next >= f64::from(buckets) {
            return usize::try_from(candidate).ok();
        }
        #[expect(clippy::cast_possible_truncation, reason = "below the number of buckets")]
        let next = next as i32;
        candidate = next;
    }
}

/// A number in (0, 1], and the next state of the linear congruential generator.
fn next_double(state: &mut i64) -> f64 {
    *state = state.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
    let high = i32::try_from(state.cast_unsigned() >> 33).unwrap_or(i32::MAX);
    f64::from(high.wrapping_add(1)) / f64::from(1u32 << 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Guava 32.0.1 answered: `Hashing.consistentHash((long) name.hashCode(), buckets)`.
    #[test]
    fn a_light_topic_has_the_place_that_the_reference_gives_it() {
        let buckets = [1, 2, 4, 8, 16, 100, 1_000];
        for (name, places) in [
            ("a", [0, 0, 0, 0, 0, 29, 346]),
            ("chat-1", [0, 1, 2, 2, 2, 18, 359]),
            ("chat-2", [0, 1, 1, 1, 11, 65, 720]),
            ("会话", [0, 1, 1, 1, 1, 71, 562]),
            ("x9", [0, 0, 0, 7, 12, 36, 803]),
            ("AaAa", [0, 1, 3, 3, 3, 58, 447]),
            ("BBBB", [0, 1, 3, 3, 3, 58, 447]),
            ("order-4711", [0, 0, 3, 3, 3, 20, 400]),
        ] {
            let places = places.map(Some);
            assert_eq!(buckets.map(|count| bucket_of(name, count)), places, "{name}");
        }
        assert_eq!(bucket_of("a", 0), None);
    }
}

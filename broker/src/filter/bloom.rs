//! The bits of a consumer group in the bloom filters of messages, kept with each SQL filter.
//!
//! A Java broker with `enableCalcFilterBitMap` evaluates all filters of a topic when a message is stored, and keeps the outcomes as bits
//! beside the ConsumeQueue. This broker evaluates when messages are pulled, and keeps the positions because a Java broker drops
//! filters without them. Reference: `BloomFilter`, `BloomFilterData`.

use remoting::body::BloomFilterData;

/// The shape of the bloom filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BloomShape {
    hash_count: i32,
    bit_count: i32,
}

impl BloomShape {
    /// For so many groups a topic, wrong in so many of a hundred cases; `None` unless 1 to 99 and at least 1.
    pub fn new(error_percent: i32, group_count: i32) -> Option<Self> {
        if !(1..100).contains(&error_percent) || group_count < 1 {
            return None;
        }
        let error_rate = f64::from(error_percent) / 100.0;
        // Written as the reference does: quotients of natural logarithms, which round differently.
        let log = |base: f64, value: f64| value.ln() / base.ln();
        let hash_count = log(0.5, error_rate).ceil() as i32;
        let bits = f64::from(group_count) * log(2.0, 1.0 / error_rate) * log(2.0, std::f64::consts::E);
        let bit_count = (bits.ceil() as i32).checked_add(7)? / 8 * 8;
        Some(Self {
            hash_count,
            bit_count,
        })
    }

    /// The bits of a group that filters a topic.
    pub fn bits_of(&self, group: &str, topic: &str) -> BloomFilterData {
        let hash = murmur3_low64(format!("{group}#{topic}").as_bytes());
        let (low, high) = (hash as i32, (hash >> 32) as i32);
        let position = |n: i32| {
            let combined = low.wrapping_add(n.wrapping_mul(high));
            let positive = if combined < 0 { !combined } else { combined };
            positive % self.bit_count
        };
        BloomFilterData {
            bit_num: self.bit_count,
            bit_pos: (1..=self.hash_count).map(position).collect(),
        }
    }

    /// Whether bits were made for this shape.
    pub fn fits(&self, bits: &BloomFilterData) -> bool {
        bits.bit_num == self.bit_count && bits.bit_pos.len() == self.hash_count.unsigned_abs() as usize
    }
}

/// The first half of MurmurHash3 x64 128 with seed 0.
fn murmur3_low64(bytes: &[u8]) -> u64 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let (mut h1, mut h2) = (0_u64, 0_u64);
    let (blocks, tail) = bytes.as_chunks::<16>();
    for block in blocks {
        let (k1, k2) = halves(block);
        h1 = (h1 ^ mix1(k1)).rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mix2(k2)).rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    // Zeroes do not change a half, so the tail may be filled up with them.
    let mut last = [0; 16];
    last[..tail.len()].copy_from_slice(tail);
    let (k1, k2) = halves(&last);
    h1 ^= mix1(k1);
    h2 ^= mix2(k2);

    h1 ^= bytes.len() as u64;
    h2 ^= bytes.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    spread(h1).wrapping_add(spread(h2))
}

fn halves(block: &[u8; 16]) -> (u64, u64) {
    let whole = u128::from_le_bytes(*block);
    (whole as u64, (whole >> 64) as u64)
}

fn spread(mut k: u64) -> u64 {
    k = (k ^ (k >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    k = (k ^ (k >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ (k >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_that_of_the_reference() {
        for (error_percent, groups, hash_count, bit_count) in [
            (20, 32, 3, 112),
            (10, 128, 4, 616),
            (1, 1_000, 7, 9_592),
            (99, 1, 1, 8),
            (50, 7, 1, 16),
        ] {
            let expected = BloomShape {
                hash_count,
                bit_count,
            };
            assert_eq!(BloomShape::new(error_percent, groups), Some(expected));
        }
        assert_eq!(BloomShape::new(0, 32), None);
        assert_eq!(BloomShape::new(100, 32), None);
        assert_eq!(BloomShape::new(20, 0), None);
        assert!(BloomShape::new(1, i32::MAX).is_none_or(|shape| shape.bit_count > 0));
    }

    #[test]
    fn the_bits_are_those_of_the_reference() {
        let shape = BloomShape::new(20, 32).unwrap();
        let cases = [
            ("FxSqlCG", "FxSql", [47, 37, 4]),
            ("a-consumer-group-with-a-long-name", "and-a-topic", [54, 8, 74]),
            ("g", "t", [22, 87, 58]),
            ("16bytesgroup", "abcd", [2, 102, 21]),
            ("gruppe-ü", "thema-中文", [74, 96, 100]),
        ];
        for (group, topic, expected) in cases {
            let bits = shape.bits_of(group, topic);
            assert_eq!(bits.bit_pos, expected, "{group}#{topic}");
            assert!(shape.fits(&bits));
            assert!(!BloomShape::new(20, 64).unwrap().fits(&bits));
        }
    }
}

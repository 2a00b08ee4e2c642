//! How many messages of a stretch of a queue a filter wants, guessed from a part of it.
//!
//! Entries are looked at, records are not: a filter that needs the record counts all. Reference:
//! `ConsumeQueue.estimateMessageCount`.

use std::io;
use std::sync::Arc;

use crate::consume_queue::{ConsumeQueue, is_filler};
use crate::get::MessageFilter;
use crate::store::Store;

/// What was looked at, and what of it was wanted.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    looked_at: u64,
    wanted: u64,
}

impl Store {
    /// Messages from one offset of a queue to another that the filter wants. At most `maxConsumeQueueScan` entries are looked
    /// at, and no more than `sampleCountThreshold` wanted ones; the rest is taken to be like them.
    pub fn estimate_count(
        &self,
        topic: &str,
        queue_id: i32,
        from: u64,
        to: u64,
        filter: &dyn MessageFilter,
    ) -> u64 {
        let Some(queue) = self.visible_queue(topic, queue_id) else {
            return 0;
        };
        let from = from.max(queue.min_offset());
        let count = to.saturating_sub(from);
        match self.sample(&queue, from, to, filter) {
            Ok(Sample { looked_at: 0, .. }) => count,
            Ok(sample) => {
                let guess = u128::from(sample.wanted) * u128::from(count) / u128::from(sample.looked_at);
                u64::try_from(guess).unwrap_or(count)
            }
            Err(error) => {
                tracing::error!(topic, queue_id, "counting queue entries failed: {error}");
                count
            }
        }
    }

    fn sample(
        &self,
        queue: &Arc<ConsumeQueue>,
        from: u64,
        to: u64,
        filter: &dyn MessageFilter,
    ) -> io::Result<Sample> {
        let config = self.options.config.get();
        let most_entries = u64::try_from(config.max_consume_queue_scan).unwrap_or(0);
        let most_wanted = u64::try_from(config.sample_count_threshold).unwrap_or(0);
        let context = self.derived.queues.context();
        let unit = queue.kind().entry_bytes() as u64;
        let mut sample = Sample::default();
        let mut position = queue.position_of(context, from)?.max(queue.begin());
        while let Some(run) = queue.run_from(context, position)? {
            let before = position;
            for entry in run {
                let is_enough = sample.looked_at >= most_entries || sample.wanted > most_wanted;
                if entry.queue_offset.0 >= to || is_enough {
                    return Ok(sample);
                }
                let messages = u64::from(entry.message_count.max(1));
                sample.looked_at += messages;
                if !is_filler(&entry) && filter.by_tags_code(entry.tags_code) {
                    sample.wanted += messages;
                }
                position += unit;
            }
            if position == before {
                break;
            }
        }
        Ok(sample)
    }
}

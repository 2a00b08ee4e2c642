//! LogicalQueue: one queue of a static topic, as the broker that leads it knows it.
//!
//! A place numbers its messages from `start_offset` of its own queue, the logical queue numbers the same ones from
//! `logic_offset`. A place whose end is decided takes nothing more. Reference: `TopicQueueMappingContext`,
//! `TopicQueueMappingUtils`, `LogicQueueMappingItem`.

use std::sync::Arc;

use remoting::body::static_topic::{LogicQueueMappingItem, TopicQueueMappingDetail};

/// A logical queue that this broker leads.
#[derive(Clone, Debug)]
pub struct LogicalQueue {
    mapping: Arc<TopicQueueMappingDetail>,
    id: i32,
}

impl LogicalQueue {
    /// The queue with this number, if its last place is on the broker of the mapping.
    pub fn led(mapping: &Arc<TopicQueueMappingDetail>, id: i32) -> Option<Self> {
        let leader = mapping.hosted_queues.get(&id)?.last()?;
        (leader.bname == mapping.bname).then(|| LogicalQueue {
            mapping: Arc::clone(mapping),
            id,
        })
    }

    /// The first queue that the mapping's broker leads.
    pub fn any_led(mapping: &TopicQueueMappingDetail) -> Option<i32> {
        let mut led = mapping.hosted_queues.iter();
        led.find(|(_, places)| places.last().is_some_and(|leader| leader.bname == mapping.bname))
            .map(|(id, _)| *id)
    }

    /// Its number.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// Its places, oldest first.
    pub fn places(&self) -> &[LogicQueueMappingItem] {
        self.mapping
            .hosted_queues
            .get(&self.id)
            .map_or(&[], Vec::as_slice)
    }

    /// Where messages go now.
    pub fn leader(&self) -> &LogicQueueMappingItem {
        self.places().last().expect("a queue that is led has a place")
    }

    /// Where the message with this logical offset is; the first place for offsets before all.
    pub fn place_of(&self, logical_offset: i64) -> &LogicQueueMappingItem {
        let decided = || self.places().iter().filter(|place| place.logic_offset >= 0);
        decided()
            .rev()
            .find(|place| logical_offset >= place.logic_offset)
            .or_else(|| decided().next())
            .unwrap_or_else(|| self.leader())
    }

    /// Where reading goes on after the end of a place; `None` while that is not decided.
    pub fn place_after(&self, place: &LogicQueueMappingItem) -> Option<&LogicQueueMappingItem> {
        let position = self
            .places()
            .iter()
            .position(|other| other.r#gen == place.r#gen)?;
        self.places()
            .get(position + 1)
            .filter(|next| next.logic_offset >= 0)
    }

    /// Whether a place is on this broker.
    pub fn is_here(&self, place: &LogicQueueMappingItem) -> bool {
        place.bname == self.mapping.bname
    }

    /// Whether the queue is numbered like its only place.
    pub fn is_like_its_place(&self) -> bool {
        matches!(self.places(), [only] if only.logic_offset == 0)
    }

    /// The logical end as far as the mapping alone tells it.
    pub fn decided_end(&self) -> i64 {
        let leader = self.leader();
        leader.logical_offset(leader.end_offset)
    }
}

/// The offsets of one place.
pub trait PlaceOffsets {
    /// The queue offset of a logical offset.
    fn queue_offset(&self, logical_offset: i64) -> i64;
    /// The logical offset of a queue offset; offsets before the place count as its start.
    fn logical_offset(&self, queue_offset: i64) -> i64;
    /// As [`logical_offset`](Self::logical_offset), but not beyond the place's end, and -1 while it is not decided.
    fn bounded_logical_offset(&self, queue_offset: i64) -> i64;
    /// The queue offset after the last message, once that is decided.
    fn decided_end(&self) -> Option<i64>;
}

impl PlaceOffsets for LogicQueueMappingItem {
    fn queue_offset(&self, logical_offset: i64) -> i64 {
        logical_offset
            .saturating_sub(self.logic_offset)
            .saturating_add(self.start_offset)
    }

    fn logical_offset(&self, queue_offset: i64) -> i64 {
        let within = queue_offset.saturating_sub(self.start_offset).max(0);
        self.logic_offset.saturating_add(within)
    }

    fn bounded_logical_offset(&self, queue_offset: i64) -> i64 {
        if self.logic_offset < 0 {
            return -1;
        }
        let end = if self.end_offset >= self.start_offset {
            self.end_offset
        } else {
            i64::MAX
        };
        self.logical_offset(queue_offset.min(end))
    }

    fn decided_end(&self) -> Option<i64> {
        (self.end_offset > self.start_offset).then_some(self.end_offset)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn place(
        generation: i32,
        broker: &str,
        logic_offset: i64,
        end_offset: i64,
    ) -> LogicQueueMappingItem {
        LogicQueueMappingItem {
            r#gen: generation,
            bname: broker.to_owned(),
            queue_id: 3,
            logic_offset,
            end_offset,
            ..LogicQueueMappingItem::default()
        }
    }

    pub(crate) fn mapping(broker: &str, places: Vec<LogicQueueMappingItem>) -> Arc<TopicQueueMappingDetail> {
        Arc::new(TopicQueueMappingDetail {
            bname: broker.to_owned(),
            topic: "Static".to_owned(),
            total_queues: 1,
            hosted_queues: [(0, places)].into(),
            ..TopicQueueMappingDetail::default()
        })
    }

    #[test]
    fn a_queue_is_led_where_its_last_place_is() {
        let moved = mapping("a", vec![place(0, "a", 0, 7), place(1, "b", 10_000, -1)]);
        assert!(LogicalQueue::led(&moved, 0).is_none());
        assert_eq!(LogicalQueue::any_led(&moved), None);
        let came = mapping("b", vec![place(0, "a", 0, 7), place(1, "b", 10_000, -1)]);
        assert_eq!(LogicalQueue::any_led(&came), Some(0));
        assert!(LogicalQueue::led(&came, 1).is_none(), "there is no such queue");
        let queue = LogicalQueue::led(&came, 0).unwrap();
        assert_eq!(
            (queue.id(), queue.leader().r#gen, queue.decided_end()),
            (0, 1, 10_000)
        );
    }

    #[test]
    fn an_offset_belongs_to_the_place_it_was_stored_at() {
        let came = mapping(
            "b",
            vec![
                place(0, "a", 0, 7),
                place(1, "b", 10_000, -1),
                place(2, "b", -1, -1),
            ],
        );
        let queue = LogicalQueue::led(&came, 0).unwrap();
        for (offset, generation) in [(-5, 0), (0, 0), (6, 0), (9_999, 0), (10_000, 1), (i64::MAX, 1)] {
            assert_eq!(queue.place_of(offset).r#gen, generation, "{offset}");
        }
        let first = &queue.places()[0];
        assert_eq!(queue.place_after(first).unwrap().r#gen, 1);
        assert!(
            queue.place_after(&queue.places()[1]).is_none(),
            "the next is not decided"
        );
        assert!(!queue.is_here(first) && queue.is_here(queue.leader()));
    }

    #[test]
    fn offsets_go_from_one_numbering_to_the_other_and_back() {
        let place = LogicQueueMappingItem {
            start_offset: 2,
            ..place(1, "b", 10_000, 12)
        };
        for (queue_offset, logical) in [(2, 10_000), (5, 10_003), (12, 10_010)] {
            assert_eq!(place.logical_offset(queue_offset), logical);
            assert_eq!(place.queue_offset(logical), queue_offset);
        }
        assert_eq!(place.logical_offset(0), 10_000, "before the place");
        assert_eq!(place.bounded_logical_offset(99), 10_010, "after its end");
        assert_eq!(place.decided_end(), Some(12));
        let open = LogicQueueMappingItem {
            logic_offset: -1,
            ..place
        };
        assert_eq!(open.bounded_logical_offset(3), -1);
    }
}

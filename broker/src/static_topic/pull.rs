//! Pulls of a logical queue: which place is read, and what its answer means logically.
//!
//! ```text
//!   logical offset ──> place ──┬─ here:      read its queue, then reword the answer
//!                              └─ elsewhere: ask its broker, which neither waits nor commits; then reword the answer
//! ```
//!
//! At the end of a place that is not the last, the consumer is sent on to the next one. Reference:
//! `PullMessageProcessor.rewriteRequestForStaticTopic`, `rewriteResponseForStaticTopic`.

use common::message::sys_flag;
use remoting::body::static_topic::LogicQueueMappingItem;
use remoting::codes::{request_code, response_code};
use remoting::fields::DecodeHeader as _;
use remoting::header::{PullMessageRequestHeader, PullMessageResponseHeader};
use remoting::request::{Refusal, Response};

use super::StaticTopics;
use super::queue::{LogicalQueue, PlaceOffsets};
use super::refused_by;

/// A pull of a logical queue at one of its places.
#[derive(Clone, Debug)]
pub struct PlacedPull {
    queue: LogicalQueue,
    place: LogicQueueMappingItem,
    /// Where the pull begins, as the place numbers it.
    asked_offset: i64,
}

/// The code and the offsets of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The response code.
    pub code: i32,
    /// Where the consumer goes on.
    pub next_begin_offset: i64,
    /// The first message.
    pub min_offset: i64,
    /// After the last message.
    pub max_offset: i64,
}

impl PlacedPull {
    /// Finds the place, and makes `header` a pull of the place's own queue, with what it commits.
    pub fn rewrite(queue: LogicalQueue, header: &mut PullMessageRequestHeader<'_>) -> Self {
        let place = queue.place_of(header.queue_offset).clone();
        header.queue_id = place.queue_id;
        header.queue_offset = place.queue_offset(header.queue_offset);
        let committed_at = queue.place_of(header.commit_offset);
        if committed_at.r#gen == place.r#gen {
            header.commit_offset = place.queue_offset(header.commit_offset);
        } else {
            // What was consumed at another place is committed there, by the consumer's own request.
            header.sys_flag &= !sys_flag::pull::COMMIT_OFFSET;
        }
        if let Some(end) = place.decided_end() {
            let length = i32::try_from(end.saturating_sub(place.start_offset)).unwrap_or(i32::MAX);
            header.max_msg_nums = header.max_msg_nums.min(length);
        }
        PlacedPull {
            asked_offset: header.queue_offset,
            queue,
            place,
        }
    }

    /// Whether the place is on this broker.
    pub fn is_here(&self) -> bool {
        self.queue.is_here(&self.place)
    }

    /// What is added to offsets of the place to make them logical.
    pub fn offset_delta(&self) -> i64 {
        self.place.logic_offset.saturating_sub(self.place.start_offset)
    }

    /// What an answer of the place means for the logical queue.
    pub fn reword(&self, pulled: Pulled) -> Pulled {
        let (mut place, mut pulled) = (&self.place, pulled);
        if pulled.code != response_code::SUCCESS {
            (place, pulled) = self.reword_without_messages(pulled);
        }
        let next = place
            .decided_end()
            .map_or(pulled.next_begin_offset, |end| pulled.next_begin_offset.min(end));
        Pulled {
            code: pulled.code,
            next_begin_offset: place.logical_offset(next),
            min_offset: place.logical_offset(pulled.min_offset.max(place.start_offset)),
            max_offset: place
                .logical_offset(pulled.max_offset)
                .max(self.queue.decided_end()),
        }
    }

    /// Where a pull that found nothing goes on: before the first message there, after the last at the next place.
    fn reword_without_messages(&self, pulled: Pulled) -> (&LogicQueueMappingItem, Pulled) {
        let is_last = self.queue.leader().r#gen == self.place.r#gen;
        let is_first = self.queue.place_of(0).r#gen == self.place.r#gen;
        if self.asked_offset < pulled.min_offset {
            let code = if is_first {
                response_code::PULL_OFFSET_MOVED
            } else {
                response_code::PULL_RETRY_IMMEDIATELY
            };
            let next_begin_offset = pulled.min_offset;
            return (
                &self.place,
                Pulled {
                    code,
                    next_begin_offset,
                    ..pulled
                },
            );
        }
        if is_last {
            let next_begin_offset = match pulled.code {
                response_code::PULL_OFFSET_MOVED if self.asked_offset > pulled.max_offset => {
                    pulled.max_offset
                }
                _ => pulled.next_begin_offset,
            };
            return (
                &self.place,
                Pulled {
                    next_begin_offset,
                    ..pulled
                },
            );
        }
        if self.asked_offset < pulled.max_offset {
            return (&self.place, pulled);
        }
        match self.queue.place_after(&self.place) {
            Some(next) => (
                next,
                Pulled {
                    code: response_code::PULL_RETRY_IMMEDIATELY,
                    next_begin_offset: next.start_offset,
                    min_offset: next.start_offset,
                    max_offset: next.start_offset,
                },
            ),
            None => (
                &self.place,
                Pulled {
                    code: response_code::PULL_NOT_FOUND,
                    ..pulled
                },
            ),
        }
    }

    /// The answer of the broker that has the place. Only where the caller may block.
    ///
    /// # Errors
    /// What that broker refuses, and SYSTEM_ERROR when it does not answer.
    pub(crate) fn ask_there(
        &self,
        topics: &StaticTopics,
        header: &PullMessageRequestHeader<'_>,
    ) -> Result<Response, Refusal> {
        let header = PullMessageRequestHeader {
            sys_flag: header.sys_flag & !(sys_flag::pull::SUSPEND | sys_flag::pull::COMMIT_OFFSET),
            logical: Some(false),
            ..header.clone()
        };
        let answer = topics.ask(&self.place, request_code::PULL_MESSAGE, &header)?;
        let Ok(told) = PullMessageResponseHeader::decode(answer.fields()) else {
            return Err(refused_by(&self.place.bname, &answer));
        };
        let reworded = self.reword(Pulled {
            code: answer.code,
            next_begin_offset: told.next_begin_offset,
            min_offset: told.min_offset,
            max_offset: told.max_offset,
        });
        let header = PullMessageResponseHeader {
            next_begin_offset: reworded.next_begin_offset,
            min_offset: reworded.min_offset,
            max_offset: reworded.max_offset,
            offset_delta: Some(self.offset_delta()),
            ..told
        };
        let response = Response::new(reworded.code).header(&header);
        let response = match answer.remark() {
            Some(remark) => response.remark(remark.into_owned()),
            None => response,
        };
        Ok(if reworded.code == response_code::SUCCESS {
            response.body(answer.body.clone())
        } else {
            response
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::tests::{mapping, place};
    use super::*;

    fn pull_at(logical_offset: i64) -> (PlacedPull, PullMessageRequestHeader<'static>) {
        let mapping = mapping("b", vec![place(0, "a", 0, 7), place(1, "b", 10_000, -1)]);
        let mut header = PullMessageRequestHeader {
            queue_offset: logical_offset,
            commit_offset: 10_001,
            sys_flag: sys_flag::pull::COMMIT_OFFSET,
            max_msg_nums: 32,
            ..PullMessageRequestHeader::default()
        };
        let pull = PlacedPull::rewrite(LogicalQueue::led(&mapping, 0).unwrap(), &mut header);
        (pull, header)
    }

    fn pulled(code: i32, next_begin_offset: i64, min_offset: i64, max_offset: i64) -> Pulled {
        Pulled {
            code,
            next_begin_offset,
            min_offset,
            max_offset,
        }
    }

    #[test]
    fn a_pull_reads_the_place_of_its_offset() {
        let (old, header) = pull_at(5);
        assert!(!old.is_here());
        assert_eq!(
            (header.queue_id, header.queue_offset, header.max_msg_nums),
            (3, 5, 7)
        );
        assert_eq!(header.sys_flag, 0, "10001 is not an offset of this place");
        let (new, header) = pull_at(10_002);
        assert!(new.is_here());
        assert_eq!(
            (header.queue_offset, header.max_msg_nums, new.offset_delta()),
            (2, 32, 10_000)
        );
        assert_eq!(
            (header.sys_flag, header.commit_offset),
            (sys_flag::pull::COMMIT_OFFSET, 1)
        );
    }

    #[test]
    fn messages_are_numbered_logically_and_nothing_after_the_end_of_a_place_is_promised() {
        let (old, _) = pull_at(5);
        assert_eq!(
            old.reword(pulled(response_code::SUCCESS, 9, 0, 9)),
            pulled(response_code::SUCCESS, 7, 0, 10_000)
        );
        let (new, _) = pull_at(10_002);
        assert_eq!(
            new.reword(pulled(response_code::SUCCESS, 4, 0, 6)),
            pulled(response_code::SUCCESS, 10_004, 10_000, 10_006)
        );
    }

    #[test]
    fn at_the_end_of_an_old_place_the_consumer_goes_on_at_the_next() {
        let (old, _) = pull_at(7);
        assert_eq!(
            old.reword(pulled(response_code::PULL_NOT_FOUND, 7, 0, 7)),
            pulled(response_code::PULL_RETRY_IMMEDIATELY, 10_000, 10_000, 10_000)
        );
    }

    #[test]
    fn before_the_first_message_the_consumer_is_moved_and_at_the_last_it_waits() {
        let (old, _) = pull_at(0);
        assert_eq!(
            old.reword(pulled(response_code::PULL_OFFSET_MOVED, 3, 3, 7)).code,
            response_code::PULL_OFFSET_MOVED
        );
        let (new, _) = pull_at(10_002);
        assert_eq!(
            new.reword(pulled(response_code::PULL_NOT_FOUND, 2, 0, 2)),
            pulled(response_code::PULL_NOT_FOUND, 10_002, 10_000, 10_002)
        );
    }
}

//! Chains: which units of the timer log make up a slot, when the wheel does not know of all that the log holds.
//!
//! ```text
//!   log    a1 a2 | b1 b2 bE | a3      units of one slot: a filed one by one, b by a refiling that ends with bE
//! ```
//!
//! A unit that follows the slot's last one belongs to it. A refiling begins a chain of its own. That one holds from its end
//! on, as all of it is in the log then; without its end it may be a part of what was left, and the slot is as it was.

use std::collections::HashMap;

use super::log::TimerUnit;
use super::wheel::Slot;

/// What was filed anew and has not come to its end, by the times of the slots, while the log is read from some place on.
#[derive(Debug, Default)]
pub(super) struct Chains {
    anew: HashMap<i64, Slot>,
}

impl Chains {
    /// Takes the next unit of a slot, which is `slot` up to here; gives what it is then, if it changes.
    pub fn take(
        &mut self,
        slot_ms: i64,
        slot: Option<Slot>,
        position: u64,
        unit: &TimerUnit,
    ) -> Option<Slot> {
        let Some(slot) = slot else {
            return Some(Slot::begun_with(position, unit));
        };
        if position <= slot.last {
            return None;
        }
        if unit.previous == Some(slot.last) {
            return Some(slot.followed_by(position, unit));
        }
        let begun = self.anew.remove(&slot_ms);
        let anew = match begun.filter(|begun| unit.previous == Some(begun.last)) {
            Some(begun) => begun.followed_by(position, unit),
            None if unit.previous.is_none() => Slot::begun_with(position, unit),
            None => return None,
        };
        if unit.names_last_message() {
            return Some(anew);
        }
        self.anew.insert(slot_ms, anew);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::PhysicalOffset;
    use crate::timer::UnitKind;

    /// What a unit follows, and whether it ends what is filed anew.
    type Link = (Option<u64>, bool);

    fn unit((previous, ends): Link) -> TimerUnit {
        TimerUnit {
            previous,
            kind: UnitKind {
                rolls: false,
                deletes: ends,
            },
            write_time_ms: 0,
            delay_ms: 0,
            physical_offset: PhysicalOffset(0),
            size_bytes: 1,
            topic_hash: i32::from(!ends),
            due_ms: None,
        }
    }

    /// The slot after all units, each at its place in the list.
    fn after(known: Option<Slot>, units: &[Link]) -> Option<Slot> {
        let mut chains = Chains::default();
        units.iter().zip(0..).fold(known, |slot, (link, position)| {
            chains.take(5, slot, position, &unit(*link)).or(slot)
        })
    }

    #[test]
    fn a_slot_is_what_its_units_make_of_it() {
        let slot = |first, last, count| Some(Slot { first, last, count });
        let filed = [(None, false), (Some(0), false), (Some(1), false)];
        let in_part = [&filed[..], &[(None, false), (Some(3), false)]].concat();
        let anew = [&in_part[..], &[(Some(4), true)]].concat();
        let then_more = [&anew[..], &[(Some(5), false)]].concat();
        let in_part_then_more = [&in_part[..], &[(Some(2), false)]].concat();
        let at_the_second_try = [&in_part[..], &[(None, false), (Some(5), true)]].concat();
        let nothing_left = [&filed[..], &[(None, true)]].concat();
        for (what, known, units, expected) in [
            ("nothing is known", None, &filed[..], slot(0, 2, 3)),
            ("known to its second", slot(0, 1, 2), &filed, slot(0, 2, 3)),
            ("known to its last", slot(0, 2, 3), &filed, slot(0, 2, 3)),
            ("filed anew in part", None, &in_part, slot(0, 2, 3)),
            ("in part, and known", slot(0, 2, 3), &in_part, slot(0, 2, 3)),
            ("filed anew", None, &anew, slot(3, 5, 2)),
            ("filed anew, and known", slot(3, 5, 2), &anew, slot(3, 5, 2)),
            ("known as it was", slot(0, 2, 3), &anew, slot(3, 5, 2)),
            ("then one more", None, &then_more, slot(3, 6, 3)),
            ("in part, then one more", None, &in_part_then_more, slot(0, 5, 4)),
            ("in part, then anew", None, &at_the_second_try, slot(5, 6, 1)),
            ("nothing is left", None, &nothing_left, slot(3, 3, 0)),
        ] {
            assert_eq!(after(known, units), expected, "{what}");
        }
    }
}

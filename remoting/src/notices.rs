//! Notices: one-way requests that only say that something has changed, so that one that still waits is as good as many.
//!
//! ```text
//!   notifier ── notice about S ──> mailbox ──> write queue of the task ──> socket
//!                     └── S is waiting until the last byte of the frame is with the system ──┘
//! ```
//!
//! While a notice about a subject waits, another one is not queued: the peer has yet to read the first, and will find what
//! changed meanwhile. The other way round must never happen: a notice that the peer may have read already is no reason to
//! leave out the next. So what is being written counts as read from the moment the system is asked to take it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// What a notice is about, within the requests of one code.
pub(crate) type Subject = (i32, Arc<str>);

/// The part that stands in the mailbox, under its lock.
#[derive(Debug, Default)]
pub(crate) struct WaitingNotices {
    /// How many are in the mailbox and with the task; hardly ever more than one of a subject.
    subjects: HashMap<Subject, u32>,
    /// Those in the mailbox, and at which byte of its queue each ends.
    in_mailbox: Vec<(usize, Subject)>,
    /// The task is writing notices: which of them the peer has read is not known before it is done.
    are_being_written: bool,
}

impl WaitingNotices {
    /// Whether a notice about the subject is still to be read by the peer.
    pub(crate) fn has(&self, subject: &Subject) -> bool {
        !self.are_being_written && self.subjects.contains_key(subject)
    }

    /// A notice was appended to the queue of the mailbox, which now ends at `end`.
    pub(crate) fn add(&mut self, subject: Subject, end: usize) {
        *self.subjects.entry(subject.clone()).or_default() += 1;
        self.in_mailbox.push((end, subject));
    }

    fn forget_one(&mut self, subject: &Subject) {
        // Not found: the connection was closed, and the mailbox emptied.
        if let Some(count) = self.subjects.get_mut(subject) {
            *count -= 1;
            if *count == 0 {
                self.subjects.remove(subject);
            }
        }
    }
}

/// The part of the task: which of the bytes in its queue are notices.
#[derive(Debug, Default)]
pub(crate) struct UnwrittenNotices {
    /// Bytes written, from an arbitrary point on.
    written: u64,
    /// Where each ends, counted as `written` is; in order.
    ends: VecDeque<(u64, Subject)>,
}

impl UnwrittenNotices {
    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Takes over what is in the mailbox, whose queue is about to go behind the `queued` bytes of the task's.
    pub(crate) fn take(&mut self, mailbox: &mut WaitingNotices, queued: usize) {
        let base = self.written + queued as u64;
        let taken = mailbox.in_mailbox.drain(..);
        self.ends
            .extend(taken.map(|(end, subject)| (base + end as u64, subject)));
    }

    /// To be called before bytes are given to the system.
    pub(crate) fn begin_write(&self, mailbox: &mut WaitingNotices) {
        mailbox.are_being_written = true;
    }

    /// The system has taken so many.
    pub(crate) fn end_write(&mut self, mailbox: &mut WaitingNotices, written: usize) {
        mailbox.are_being_written = false;
        self.written += written as u64;
        while let Some((_, subject)) = self.ends.pop_front_if(|(end, _)| *end <= self.written) {
            mailbox.forget_one(&subject);
        }
        if mailbox.subjects.is_empty() {
            // An idle connection owns no tables.
            *mailbox = WaitingNotices::default();
            self.ends = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: &str) -> Subject {
        (40, Arc::from(name))
    }

    #[test]
    fn a_subject_waits_until_its_last_byte_is_written() {
        let (mut mailbox, mut task) = (WaitingNotices::default(), UnwrittenNotices::default());
        let (first, second) = (subject("g"), subject("h"));
        mailbox.add(first.clone(), 100);
        mailbox.add(second.clone(), 250);
        assert!(mailbox.has(&first) && mailbox.has(&second) && !mailbox.has(&subject("i")));

        task.take(&mut mailbox, 1_000);
        assert!(mailbox.has(&first), "with the task it waits on");
        for (written, first_waits, second_waits) in
            [(1_099, true, true), (1, false, true), (149, false, true)]
        {
            task.begin_write(&mut mailbox);
            task.end_write(&mut mailbox, written);
            assert_eq!(
                (mailbox.has(&first), mailbox.has(&second)),
                (first_waits, second_waits)
            );
        }
        task.begin_write(&mut mailbox);
        task.end_write(&mut mailbox, 1);
        assert!(!mailbox.has(&second) && task.is_empty());
    }

    #[test]
    fn nothing_waits_for_certain_while_it_is_being_written() {
        let (mut mailbox, mut task) = (WaitingNotices::default(), UnwrittenNotices::default());
        mailbox.add(subject("g"), 100);
        task.take(&mut mailbox, 0);
        task.begin_write(&mut mailbox);
        assert!(!mailbox.has(&subject("g")), "the peer may have read it by now");
        mailbox.add(subject("g"), 60);
        task.end_write(&mut mailbox, 0);
        task.take(&mut mailbox, 100);
        task.begin_write(&mut mailbox);
        task.end_write(&mut mailbox, 100);
        assert!(mailbox.has(&subject("g")), "the second waits on");
        task.begin_write(&mut mailbox);
        task.end_write(&mut mailbox, 60);
        assert!(!mailbox.has(&subject("g")) && task.is_empty());
    }
}

//! Transactions: the one place where a half message ends, is put back, or is given up.
//!
//! ```text
//!   END_TRANSACTION ──> end ───────────┐
//!   check_service ──> check_some ──────┤ under one lock: still open? ─> put what follows ─> note it in the ledger
//!   RESUME_CHECK_HALF_MESSAGE ─> resume┘
//!   op_service ──> write_ops           op records for what has ended
//! ```
//!
//! Reference: `TransactionalMessageServiceImpl`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use common::clock::Clock;
use common::message::id::offset_msg_id;
use common::names;
use common::planted_bug::{PlantedBug, is_planted};
use common::properties::Live;
use common::service::Waker;
use remoting::body::TopicConfig;
use remoting::codes::request_code;
use remoting::header::CheckTransactionStateRequestHeader;
use remoting::request::OutgoingRequest;
use store::record::encode::{RecordStyle, encode, patch};
use store::record::{self, Record};
use store::{Appended, PhysicalOffset, PutError, QueueEntry, QueueOffset, Store, WriteRefusal};
use thiserror::Error;

use super::check::{self, Action, HalfEntry, HalfFacts, Plan, Round};
use super::half_message::{Draft, HALF_QUEUE_ID, HalfMessage, TransactionKey};
use super::ledger::{End, Ledger, Standing};
use super::op_message::{self, OpQueue};
use super::recovery::{Recovered, recover};
use crate::clients::notify;
use crate::clients::producers::Producers;
use crate::config::BrokerConfig;
use crate::registry::{ConsumerOffsets, Topics, TransactionMetrics};
use crate::stats::BrokerStats;

/// Half messages looked at in one step of a round.
const CHECK_BATCH: usize = 128;
/// The most ends that may wait for their op record: at this number whoever ends a transaction writes them.
const WAITING_OPS_LIMIT: usize = 20_000;
/// The longest topic that the message in a question can name.
const ASKED_TOPIC_LIMIT_BYTES: usize = 255;

/// What transactions work on.
pub(crate) struct TransactionParts {
    pub(crate) store: Arc<Store>,
    pub(crate) config: Arc<Live<BrokerConfig>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) offsets: Arc<ConsumerOffsets>,
    pub(crate) producers: Arc<Producers>,
    pub(crate) stats: Arc<BrokerStats>,
    pub(crate) metrics: Arc<TransactionMetrics>,
    pub(crate) store_host: SocketAddr,
    pub(crate) broker_name: String,
    /// Wakes the service that writes op records.
    pub(crate) op_waker: Waker,
}

/// The transactions of a broker.
pub struct Transactions {
    parts: TransactionParts,
    /// Held while the message that ends a half message is put: nobody may see it open and in the log at the same time.
    /// Taken before the store's locks.
    state: Mutex<State>,
    /// Spreads questions over the producers of a group.
    turn: AtomicUsize,
}

struct State {
    ledger: Ledger,
    ops: OpQueue,
}

/// Why a transaction did not end as asked.
#[derive(Clone, Debug, Error, PartialEq)]
pub(crate) enum EndError {
    /// It ended before, otherwise or so long ago that nobody knows how.
    #[error("the transaction is over: {0}")]
    Over(&'static str),
    /// Too many half messages came after the first that is open.
    #[error("too many transactions are open")]
    TooManyOpen,
    /// What follows from the half message cannot be stored.
    #[error(transparent)]
    Put(#[from] PutError),
}

impl Transactions {
    /// Finds out from the store what is open and what is over.
    ///
    /// # Errors
    /// When the log cannot be followed.
    pub(crate) fn open(parts: TransactionParts) -> anyhow::Result<Self> {
        let progress = |topic| {
            parts
                .offsets
                .query(names::TRANSACTION_GROUP, topic, HALF_QUEUE_ID)
        };
        let Recovered {
            ledger,
            ops,
            open_by_topic,
        } = recover(
            &parts.store,
            progress(names::TRANS_HALF_TOPIC),
            progress(names::TRANS_OP_HALF_TOPIC),
        )
        .context("recover the transactions")?;
        parts.metrics.correct(&open_by_topic);
        Ok(Transactions {
            parts,
            state: Mutex::new(State { ledger, ops }),
            turn: AtomicUsize::new(0),
        })
    }

    /// A half message was stored.
    pub(crate) fn begun(&self, real_topic: &str) {
        self.parts.metrics.add(real_topic, 1);
    }

    /// Makes the message visible, `committed` being what [`HalfMessage::committed`] gave. A second time is no error and
    /// stores nothing. Gives how far the log must be on the disk for the message to be safe.
    pub(crate) fn commit(
        &self,
        half: &HalfMessage<'_>,
        committed: &Draft<'_>,
    ) -> Result<Option<PhysicalOffset>, EndError> {
        self.end(half, End::Committed, Some(committed))
    }

    /// Has the message never become visible. A second time is no error. Nothing is stored for it: should a crash take the
    /// note of it, the check asks again.
    pub(crate) fn roll_back(&self, half: &HalfMessage<'_>) -> Result<Option<PhysicalOffset>, EndError> {
        self.end(half, End::RolledBack, None)
    }

    fn end(
        &self,
        half: &HalfMessage<'_>,
        wanted: End,
        follows: Option<&Draft<'_>>,
    ) -> Result<Option<PhysicalOffset>, EndError> {
        let key = half.key();
        let mut state = self.lock();
        if state.ops.waiting() >= WAITING_OPS_LIMIT {
            self.write_waiting_ops(&mut state)?;
        }
        let queue_offset = match state.ledger.standing(half.queue_offset(), &key) {
            Standing::Open(queue_offset) => queue_offset,
            // Perhaps just now: what followed lies before the log's end, and may not be on the disk yet.
            Standing::Over(Some(end)) if end == wanted || end == End::Recorded => {
                return Ok(follows.map(|_| self.parts.store.log_range().end));
            }
            Standing::Over(end) => return Err(EndError::Over(why_over(end))),
            Standing::OutOfReach => return Err(EndError::TooManyOpen),
        };
        let followed = follows.map(|draft| self.put(draft)).transpose()?;
        state.ledger.end(queue_offset, wanted);
        let waiting_bytes = state.ops.push(queue_offset);
        drop(state);
        if waiting_bytes > self.op_message_bytes() {
            self.parts.op_waker.wake();
        }
        let real_topic = half.real_topic().unwrap_or_default();
        self.parts.metrics.add(real_topic, -1);
        if let Some(events) = self.parts.stats.events() {
            match wanted {
                End::Committed => events.record_commit(real_topic, half.record.born_timestamp_ms),
                _ => events.rollbacks.add(real_topic, 1),
            }
        }
        Ok(followed.map(|appended| appended.end))
    }

    /// Looks at the next half messages of a round and does what is to be done with them. Says whether the round is over.
    ///
    /// # Errors
    /// When something cannot be stored; the round then ends, and the next one begins with the same half message.
    pub(crate) fn check_some(&self, round: &Round) -> anyhow::Result<bool> {
        let next = self.lock().ledger.next();
        let entries = self.parts.store.queue_entries(
            names::TRANS_HALF_TOPIC,
            HALF_QUEUE_ID,
            QueueOffset(next),
            CHECK_BATCH,
        );
        if entries.is_empty() {
            return Ok(true);
        }
        let Plan { actions, ends_round } = self.plan(&entries, round);
        for (entry, (queue_offset, action)) in entries.iter().zip(actions) {
            debug_assert_eq!(entry.queue_offset.0, queue_offset, "a plan keeps the order");
            self.carry_out(entry, action)
                .with_context(|| format!("{action:?} the half message {queue_offset}"))?;
        }
        Ok(ends_round)
    }

    fn plan(&self, entries: &[QueueEntry], round: &Round) -> Plan {
        let over: Vec<bool> = {
            let state = self.lock();
            let is_over = |entry: &QueueEntry| state.ledger.is_over(entry.queue_offset.0);
            entries.iter().map(is_over).collect()
        };
        let facts = |entry: &QueueEntry| {
            let look = |record: &Record<'_>| {
                HalfMessage::of(*record).map(|half| HalfFacts::of(&half, round.time_out_ms))
            };
            self.parts
                .store
                .with_record(entry.physical_offset, look)
                .flatten()
        };
        let halves: Vec<HalfEntry> = entries
            .iter()
            .zip(&over)
            .map(|(entry, is_over)| HalfEntry {
                queue_offset: entry.queue_offset.0,
                is_over: *is_over,
                facts: if *is_over { None } else { facts(entry) },
            })
            .collect();
        check::plan(&halves, self.parts.clock.wall_ms(), round)
    }

    fn carry_out(&self, entry: &QueueEntry, action: Action) -> Result<(), PutError> {
        let queue_offset = entry.queue_offset.0;
        let reads = !matches!(action, Action::Pass | Action::GiveUp);
        let bytes = reads
            .then(|| self.parts.store.read_at(entry.physical_offset))
            .flatten()
            .unwrap_or_default();
        let half = record::decode(&bytes).ok().and_then(HalfMessage::of);
        if action == Action::Discard {
            self.make_discard_topic();
        }

        let mut state = self.lock();
        let mut question = None;
        match half {
            // Ended since the plan was made.
            _ if state.ledger.is_over(queue_offset) => {}
            None => {
                tracing::error!(queue_offset, "half message given up: its record is gone");
                state.ledger.end(queue_offset, End::GivenUp);
            }
            Some(half) => match action {
                Action::Ask => question = self.put_back(&mut state, &half, half.checked_again())?,
                Action::PutBack => {
                    self.put_back(&mut state, &half, half.immune())?;
                }
                Action::Discard => self.discard(&mut state, &half)?,
                Action::Pass | Action::GiveUp => {}
            },
        }
        state.ledger.pass(queue_offset + 1);
        drop(state);
        if let Some((draft, appended)) = question {
            self.ask(&draft, &appended);
        }
        Ok(())
    }

    /// Puts a copy in place of a half message. One that cannot be put at all is discarded: it would stop the check.
    fn put_back<'a>(
        &self,
        state: &mut State,
        half: &HalfMessage<'a>,
        copy: Draft<'a>,
    ) -> Result<Option<(Draft<'a>, Appended)>, PutError> {
        match self.put(&copy) {
            Ok(appended) => {
                let (old, new) = (half.queue_offset(), appended.queue_offset.0);
                state.ledger.put_back(old, new, half.key());
                Ok(Some((copy, appended)))
            }
            Err(error) if is_of_the_message(&error) => {
                tracing::error!(
                    queue_offset = half.queue_offset(),
                    "half message cannot be put back: {error}"
                );
                self.make_discard_topic();
                self.discard(state, half).map(|()| None)
            }
            Err(error) => Err(error),
        }
    }

    fn discard(&self, state: &mut State, half: &HalfMessage<'_>) -> Result<(), PutError> {
        let (queue_offset, real_topic) = (half.queue_offset(), half.real_topic().unwrap_or_default());
        match self.put(&half.discarded()) {
            Err(error) if !is_of_the_message(&error) => return Err(error),
            Err(error) => tracing::error!(queue_offset, real_topic, "half message lost: {error}"),
            Ok(_) => tracing::warn!(
                queue_offset,
                real_topic,
                "half message moved to {}: it is too old, or was checked too often",
                names::TRANS_CHECK_MAX_TIME_TOPIC
            ),
        }
        state.ledger.end(queue_offset, End::GivenUp);
        self.parts.metrics.add(real_topic, -1);
        Ok(())
    }

    /// Not under the lock: the table of topics tells the name servers.
    fn make_discard_topic(&self) {
        self.parts
            .topics
            .create_if_absent(TopicConfig::new(names::TRANS_CHECK_MAX_TIME_TOPIC, 1));
    }

    /// Asks one producer of the message's group how the transaction ended; its answer is END_TRANSACTION. If nobody can
    /// be asked, or the answer does not come, the next round asks.
    fn ask(&self, copy: &Draft<'_>, appended: &Appended) {
        let Some(body) = question_body(copy, appended) else {
            tracing::error!(
                queue_offset = appended.queue_offset.0,
                "half message cannot be asked about: no topic and queue"
            );
            return;
        };
        let uniq_key = copy.uniq_key().map(str::to_owned);
        let header = CheckTransactionStateRequestHeader {
            topic: Some(copy.topic().to_owned()),
            tran_state_table_offset: appended.queue_offset.to_wire(),
            commit_log_offset: appended.physical_offset.to_wire(),
            transaction_id: uniq_key.clone(),
            msg_id: uniq_key,
            offset_msg_id: Some(offset_msg_id(copy.store_host(), appended.physical_offset.0)),
        };
        let request = OutgoingRequest::new(request_code::CHECK_TRANSACTION_STATE)
            .header(&header)
            .field("bname", &self.parts.broker_name)
            .body(body);
        let group = copy.producer_group().unwrap_or_default();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        notify::check_transaction_state(group, &self.parts.producers.of_group(group), turn, &request);
    }

    /// Has a half message checked again that was given up, or that is still open, as if it had never been checked.
    pub(crate) fn resume(&self, record: Record<'_>) -> Result<(), EndError> {
        let resumed = HalfMessage::resumed(record);
        let key = TransactionKey::of(&record);
        let mut state = self.lock();
        let open = match HalfMessage::of(record) {
            Some(half) => match state.ledger.standing(half.queue_offset(), &key) {
                Standing::Open(queue_offset) => Some(queue_offset),
                Standing::Over(end) => return Err(EndError::Over(why_over(end))),
                Standing::OutOfReach => return Err(EndError::TooManyOpen),
            },
            // A discarded one, unless it was resumed before and is open again.
            None => match state.ledger.standing(0, &key) {
                Standing::Open(queue_offset) if queue_offset > 0 => Some(queue_offset),
                _ => None,
            },
        };
        let appended = self.put(&resumed)?;
        match open {
            Some(queue_offset) => state.ledger.put_back(queue_offset, appended.queue_offset.0, key),
            None => {
                state.ledger.note_copy(appended.queue_offset.0, key);
                let real_topic = HalfMessage { record }.real_topic().unwrap_or_default();
                self.parts.metrics.add(real_topic, 1);
            }
        }
        Ok(())
    }

    /// Writes op records for everything that has ended.
    ///
    /// # Errors
    /// When one cannot be stored; what waits goes on waiting.
    pub(crate) fn write_ops(&self) -> Result<(), PutError> {
        self.write_waiting_ops(&mut self.lock())
    }

    /// Writes down what has ended, once the messages that followed from it are on the disk: else a power failure could
    /// take a message and leave the note that it needs no look any more.
    fn write_waiting_ops(&self, state: &mut State) -> Result<(), PutError> {
        if state.ops.waiting() > 0 && !is_planted(PlantedBug::NoteEndTooEarly) {
            self.parts
                .store
                .flush()
                .map_err(|error| WriteRefusal::LogFailed(format!("{error:#}")))?;
        }
        while let Some(batch) = state.ops.batch(self.op_message_bytes()) {
            let now_ms = self.parts.clock.wall_ms();
            let message = op_message::message(batch.body.as_bytes(), self.parts.store_host, now_ms);
            let appended = self.parts.store.put(&message)?;
            self.count_put(names::TRANS_OP_HALF_TOPIC, &appended);
            state.ops.written(&batch, appended.queue_offset.0);
        }
        Ok(())
    }

    /// Keeps how far the check has come, once all that it passed is on the disk: else a power failure could take the
    /// message that a half message became, and the progress would say that it needs no look any more.
    ///
    /// # Errors
    /// When the log cannot be flushed.
    pub(crate) fn save_progress(&self) -> anyhow::Result<()> {
        let progress = {
            let mut state = self.lock();
            let half_next = state.ledger.next();
            [
                (names::TRANS_HALF_TOPIC, half_next),
                (names::TRANS_OP_HALF_TOPIC, state.ops.progress(half_next)),
            ]
        };
        let group = names::TRANSACTION_GROUP;
        let changed: Vec<_> = progress
            .into_iter()
            .map(|(topic, next)| (topic, QueueOffset(next).to_wire()))
            .filter(|(topic, next)| {
                let kept = self.parts.offsets.query(group, topic, HALF_QUEUE_ID);
                kept.unwrap_or(0) != *next
            })
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        self.parts.store.flush()?;
        for (topic, next) in changed {
            self.parts
                .offsets
                .commit(self.parts.store_host, group, topic, HALF_QUEUE_ID, next);
        }
        Ok(())
    }

    /// The limits of a round that begins now.
    pub(crate) fn round(&self, began_ms: i64) -> Round {
        let config = self.parts.config.get();
        let keep_hours = self.parts.store.config().get().file_reserved_time;
        Round {
            began_ms,
            time_out_ms: config.transaction_time_out,
            check_max: config.transaction_check_max,
            keep_ms: keep_hours.saturating_mul(3_600_000),
        }
    }

    fn put(&self, draft: &Draft<'_>) -> Result<Appended, PutError> {
        let appended = self.parts.store.put(&draft.message())?;
        self.count_put(draft.topic(), &appended);
        Ok(appended)
    }

    fn count_put(&self, topic: &str, appended: &Appended) {
        self.parts
            .stats
            .record_put(topic, 1, u64::from(appended.size_bytes));
    }

    fn op_message_bytes(&self) -> usize {
        usize::try_from(self.parts.config.get().transaction_op_msg_max_size).unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn why_over(end: Option<End>) -> &'static str {
    match end {
        Some(End::Committed) => "it was committed",
        Some(End::RolledBack) => "it was rolled back",
        Some(End::GivenUp) => "nobody answered for it in time",
        Some(End::PutBack) => "it was put back too often",
        Some(End::Recorded) | None => "it ended, or nobody answered for it in time",
    }
}

/// Whether no later try can store this message.
fn is_of_the_message(error: &PutError) -> bool {
    match error {
        PutError::TopicTooLong { .. }
        | PutError::BodyTooLarge { .. }
        | PutError::PropertiesTooLarge { .. }
        | PutError::RecordTooLarge { .. }
        | PutError::IllegalTopic
        | PutError::EmptyBatch
        | PutError::IllegalBatch(_) => true,
        PutError::TooManyLightQueues { .. }
        | PutError::PageCacheBusy { .. }
        | PutError::Contended
        | PutError::NotWritable(_) => false,
    }
}

/// The message as its producer is to see it: in its own topic and queue, at the place of the copy that was put back.
fn question_body(copy: &Draft<'_>, appended: &Appended) -> Option<Vec<u8>> {
    let message = copy
        .as_asked_about()
        .filter(|message| message.topic.len() <= ASKED_TOPIC_LIMIT_BYTES)?;
    let style = RecordStyle {
        version_by_topic_length: true,
        append_property_crc: false,
    };
    let mut body = Vec::with_capacity(appended.size_bytes as usize);
    encode(&message, style, &mut body);
    patch(
        &mut body,
        appended.queue_offset,
        appended.physical_offset,
        copy.origin_store_timestamp_ms(),
        style,
    );
    Some(body)
}

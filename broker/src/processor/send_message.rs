//! SEND_MESSAGE, SEND_MESSAGE_V2, SEND_BATCH_MESSAGE: messages from producers into the log.
//!
//! ```text
//!   check topic and queue (send_target.rs) ─> retry topic: dead letter? ─> lite, priority, half, delay, timer ─> put ─> answer
//!                                                                                      SYNC_FLUSH: when flushed ──┘
//! ```
//!
//! Whether a request is a batch is said by its header, not by its code.
//! Reference: `SendMessageProcessor`, `HookUtils`.

use std::borrow::Cow;

use common::message::id::offset_msg_id;
use common::message::{properties, sys_flag};
use common::names;
use common::planted_bug::{PlantedBug, is_planted};
use common::version;
use remoting::body::topic::{TopicConfig, TopicFilterType};
use remoting::codes::response_code;
use remoting::header::{SendMessageRequestHeader, SendMessageResponseHeader};
use remoting::request::{Handled, Outcome, Refusal, Request, Response};
use smallvec::SmallVec;
use store::record::Record;
use store::{BatchItem, FlushDiskType, FlushError, Message, PhysicalOffset};

use crate::broker::Broker;
use crate::processor::batch_body::{BatchError, InnerMessages, decode_batch};
use crate::processor::refusals::{FAQ, flush_failed, message_illegal, put_refused};
use crate::processor::send_properties::{Changes, PropertyFault, SendProperties};
use crate::processor::send_target::SendTarget;
use crate::recent_sends::{self, Sent, Turn};
use crate::registry::topics::perm;
use crate::static_topic::queue::{LogicalQueue, PlaceOffsets as _};
use crate::timer::recall::RecallHandle;
use crate::timer::schedule::schedule;
use crate::transaction::half_message::HALF_QUEUE_ID;

/// One dead-letter queue is enough for the messages nobody could consume.
pub(crate) const DLQ_QUEUE_NUMS: i32 = 1;

type SendRequest<'a> = Request<'a, SendMessageRequestHeader<'a>>;

/// Stores a message, or many of one queue.
pub(crate) fn send_message(broker: &Broker, mut request: SendRequest<'_>) -> Handled {
    let header = &request.header;
    let logical_queue = broker
        .static_topics
        .find_for_send(&header.topic, header.queue_id, header.logical)?;
    if let Some(queue) = &logical_queue {
        request.header.queue_id = queue.leader().queue_id;
    }
    if request.header.batch {
        send_batch(broker, &request, logical_queue.as_ref())
    } else {
        send_one(broker, &request, logical_queue.as_ref())
    }
}

fn send_one(broker: &Broker, request: &SendRequest<'_>, logical_queue: Option<&LogicalQueue>) -> Handled {
    let header = &request.header;
    let target = SendTarget::of(header, request.connection().peer_addr());
    let topic_config = target.check(broker)?;
    let properties = SendProperties::scan(header.properties.as_deref().unwrap_or_default())?;

    let mut draft = Draft {
        topic: Cow::Borrowed(target.topic),
        queue_id: target.queue_id(broker, &topic_config),
        delay_level: properties.delay_level,
    };
    let dead_letter = draft.redirect_exhausted_retry(broker, request)?;
    draft.apply_priority(&properties, &topic_config);
    require_key_for_compaction(&properties, &topic_config)?;
    require_body(broker, request)?;
    let is_half = is_half_message(broker, header, &properties)?;
    refuse_inner_batch(broker, header, &properties)?;
    let mut turn = take_turn(broker, &target, &topic_config, &properties, logical_queue);
    if let Some(sent) = turn
        .as_ref()
        .and_then(|turn| sent_before(broker, turn, &target, &topic_config, &properties))
    {
        let handle = recall_handle_of(broker, target.topic, &sent, properties.uniq_key);
        let answer = stored_answer(broker, &sent, properties.uniq_key, handle);
        if is_planted(PlantedBug::AnswerRepeatEarly) {
            return Ok(answer.into());
        }
        return Ok(answer_when_safe(
            broker,
            request,
            sent.end,
            properties.no_wait,
            answer,
        ));
    }
    let answered_queue_id = draft.queue_id;
    // A half message waits for its time when it is committed; what cannot wait then is refused now.
    let timer_out_ms = timer_slot(broker, &properties)?.filter(|_| !is_half);
    let real_destination = if is_half {
        Some(draft.hide())
    } else if timer_out_ms.is_some() {
        Some(draft.redirect(names::TIMER_TOPIC, 0))
    } else {
        draft.schedule(broker.delay_levels.max_level())
    };

    let config = broker.config.get();
    let new_uniq_key = properties
        .uniq_key
        .is_none()
        .then(|| broker.unique_keys.next_key());
    let uniq_key = properties.uniq_key.or(new_uniq_key.as_deref());
    let multi_dispatch = lmq_of(broker, target.topic, &properties)?;
    let stored_properties = properties.encode(&Changes {
        region_id: &config.region_id,
        trace_on: config.trace_on,
        cluster: Some(&broker.identity.cluster),
        new_uniq_key: new_uniq_key.as_deref(),
        delay_level: (dead_letter || draft.delay_level != properties.delay_level)
            .then_some(draft.delay_level),
        multi_dispatch: multi_dispatch.as_deref(),
        real_destination: real_destination
            .as_ref()
            .map(|(topic, queue_id)| (&**topic, *queue_id)),
        transaction_id: uniq_key.filter(|_| is_half),
        drop_priority: properties.has_void_priority(),
        timer_out_ms,
        drop_timer: real_destination.is_some() && !is_half && timer_out_ms.is_none(),
    });
    let message = Message {
        topic: &draft.topic,
        queue_id: draft.queue_id,
        properties: &stored_properties,
        body: request.body(),
        ..shared_fields(broker, request, &topic_config)
    };
    let message = if is_half {
        without_transaction_bits(message)
    } else {
        message
    };
    let appended = broker
        .store
        .put(&message)
        .map_err(|error| put_refused(&error, broker.store_config.get().max_message_size))?;
    broker.stats.record_incoming(
        &draft.topic,
        properties.message_type(),
        1,
        u64::from(appended.size_bytes),
    );
    if let Some(group) = names::group_of_retry_topic(&header.topic).filter(|_| dead_letter) {
        broker.stats.record_dead_letter(group, target.topic);
    }
    if is_half {
        broker.transactions.begun(target.topic);
    }

    // A message that waits elsewhere first is numbered there; the end of a transaction needs that number.
    let numbered_by = logical_queue.filter(|_| real_destination.is_none());
    let sent = Sent {
        physical_offset: appended.physical_offset,
        end: appended.end,
        queue_id: logical_queue.map_or(answered_queue_id, LogicalQueue::id),
        queue_offset: answered_offset(numbered_by, appended.queue_offset.to_wire()),
    };
    if let Some(turn) = &mut turn {
        turn.note(appended.physical_offset);
    }
    drop(turn);
    let handle = timer_out_ms.zip(real_destination.as_ref());
    let handle = handle.and_then(|(out_ms, (topic, _))| recall_handle(broker, topic, out_ms, uniq_key));
    let answer = stored_answer(broker, &sent, uniq_key, handle);
    Ok(answer_when_safe(
        broker,
        request,
        appended.end,
        properties.no_wait,
        answer,
    ))
}

/// The right to store the message, where its repetition would be noticed.
fn take_turn<'a>(
    broker: &'a Broker,
    target: &SendTarget<'_>,
    topic_config: &TopicConfig,
    properties: &SendProperties<'_>,
    logical_queue: Option<&LogicalQueue>,
) -> Option<Turn<'a>> {
    let window_ms = recent_sends::window_ms(topic_config, broker.config.get().duplicate_send_window_ms);
    let is_left_out = logical_queue.is_some() || names::group_of_retry_topic(target.topic).is_some();
    if window_ms <= 0 || is_left_out {
        return None;
    }
    let uniq_key = properties.uniq_key?;
    Some(broker.recent_sends.turn(target.topic, uniq_key))
}

/// The same message, if it was stored within the window: its producer got no answer and sends again.
fn sent_before(
    broker: &Broker,
    turn: &Turn<'_>,
    target: &SendTarget<'_>,
    topic_config: &TopicConfig,
    properties: &SendProperties<'_>,
) -> Option<Sent> {
    let uniq_key = properties.uniq_key?;
    let sent_at = |offset| {
        let window_ms = recent_sends::window_ms(topic_config, broker.config.get().duplicate_send_window_ms);
        let since_ms = broker.clock.wall_ms().saturating_sub(window_ms);
        let same_send = |record: &Record<'_>| {
            recent_sends::first_send(record)
                .filter(|(topic, key, _)| (*topic, *key) == (target.topic, uniq_key))
                .filter(|_| record.store_timestamp_ms >= since_ms && !broker.store.is_deleted(record))
                .map(|(_, _, sent)| sent)
        };
        broker.store.with_record(offset, same_send).flatten()
    };
    turn.earlier().find_map(sent_at)
}

fn stored_answer(
    broker: &Broker,
    sent: &Sent,
    uniq_key: Option<&str>,
    recall_handle: Option<String>,
) -> Response {
    send_answer(
        broker,
        &SendMessageResponseHeader {
            msg_id: offset_msg_id(broker.identity.store_host, sent.physical_offset.0).into(),
            queue_id: sent.queue_id,
            queue_offset: sent.queue_offset,
            transaction_id: uniq_key.map(Cow::Borrowed),
            batch_uniq_id: None,
            recall_handle: recall_handle.map(Cow::Owned),
        },
    )
}

fn send_batch(broker: &Broker, request: &SendRequest<'_>, logical_queue: Option<&LogicalQueue>) -> Handled {
    let header = &request.header;
    let target = SendTarget::of(header, request.connection().peer_addr());
    let topic_config = target.check(broker)?;
    let properties = SendProperties::scan(header.properties.as_deref().unwrap_or_default())?;
    refuse_unbatchable(broker, header, &properties)?;
    let mut inner = decode_batch(request.body())?;
    add_missing_keys(broker, &mut inner);

    let queue_id = target.queue_id(broker, &topic_config);
    let shared = Message {
        topic: target.topic,
        queue_id,
        ..shared_fields(broker, request, &topic_config)
    };
    let items: SmallVec<[BatchItem<'_>; 8]> = inner
        .iter()
        .map(|message| BatchItem {
            flag: message.flag,
            properties: &message.properties,
            body: message.body,
        })
        .collect();
    let appended = broker
        .store
        .put_batch(&shared, &items)
        .map_err(|error| put_refused(&error, broker.store_config.get().max_message_size))?;
    broker.stats.record_incoming(
        target.topic,
        properties.message_type(),
        items.len() as u32,
        u64::from(appended.size_bytes),
    );

    let answer = send_answer(
        broker,
        &SendMessageResponseHeader {
            msg_id: joined_ids(broker, &appended.physical_offsets).into(),
            queue_id: logical_queue.map_or(queue_id, LogicalQueue::id),
            queue_offset: answered_offset(logical_queue, appended.queue_offset.to_wire()),
            transaction_id: properties.uniq_key.map(Cow::Borrowed),
            batch_uniq_id: None,
            recall_handle: None,
        },
    );
    Ok(answer_when_safe(
        broker,
        request,
        appended.end,
        properties.no_wait,
        answer,
    ))
}

/// The offset that the sender is told; -1 while the logical offsets of a queue that has just moved are not decided.
fn answered_offset(logical_queue: Option<&LogicalQueue>, queue_offset: i64) -> i64 {
    logical_queue.map_or(queue_offset, |queue| {
        queue.leader().bounded_logical_offset(queue_offset)
    })
}

/// A message on its way to a queue, which rules of the broker may change.
struct Draft<'a> {
    topic: Cow<'a, str>,
    queue_id: i32,
    delay_level: i32,
}

impl<'a> Draft<'a> {
    /// A message sent to a retry topic goes to the dead letters when it was retried too often, or when its group
    /// consumes in order: a retry would overtake. Says whether it did.
    ///
    /// Reference: `SendMessageProcessor.handleRetryAndDLQ`.
    fn redirect_exhausted_retry(
        &mut self,
        broker: &Broker,
        request: &SendRequest<'_>,
    ) -> Result<bool, Refusal> {
        let Some(group) = names::group_of_retry_topic(&request.header.topic) else {
            return Ok(false);
        };
        let group_config = broker.groups.find(group).ok_or_else(|| {
            Refusal::new(
                response_code::SUBSCRIPTION_GROUP_NOT_EXIST,
                format!("subscription group not exist, {group} {FAQ}"),
            )
        })?;
        let max_reconsume_times = request
            .header
            .max_reconsume_times
            .filter(|_| request.version() >= version::V3_4_9)
            .unwrap_or(group_config.retry_max_times);
        let exhausted = request.header.reconsume_times > max_reconsume_times;
        if !exhausted && !broker.queue_locks.has_unexpired(group, broker.clock.wall_ms()) {
            return Ok(false);
        }
        let dlq_topic = names::dlq_topic(group);
        broker
            .topics
            .create_on_send_back(&dlq_topic, DLQ_QUEUE_NUMS, perm::READ | perm::WRITE, false, 0);
        self.topic = Cow::Owned(dlq_topic);
        self.queue_id = 0;
        self.delay_level = -1;
        Ok(true)
    }

    fn apply_priority(&mut self, properties: &SendProperties<'_>, topic_config: &TopicConfig) {
        if let Some(priority) = properties.priority() {
            self.queue_id = priority
                .min(topic_config.write_queue_nums.saturating_sub(1))
                .max(0);
        }
    }

    /// A half message waits where no consumer looks; gives where it goes when it is committed.
    ///
    /// Reference: `TransactionalMessageBridge.parseHalfMessageInner`.
    fn hide(&mut self) -> (Cow<'a, str>, i32) {
        let real_topic = std::mem::replace(&mut self.topic, Cow::Borrowed(names::TRANS_HALF_TOPIC));
        let real_queue_id = std::mem::replace(&mut self.queue_id, HALF_QUEUE_ID);
        (real_topic, real_queue_id)
    }

    /// A message with a delay level waits in the queue of its level; gives where it goes afterwards.
    ///
    /// Reference: `HookUtils.transformDelayLevelMessage`.
    fn schedule(&mut self, max_level: i32) -> Option<(Cow<'a, str>, i32)> {
        if self.delay_level <= 0 || max_level <= 0 {
            return None;
        }
        self.delay_level = self.delay_level.min(max_level);
        Some(self.redirect(names::SCHEDULE_TOPIC, self.delay_level - 1))
    }

    /// Sends the message to a queue of the broker first; gives where it goes afterwards.
    fn redirect(&mut self, topic: &'static str, queue_id: i32) -> (Cow<'a, str>, i32) {
        let real_topic = std::mem::replace(&mut self.topic, Cow::Borrowed(topic));
        let real_queue_id = std::mem::replace(&mut self.queue_id, queue_id);
        (real_topic, real_queue_id)
    }
}

/// Everything of the stored message but topic, queue, properties and body.
fn shared_fields(broker: &Broker, request: &SendRequest<'_>, topic_config: &TopicConfig) -> Message<'static> {
    let header = &request.header;
    let multi_tags = match topic_config.topic_filter_type {
        TopicFilterType::MultiTag => sys_flag::MULTI_TAGS,
        TopicFilterType::SingleTag => 0,
    };
    Message {
        topic: "",
        queue_id: 0,
        flag: header.flag,
        sys_flag: header.sys_flag | multi_tags,
        born_timestamp_ms: header.born_timestamp,
        born_host: request.connection().peer_addr(),
        store_host: broker.identity.store_host,
        reconsume_times: header.reconsume_times,
        prepared_transaction_offset: 0,
        properties: "",
        body: &[],
    }
}

/// As a half message is stored: it has a place in a queue.
fn without_transaction_bits(message: Message<'_>) -> Message<'_> {
    Message {
        sys_flag: sys_flag::with_transaction_type(message.sys_flag, sys_flag::TRANSACTION_NONE),
        ..message
    }
}

/// A message has a body. Reference: `HookUtils.checkBeforePutMessage`.
fn require_body(broker: &Broker, request: &SendRequest<'_>) -> Result<(), Refusal> {
    if !request.body().is_empty() {
        return Ok(());
    }
    Err(cannot_be(broker, "there is no body"))
}

/// A compaction topic keeps the newest message of each key.
fn require_key_for_compaction(
    properties: &SendProperties<'_>,
    topic_config: &TopicConfig,
) -> Result<(), Refusal> {
    let is_compaction = topic_config
        .attributes
        .get("cleanup.policy")
        .is_some_and(|policy| policy == "COMPACTION");
    if is_compaction && properties.keys.is_none_or(|keys| keys.trim().is_empty()) {
        return Err(illegal("Required message key is missing"));
    }
    Ok(())
}

/// Whether this is a half message. Prepared messages without the property would stay invisible for ever, and rollback
/// records are no messages.
///
/// Clients before 4.6.1 keep the mark on messages they retry; those are ordinary messages.
fn is_half_message(
    broker: &Broker,
    header: &SendMessageRequestHeader<'_>,
    properties: &SendProperties<'_>,
) -> Result<bool, Refusal> {
    let is_retry = header.reconsume_times > 0 && properties.delay_level > 0;
    let is_half = properties.transaction_prepared && !is_retry;
    let is_rejected = is_half && broker.config.get().reject_transaction_message;
    let stays_hidden = match sys_flag::transaction_type(header.sys_flag) {
        sys_flag::TRANSACTION_ROLLBACK => true,
        sys_flag::TRANSACTION_PREPARED => !is_half,
        _ => false,
    };
    if is_rejected || stays_hidden {
        return Err(Refusal::new(
            response_code::NO_PERMISSION,
            format!(
                "the broker[{}] sending transaction message is forbidden",
                broker.config.get().broker_ip1
            ),
        ));
    }
    if is_half && goes_to_many_queues(broker, properties) {
        return Err(illegal(
            "a half message cannot be dispatched to further queues: they would show it",
        ));
    }
    Ok(is_half)
}

fn goes_to_many_queues(broker: &Broker, properties: &SendProperties<'_>) -> bool {
    let store_config = broker.store_config.get();
    store_config.enable_lmq
        && store_config.enable_multi_dispatch
        && (properties.lite_topic.is_some() || properties.has_multi_dispatch)
}

/// The light message queue of a message of a light topic.
fn lmq_of(broker: &Broker, topic: &str, properties: &SendProperties<'_>) -> Result<Option<String>, Refusal> {
    let Some(lite_topic) = properties.lite_topic else {
        return Ok(None);
    };
    let lmq = names::lmq_of_lite_topic(topic, lite_topic);
    if goes_to_many_queues(broker, properties) && !names::is_possible_lmq(&lmq) {
        return Err(illegal(format!(
            "the light topic {lite_topic} cannot have a queue: {lmq} is longer than {} bytes or has a slash or a comma",
            names::LMQ_MAX_BYTES
        )));
    }
    Ok(Some(lmq))
}

/// The slot in which a message with a delivery time waits; `None` when it goes to its topic at once.
///
/// What comes back from the timer has been dealt with. Reference: `HookUtils.handleScheduleMessage`.
pub(crate) fn timer_slot(broker: &Broker, properties: &SendProperties<'_>) -> Result<Option<i64>, Refusal> {
    let Some(timer) = properties.timer.filter(|_| !properties.timer_done) else {
        return Ok(None);
    };
    let deliver_at_ms = timer.deliver_at_ms(broker.clock.wall_ms());
    Ok(schedule(broker, deliver_at_ms, properties.cancels_timer)?)
}

/// The same for a message that was stored before.
fn recall_handle_of(broker: &Broker, topic: &str, sent: &Sent, uniq_key: Option<&str>) -> Option<String> {
    let out_ms = broker.store.with_record(sent.physical_offset, |record| {
        record.property(properties::name::TIMER_OUT_MS)?.parse().ok()
    });
    recall_handle(broker, topic, out_ms??, uniq_key)
}

/// What takes a waiting message back; messages of retry topics cannot be taken back.
///
/// Reference: `SendMessageProcessor.attachRecallHandle`.
fn recall_handle(broker: &Broker, topic: &str, out_ms: i64, uniq_key: Option<&str>) -> Option<String> {
    if names::group_of_retry_topic(topic).is_some() {
        return None;
    }
    Some(RecallHandle::encode(
        topic,
        &broker.identity.broker_name,
        out_ms,
        uniq_key?,
    ))
}

/// Inner batches need a queue type that does not exist here; a count without one is a mistake of the sender.
///
/// Reference: `HookUtils.checkInnerBatch`.
fn refuse_inner_batch(
    broker: &Broker,
    header: &SendMessageRequestHeader<'_>,
    properties: &SendProperties<'_>,
) -> Result<(), Refusal> {
    match (
        header.sys_flag & sys_flag::INNER_BATCH != 0,
        properties.has_inner_num,
    ) {
        (false, false) => Ok(()),
        (false, true) => Err(cannot_be(
            broker,
            "property INNER_NUM in a message that is no inner batch",
        )),
        (true, _) => Err(cannot_be(
            broker,
            "inner batches need a topic whose queue type is BatchCQ",
        )),
    }
}

/// What cannot be sent as a batch.
fn refuse_unbatchable(
    broker: &Broker,
    header: &SendMessageRequestHeader<'_>,
    properties: &SendProperties<'_>,
) -> Result<(), Refusal> {
    let topic_bytes = header.topic.len();
    if topic_bytes > names::TOPIC_MAX_LENGTH {
        return Err(illegal(format!("message topic length too long {topic_bytes}")));
    }
    if names::group_of_retry_topic(&header.topic).is_some() {
        return Err(illegal(format!(
            "batch request does not support retry group {}",
            header.topic
        )));
    }
    if sys_flag::transaction_type(header.sys_flag) != sys_flag::TRANSACTION_NONE
        || properties.transaction_prepared
    {
        return Err(cannot_be(broker, "batch request does not support transactions"));
    }
    if properties.delay_level > 0 || properties.timer.is_some() {
        return Err(cannot_be(
            broker,
            "batch request does not support delayed messages",
        ));
    }
    Ok(())
}

/// Every message can be found by a unique key, also one whose producer gave none.
fn add_missing_keys(broker: &Broker, inner: &mut InnerMessages<'_>) {
    for message in inner {
        if properties::get(&message.properties, properties::name::UNIQ_KEY).is_none() {
            let key = broker.unique_keys.next_key();
            properties::push(message.properties.to_mut(), properties::name::UNIQ_KEY, &key);
        }
    }
}

fn joined_ids(broker: &Broker, physical_offsets: &[PhysicalOffset]) -> String {
    let mut ids = String::with_capacity(physical_offsets.len() * 33);
    for offset in physical_offsets {
        if !ids.is_empty() {
            ids.push(',');
        }
        ids.push_str(&offset_msg_id(broker.identity.store_host, offset.0));
    }
    ids
}

/// The answer to a send that was stored. The Java client reads region and trace switch without asking whether they
/// are there.
pub(crate) fn send_answer(broker: &Broker, header: &SendMessageResponseHeader<'_>) -> Response {
    let config = broker.config.get();
    Response::success()
        .header(header)
        .field(properties::name::MSG_REGION, &config.region_id)
        .field(properties::name::TRACE_ON, config.trace_on)
}

/// Answers now, or with SYNC_FLUSH when everything before `end` is on disk. A timeout is told by its code alone.
pub(crate) fn answer_when_safe<H>(
    broker: &Broker,
    request: &Request<'_, H>,
    end: PhysicalOffset,
    no_wait: bool,
    answer: Response,
) -> Outcome {
    let store_config = broker.store_config.get();
    if no_wait || store_config.flush_disk_type != FlushDiskType::SyncFlush {
        return answer.into();
    }
    let responder = request.responder();
    let deadline_ms = broker.clock.wall_ms() + store_config.sync_flush_timeout;
    broker.store.on_flushed(
        end,
        deadline_ms,
        Box::new(move |flushed| {
            responder.respond(match flushed {
                Ok(()) => answer,
                // The message is stored and may yet reach the disk: the client takes this for a send status.
                Err(FlushError::Timeout) => Response {
                    code: response_code::FLUSH_DISK_TIMEOUT,
                    ..answer
                },
                Err(error) => flush_failed(&error).into(),
            });
        }),
    );
    Outcome::Parked
}

/// A message that the reference's store would refuse without saying why.
fn cannot_be(broker: &Broker, why: &str) -> Refusal {
    message_illegal(broker.store_config.get().max_message_size, why)
}

fn illegal(remark: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(response_code::MESSAGE_ILLEGAL, remark)
}

impl From<PropertyFault> for Refusal {
    fn from(fault: PropertyFault) -> Self {
        illegal(fault.to_string())
    }
}

impl From<BatchError> for Refusal {
    fn from(error: BatchError) -> Self {
        illegal(error.to_string())
    }
}

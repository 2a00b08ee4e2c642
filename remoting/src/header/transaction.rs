//! Transactions: ending them, and asking producers how they ended.

use std::borrow::Cow;

use crate::header;

header! {
    /// END_TRANSACTION: how the local transaction of a half message ended.
    ///
    /// Reference: EndTransactionRequestHeader
    pub struct EndTransactionRequestHeader<'a> {
        topic: Option<Cow<'a, str>> = "topic";
        producer_group: Cow<'a, str> = "producerGroup";
        /// Queue offset of the half message.
        tran_state_table_offset: i64 = "tranStateTableOffset";
        /// Where the half message is in the CommitLog.
        commit_log_offset: i64 = "commitLogOffset";
        /// 0 unknown, 8 commit, 12 rollback.
        commit_or_rollback: i32 = "commitOrRollback";
        /// Whether this answers CHECK_TRANSACTION_STATE.
        from_transaction_check: bool = "fromTransactionCheck", default false;
        msg_id: Option<Cow<'a, str>> = "msgId";
        transaction_id: Option<Cow<'a, str>> = "transactionId";
    }
}

header! {
    /// CHECK_TRANSACTION_STATE, broker to producer: how did it end?
    ///
    /// Reference: CheckTransactionStateRequestHeader
    pub struct CheckTransactionStateRequestHeader {
        topic: Option<String> = "topic";
        /// Queue offset of the half message.
        tran_state_table_offset: i64 = "tranStateTableOffset";
        /// Where the half message is in the CommitLog.
        commit_log_offset: i64 = "commitLogOffset";
        /// The unique key of the message.
        msg_id: Option<String> = "msgId";
        transaction_id: Option<String> = "transactionId";
        offset_msg_id: Option<String> = "offsetMsgId";
    }
}

header! {
    /// RESUME_CHECK_HALF_MESSAGE: asks again about a half message that was given up.
    ///
    /// Reference: ResumeCheckHalfMessageRequestHeader
    pub struct ResumeCheckHalfMessageRequestHeader {
        topic: Option<String> = "topic";
        msg_id: Option<String> = "msgId";
    }
}

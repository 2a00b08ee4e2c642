//! The two services of transactions: one that asks, one that writes op records.
//!
//! ```text
//!   transaction-check   every transactionCheckInterval     a round over the half queue, some half messages a tick
//!   transaction-ops     every transactionOpBatchInterval   and when many ends wait
//! ```
//!
//! Reference: `TransactionalMessageCheckService`, `TransactionalOpBatchService`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use common::clock::Now;
use common::properties::Live;
use common::service::{Next, Service};

use super::check::Round;
use super::transactions::Transactions;
use crate::config::BrokerConfig;

/// Asks producers about half messages that stay without an end.
pub struct TransactionCheck {
    transactions: Arc<Transactions>,
    config: Arc<Live<BrokerConfig>>,
    round: Option<Round>,
}

impl TransactionCheck {
    /// The first round begins after one interval.
    pub fn new(transactions: Arc<Transactions>, config: Arc<Live<BrokerConfig>>) -> Self {
        TransactionCheck {
            transactions,
            config,
            round: None,
        }
    }
}

impl Service for TransactionCheck {
    const NAME: &'static str = "transaction-check";

    fn interval(&self) -> Duration {
        duration(self.config.get().transaction_check_interval)
    }

    fn tick(&mut self, now: Now, stopping: bool) -> anyhow::Result<Next> {
        if stopping {
            self.transactions.save_progress()?;
            return Ok(Next::Idle);
        }
        let round = self
            .round
            .take()
            .unwrap_or_else(|| self.transactions.round(now.wall_ms));
        let checked = self.transactions.check_some(&round);
        if let Ok(false) = checked {
            self.round = Some(round);
            return Ok(Next::Again);
        }
        self.transactions
            .save_progress()
            .context("keep the progress of the transaction check")?;
        checked.map(|_| Next::Idle)
    }
}

/// Writes op records for half messages that have ended.
pub struct OpWriter {
    transactions: Arc<Transactions>,
    config: Arc<Live<BrokerConfig>>,
}

impl OpWriter {
    /// To be started with the waker that `transactions` has.
    pub fn new(transactions: Arc<Transactions>, config: Arc<Live<BrokerConfig>>) -> Self {
        OpWriter { transactions, config }
    }
}

impl Service for OpWriter {
    const NAME: &'static str = "transaction-ops";

    fn interval(&self) -> Duration {
        duration(self.config.get().transaction_op_batch_interval)
    }

    fn tick(&mut self, _now: Now, _stopping: bool) -> anyhow::Result<Next> {
        self.transactions
            .write_ops()
            .context("write which transactions have ended")?;
        Ok(Next::Idle)
    }
}

fn duration(ms: impl TryInto<u64>) -> Duration {
    Duration::from_millis(ms.try_into().unwrap_or(0).max(1))
}

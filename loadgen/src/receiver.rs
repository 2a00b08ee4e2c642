//! A consumer that is there when a message comes: one long-polling pull for each queue of a topic, on a connection of its own.

use anyhow::{Context, Result, ensure};
use remoting::codes::response_code;
use std::time::Duration;

use crate::records;
use crate::requests::{self, Destination, PULL_SUBSCRIPTION, PULL_SUSPEND};
use crate::sockets::Sockets;
use crate::target::Target;
use crate::template::{FIRST_OPAQUE, Stamp, Template};

const SUSPEND_MS: u64 = 15_000;
/// What was sent becomes visible when it is dispatched, soon after it is answered.
const UNTIL_VISIBLE: Duration = Duration::from_secs(1);

/// The pulls, whose opaques are their queues.
pub struct Receiver {
    connection: usize,
    pulls: Vec<Pull>,
}

struct Pull {
    template: Template,
    offset: i64,
}

impl Receiver {
    /// Sends a first message to each queue, so that the topic exists, and pulls from behind them on a connection where nothing is
    /// in flight.
    pub fn open(sockets: &mut Sockets, connection: usize, target: &Target) -> Result<Self> {
        let (dialect, topic) = (target.header, target.topic.as_str());
        let queues = 0..usize::from(target.queues);
        for queue in queues.clone() {
            let first = requests::send(Destination::of(target, topic, queue), b"first", 1);
            let answer = sockets.call(connection, first, "queueOffset")?;
            ensure!(
                answer.code == 0,
                "first message: {} {}",
                answer.code,
                answer.remark
            );
        }
        let client_id = format!("127.0.0.1@load{}", std::process::id());
        let answer = sockets.call(connection, requests::heartbeat(dialect, &client_id, topic), "")?;
        ensure!(answer.code == 0, "heartbeat: {} {}", answer.code, answer.remark);
        std::thread::sleep(UNTIL_VISIBLE);
        let sys_flag = PULL_SUSPEND | PULL_SUBSCRIPTION;
        let mut pulls = Vec::new();
        for queue in queues.clone() {
            let answer = sockets.call(connection, requests::max_offset(dialect, topic, queue), "offset")?;
            pulls.push(Pull {
                template: requests::pull(dialect, topic, queue, sys_flag, SUSPEND_MS),
                offset: answer
                    .number
                    .with_context(|| format!("no offset of queue {queue}"))?,
            });
        }
        let mut receiver = Self { connection, pulls };
        receiver.pull(sockets, queues.collect())?;
        Ok(receiver)
    }

    /// The connection whose answers [`Receiver::take`] takes.
    pub fn connection(&self) -> usize {
        self.connection
    }

    /// Hands over the body of each message that has come, and pulls again; returns how many there were.
    pub fn take(
        &mut self,
        sockets: &mut Sockets,
        mut handle: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<u64> {
        let mut received = 0;
        let mut answered = Vec::new();
        sockets.connection(self.connection).receive(|response| {
            let index = response.opaque.wrapping_sub(FIRST_OPAQUE) as usize;
            let pull = self
                .pulls
                .get_mut(index)
                .context("an answer to a pull nobody sent")?;
            match response.code {
                response_code::SUCCESS => {
                    received += records::for_each(response.body, |record| handle(records::body_of(record)?))?;
                }
                response_code::PULL_NOT_FOUND | response_code::PULL_RETRY_IMMEDIATELY => {}
                code => ensure!(false, "pull: {code} {}", response.remark()),
            }
            pull.offset = response.number("nextBeginOffset").context("no nextBeginOffset")?;
            answered.push(index);
            Ok(())
        })?;
        self.pull(sockets, answered)?;
        Ok(received)
    }

    fn pull(&mut self, sockets: &mut Sockets, queues: Vec<usize>) -> Result<()> {
        for queue in queues {
            let pull = &mut self.pulls[queue];
            let stamp = Stamp {
                queue_offset: pull.offset,
                ..Stamp::opaque(FIRST_OPAQUE + queue as u32)
            };
            sockets
                .connection(self.connection)
                .push(pull.template.stamp(stamp));
        }
        sockets.flush(self.connection)
    }
}

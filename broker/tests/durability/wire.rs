//! One connection to a broker, with blocking calls.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use remoting::codes::request_code;
use remoting::fields::{DecodeHeader, FieldError};
use remoting::frame::Frame;
use remoting::header::offset::{
    GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader, UpdateConsumerOffsetRequestHeader,
};
use remoting::header::pull::PullMessageRequestHeader;
use remoting::header::topic::CreateTopicRequestHeader;
use remoting::request::OutgoingRequest;

use super::GROUP;

const PATIENCE: Duration = Duration::from_secs(20);
const SUBSCRIPTION_IN_REQUEST: i32 = 4;

/// A connection; requests may be sent ahead of the answers to earlier ones.
pub struct Wire {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    next_opaque: i32,
}

impl Wire {
    /// Connects.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let writer = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(PATIENCE))?;
        writer.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            reader: BufReader::new(writer.try_clone()?),
            writer,
            next_opaque: 1,
        })
    }

    /// Sends a request and returns its opaque, by which the answer is known.
    pub fn send(&mut self, request: &OutgoingRequest) -> io::Result<i32> {
        let mut frame = Frame::of_request(request);
        frame.opaque = self.next_opaque;
        self.next_opaque += 1;
        let bytes = frame.encode().map_err(io::Error::other)?;
        self.writer.write_all(&bytes)?;
        Ok(frame.opaque)
    }

    /// The next answer, whichever request it is for.
    pub fn receive(&mut self) -> io::Result<Frame> {
        let mut length = [0; 4];
        self.reader.read_exact(&mut length)?;
        let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
        self.reader.read_exact(&mut bytes)?;
        Frame::decode(Bytes::from(bytes)).map_err(io::Error::other)
    }

    /// Sends a request and waits for its answer; no other may be outstanding.
    pub fn call(&mut self, request: &OutgoingRequest) -> io::Result<Frame> {
        let opaque = self.send(request)?;
        let answer = self.receive()?;
        assert_eq!(answer.opaque, opaque, "the answer to the only request");
        Ok(answer)
    }

    /// Makes a topic.
    pub fn create_topic(&mut self, topic: &str, queues: i32) {
        let header = CreateTopicRequestHeader {
            topic: topic.to_owned(),
            default_topic: Some("TBW102".to_owned()),
            read_queue_nums: queues,
            write_queue_nums: queues,
            perm: 6,
            topic_filter_type: "SINGLE_TAG".to_owned(),
            topic_sys_flag: 0,
            order: false,
            attributes: None,
            force: false,
        };
        let answer = self
            .call(&OutgoingRequest::new(request_code::UPDATE_AND_CREATE_TOPIC).header(&header))
            .expect("the broker answers");
        assert_eq!(answer.code, 0, "{:?}", answer.remark());
    }

    /// Asks for messages of a queue.
    pub fn pull(&mut self, topic: &str, queue_id: i32, offset: i64) -> io::Result<Frame> {
        let header = PullMessageRequestHeader {
            consumer_group: GROUP.into(),
            topic: topic.into(),
            lite_topic: None,
            queue_id,
            queue_offset: offset,
            max_msg_nums: 1000,
            sys_flag: SUBSCRIPTION_IN_REQUEST,
            commit_offset: 0,
            suspend_timeout_millis: 0,
            subscription: Some("*".into()),
            sub_version: 0,
            expression_type: Some("TAG".into()),
            max_msg_bytes: None,
            request_source: None,
            proxy_froward_client_id: None,
            logical: None,
        };
        self.call(&OutgoingRequest::new(request_code::PULL_MESSAGE).header(&header))
    }

    /// Commits where the group goes on; whether the broker took it.
    pub fn commit(&mut self, topic: &str, queue_id: i32, offset: i64) -> io::Result<bool> {
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: GROUP.into(),
            topic: topic.into(),
            queue_id,
            commit_offset: offset,
            logical: None,
        };
        let answer =
            self.call(&OutgoingRequest::new(request_code::UPDATE_CONSUMER_OFFSET).header(&header))?;
        Ok(answer.code == 0)
    }

    /// Where the group goes on; `None` when it never committed.
    pub fn committed(&mut self, topic: &str, queue_id: i32) -> Option<i64> {
        let header = QueryConsumerOffsetRequestHeader {
            consumer_group: GROUP.into(),
            topic: topic.into(),
            queue_id,
            set_zero_if_not_found: Some(false),
            logical: None,
        };
        let answer = self
            .call(&OutgoingRequest::new(request_code::QUERY_CONSUMER_OFFSET).header(&header))
            .expect("the broker answers");
        let header: Result<QueryConsumerOffsetResponseHeader, FieldError> =
            QueryConsumerOffsetResponseHeader::decode(answer.fields());
        (answer.code == 0).then(|| header.expect("an answer with an offset").offset)
    }

    /// The end of a queue.
    pub fn max_offset(&mut self, topic: &str, queue_id: i32) -> i64 {
        let header = GetMaxOffsetRequestHeader {
            topic: topic.into(),
            queue_id,
            committed: true,
            logical: None,
        };
        let answer = self
            .call(&OutgoingRequest::new(request_code::GET_MAX_OFFSET).header(&header))
            .expect("the broker answers");
        assert_eq!(answer.code, 0, "{:?}", answer.remark());
        GetMaxOffsetResponseHeader::decode(answer.fields())
            .expect("an answer with an offset")
            .offset
    }
}

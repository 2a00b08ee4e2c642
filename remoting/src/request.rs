//! Request and Response: what a handler gets and what it gives back.
//!
//! ```text
//!   Frame ─> Call ─> Request<H> ─> handler ─> Outcome::Reply(Response)      written with the turn
//!                                       ├──> Outcome::Parked                someone holds a Responder or ParkedRequest
//!                                       ├──> Outcome::Silent                no answer, ever
//!                                       ├──> Outcome::MoveToBlocking        run me again where I may block
//!                                       └──> Err(Refusal)                   code and remark, written with the turn
//! ```
//!
//! A request that is answered later is held as a [`Responder`] (only the answer is missing) or as a [`ParkedRequest`]
//! (to be handled again). Both answer SYSTEM_ERROR when dropped unused, so none is ever forgotten.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::codes::response_code;
use crate::connection::Connection;
use crate::fields::{EncodeHeader, FieldBuffer, FieldError, Fields};
use crate::frame::{Frame, SerializeType};
use crate::latency::{self, RpcKind};

/// A request on its way to a handler.
#[derive(Clone, Debug)]
pub struct Call {
    /// The request.
    pub frame: Frame,
    /// Where it came from.
    pub connection: Arc<Connection>,
    /// Whether it was parked before: a resumed request is handled again but must not park a second time.
    pub resumed: bool,
    /// Whether the handler runs where it may block.
    pub may_block: bool,
    /// When it arrived, if latencies are measured.
    pub received: Option<Instant>,
}

impl Call {
    /// A request that has just arrived.
    pub fn new(frame: Frame, connection: Arc<Connection>) -> Self {
        Call {
            frame,
            connection,
            resumed: false,
            may_block: false,
            received: latency::arrival(),
        }
    }

    /// The right to answer this request later.
    pub fn responder(&self) -> Responder {
        Responder::new(self)
    }

    /// The request, to be handled again later.
    pub fn park(&self) -> ParkedRequest {
        let call = Call {
            frame: self.frame.detached(),
            ..self.clone()
        };
        ParkedRequest {
            responder: call.responder(),
            call,
        }
    }
}

macro_rules! request_accessors {
    () => {
        /// The body.
        pub fn body(&self) -> &Bytes {
            &self.call.frame.body
        }

        /// The request code: one handler may serve several.
        pub fn code(&self) -> i32 {
            self.call.frame.code
        }

        /// The number that pairs request and answer.
        pub fn opaque(&self) -> i32 {
            self.call.frame.opaque
        }

        /// The sender's protocol version.
        pub fn version(&self) -> i32 {
            self.call.frame.version
        }

        /// All custom fields, also those the header does not name.
        pub fn fields(&self) -> Fields<'_> {
            self.call.frame.fields()
        }

        /// Where it came from.
        pub fn connection(&self) -> &Arc<Connection> {
            &self.call.connection
        }

        /// Whether nobody waits for an answer.
        pub fn is_oneway(&self) -> bool {
            self.call.frame.is_oneway()
        }

        /// Whether it was parked before and must not park again.
        pub fn is_resumed(&self) -> bool {
            self.call.resumed
        }

        /// Whether the handler runs where it may block.
        pub fn may_block(&self) -> bool {
            self.call.may_block
        }

        /// The right to answer later; return [`Outcome::Parked`] with it.
        pub fn responder(&self) -> Responder {
            self.call.responder()
        }

        /// The request, to be handled again later; return [`Outcome::Parked`] with it.
        pub fn park(&self) -> ParkedRequest {
            self.call.park()
        }
    };
}

/// A request with its header, for the lanes inline and blocking.
#[derive(Debug)]
pub struct Request<'a, H> {
    /// The header.
    pub header: H,
    /// The rest.
    pub call: &'a Call,
}

impl<'a, H> Request<'a, H> {
    request_accessors!();
}

/// A request with its header, for the lane task.
#[derive(Debug)]
pub struct OwnedRequest<H> {
    /// The header; it owns its text.
    pub header: H,
    /// The rest.
    pub call: Call,
}

impl<H> OwnedRequest<H> {
    request_accessors!();
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The response code.
    pub code: i32,
    /// Human text; clients ignore it on success.
    pub remark: Option<Cow<'static, str>>,
    /// The custom header.
    pub fields: FieldBuffer,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// Code SUCCESS and nothing else.
    pub fn success() -> Self {
        Self::new(response_code::SUCCESS)
    }

    /// A code and nothing else.
    pub fn new(code: i32) -> Self {
        Response {
            code,
            remark: None,
            fields: FieldBuffer::new(),
            body: Bytes::new(),
        }
    }

    /// Sets the remark.
    pub fn remark(mut self, remark: impl Into<Cow<'static, str>>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// Appends the fields of a header. The answer carries a field map even if the header is empty.
    pub fn header(mut self, header: &impl EncodeHeader) -> Self {
        self.fields.mark_present();
        header.encode(&mut self.fields);
        self
    }

    /// Appends a field.
    pub fn field(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.fields.push(name, value);
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// What became of a request.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every outcome is a reply; a box would cost an allocation each"
)]
pub enum Outcome {
    /// Answer now.
    Reply(Response),
    /// A [`Responder`] or [`ParkedRequest`] of it is held elsewhere.
    Parked,
    /// No answer, ever.
    Silent,
    /// From the lane inline only: this one needs disk; run the same handler again in the lane blocking, where
    /// `may_block` is true.
    MoveToBlocking,
}

impl From<Response> for Outcome {
    fn from(response: Response) -> Self {
        Outcome::Reply(response)
    }
}

/// A request turned down: the response code and the remark of the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("code {code}: {remark}")]
pub struct Refusal {
    /// The response code.
    pub code: i32,
    /// Why.
    pub remark: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with this code and remark.
    pub fn new(code: i32, remark: impl Into<Cow<'static, str>>) -> Self {
        Refusal {
            code,
            remark: remark.into(),
        }
    }

    /// SYSTEM_ERROR with this remark.
    pub fn system_error(remark: impl Into<Cow<'static, str>>) -> Self {
        Self::new(response_code::SYSTEM_ERROR, remark)
    }
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Self {
        Refusal::system_error(error.to_string())
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        Response::new(refusal.code).remark(refusal.remark)
    }
}

/// What a handler returns.
pub type Handled = Result<Outcome, Refusal>;

/// The right, and the duty, to answer one request. Usable from any thread.
#[derive(Debug)]
pub struct Responder {
    connection: Arc<Connection>,
    opaque: i32,
    serialize: SerializeType,
    oneway: bool,
    answered: bool,
    code: i32,
    resumed: bool,
    received: Option<Instant>,
}

impl Responder {
    fn new(call: &Call) -> Self {
        call.connection.owe_answer();
        Responder {
            connection: call.connection.clone(),
            opaque: call.frame.opaque,
            serialize: call.frame.serialize,
            oneway: call.frame.is_oneway(),
            answered: false,
            code: call.frame.code,
            resumed: call.resumed,
            received: call.received,
        }
    }

    /// The connection the answer goes to.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Answers. A one-way request is never answered, so then this writes nothing.
    pub fn respond(mut self, response: Response) {
        self.answer(response);
    }

    /// Answers with what a handler returned, if that is an answer.
    pub(crate) fn finish(mut self, handled: Handled) {
        match handled {
            Ok(Outcome::Reply(response)) => self.answer(response),
            Ok(Outcome::Silent) if self.oneway => self.answer(Response::success()),
            Ok(Outcome::Parked | Outcome::Silent) => self.give_up(),
            Ok(Outcome::MoveToBlocking) => {
                self.answer(
                    Refusal::system_error("handler of a blocking lane asked for the blocking lane").into(),
                );
            }
            Err(refusal) => self.answer(refusal.into()),
        }
    }

    fn answer(&mut self, response: Response) {
        self.record_latency(response.code);
        if self.oneway {
            self.give_up();
        } else {
            self.answered = true;
            self.connection
                .push_owed_answer(self.opaque, self.serialize, &response);
        }
    }

    fn record_latency(&self, response_code: i32) {
        if let (Some(received), Some(latencies)) = (self.received, self.connection.latencies()) {
            let kind = RpcKind::new(self.code, response_code, self.resumed, self.oneway);
            latencies.record(kind, received.elapsed());
        }
    }

    /// Ends the duty without an answer, because there is none or because it takes another way.
    fn give_up(&mut self) {
        self.answered = true;
        self.connection.forget_owed_answer();
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if !self.answered {
            self.answer(Refusal::system_error("request was dropped without an answer").into());
        }
    }
}

/// A request that waits to be handled again. It has memory of its own: the read buffer is not kept.
#[derive(Debug)]
pub struct ParkedRequest {
    call: Call,
    responder: Responder,
}

impl ParkedRequest {
    /// The request.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Where it came from.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.call.connection
    }

    /// Has the request handled again, marked as resumed, by the task of its connection.
    pub fn resume(self) {
        let ParkedRequest {
            mut call,
            mut responder,
        } = self;
        call.resumed = true;
        responder.connection.push_resumed(call);
        responder.give_up();
    }

    /// Keeps only the right to answer.
    pub fn into_responder(self) -> Responder {
        self.responder
    }

    /// Forgets it without an answer: for a handler that could not leave it with anyone and refuses instead.
    pub fn withdraw(mut self) {
        self.responder.give_up();
    }
}

/// A request we send to a peer.
#[derive(Clone, Debug)]
pub struct OutgoingRequest {
    /// The request code.
    pub code: i32,
    /// The custom header.
    pub fields: FieldBuffer,
    /// The body.
    pub body: Bytes,
}

impl OutgoingRequest {
    /// A code and nothing else.
    pub fn new(code: i32) -> Self {
        OutgoingRequest {
            code,
            fields: FieldBuffer::new(),
            body: Bytes::new(),
        }
    }

    /// Appends the fields of a header.
    pub fn header(mut self, header: &impl EncodeHeader) -> Self {
        self.fields.mark_present();
        header.encode(&mut self.fields);
        self
    }

    /// Appends a field.
    pub fn field(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.fields.push(name, value);
        self
    }

    /// Appends fields taken from elsewhere; null values are left out.
    pub fn fields(mut self, fields: Fields<'_>) -> Self {
        for (name, value) in fields {
            if let Some(value) = value {
                self.fields.push_str(&name, &value);
            }
        }
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

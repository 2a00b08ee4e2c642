//! Routes: the table from request code to handler.
//!
//! `routes!` turns a table of code, header, handler and lane into one `match`. The header column is for the reader; the
//! compiler holds it against the handler. A lane says where a handler may run:
//!
//! | lane       | handler                                               | may                                   |
//! | ---------- | ----------------------------------------------------- | ------------------------------------- |
//! | `inline`   | `fn(&S, Request<'_, H>) -> Handled`                   | use memory, microseconds              |
//! | `blocking` | `fn(&S, Request<'_, H>) -> Handled`                   | wait for disk                         |
//! | `task`     | `async fn(Arc<S>, OwnedRequest<H>) -> Handled`        | wait for another process              |

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use crate::codes::{ALL_REQUESTS, request_name, response_code};
use crate::connection::Connection;
use crate::fields::DecodeHeader;
use crate::request::{Call, Handled, OwnedRequest, Refusal, Request};

/// Where a handler may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// On the task of the connection.
    Inline,
    /// On a bounded pool of threads.
    Blocking,
    /// As a task of its own.
    Task,
}

/// What the lane `task` runs.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Handled> + Send>>;

/// A handler with its lane.
#[derive(Debug)]
pub enum Handler<S> {
    /// Runs on the task of the connection.
    Inline(fn(&S, &Call) -> Handled),
    /// Runs on a bounded pool of threads.
    Blocking(fn(&S, &Call) -> Handled),
    /// Runs as a task of its own.
    Task(fn(Arc<S>, Call) -> HandlerFuture),
}

impl<S> Handler<S> {
    /// The lane.
    pub fn lane(&self) -> Lane {
        match self {
            Handler::Inline(_) => Lane::Inline,
            Handler::Blocking(_) => Lane::Blocking,
            Handler::Task(_) => Lane::Task,
        }
    }
}

/// State with a table of handlers; `routes!` implements it.
pub trait Routes: Send + Sync + Sized + 'static {
    /// The codes that have a handler.
    const ROUTED: &'static [i32];
    /// The codes named as unsupported: answered as an unknown code is.
    const UNSUPPORTED: &'static [i32];
    /// The codes that the fast port answers as if they were unknown.
    const FAST_PORT_REFUSES: &'static [i32];

    /// The handler of a code.
    fn handler(code: i32) -> Option<Handler<Self>>;
}

/// State that wants to know about its connections.
pub trait ConnectionEvents: Send + Sync + 'static {
    /// A peer connected.
    fn connection_opened(&self, _connection: &Arc<Connection>) {}

    /// A connection ended, whoever closed it. Called once, on its task.
    fn connection_closed(&self, _connection: &Arc<Connection>) {}
}

/// The answer to a code without handler.
pub fn unsupported(code: i32) -> Refusal {
    Refusal::new(
        response_code::REQUEST_CODE_NOT_SUPPORTED,
        format!(" request type {code} not supported"),
    )
}

/// Handles a call here and now, whatever its lane: how tests and the simulator drive a server without sockets. A call of
/// the lane `task` is polled on the current thread until done and needs nothing from a runtime, or fails.
pub fn handle<S: Routes>(state: &Arc<S>, call: &Call) -> Handled {
    match S::handler(call.frame.code) {
        None => Err(unsupported(call.frame.code)),
        Some(Handler::Inline(handler)) => match handler(state, call)? {
            crate::request::Outcome::MoveToBlocking => handler(
                state,
                &Call {
                    may_block: true,
                    ..call.clone()
                },
            ),
            outcome => Ok(outcome),
        },
        Some(Handler::Blocking(handler)) => handler(
            state,
            &Call {
                may_block: true,
                ..call.clone()
            },
        ),
        Some(Handler::Task(handler)) => {
            let mut future = handler(state.clone(), call.clone());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            match future.as_mut().poll(&mut context) {
                std::task::Poll::Ready(handled) => handled,
                std::task::Poll::Pending => Err(Refusal::system_error("handler waits for another process")),
            }
        }
    }
}

/// Fails unless every request code is either routed or named as unsupported, and none is both. For the tests of tables.
pub fn assert_every_code_listed(routed: &[i32], unsupported: &[i32]) {
    let mut listed = BTreeSet::new();
    for code in routed.iter().chain(unsupported) {
        assert!(
            listed.insert(*code),
            "{code} ({}) is listed twice",
            request_name(*code).unwrap_or("?")
        );
    }
    let forgotten: Vec<_> = ALL_REQUESTS
        .iter()
        .filter(|(_, code)| !listed.contains(code))
        .collect();
    assert!(
        forgotten.is_empty(),
        "neither routed nor named as unsupported: {forgotten:?}"
    );
}

/// Runs a handler of the lanes inline and blocking; `routes!` calls it.
#[doc(hidden)]
pub fn call_with_header<'a, S, H, F>(state: &S, call: &'a Call, handler: F) -> Handled
where
    H: DecodeHeader<'a>,
    F: FnOnce(&S, Request<'a, H>) -> Handled,
{
    let header = H::decode(call.frame.fields())?;
    handler(state, Request { header, call })
}

/// Starts a handler of the lane task; `routes!` calls it.
#[doc(hidden)]
pub fn task_with_header<S, H, F, R>(state: Arc<S>, call: Call, handler: F) -> HandlerFuture
where
    H: for<'a> DecodeHeader<'a> + 'static,
    F: FnOnce(Arc<S>, OwnedRequest<H>) -> R,
    R: Future<Output = Handled> + Send + 'static,
{
    match H::decode(call.frame.fields()) {
        Ok(header) => Box::pin(handler(state, OwnedRequest { header, call })),
        Err(error) => Box::pin(std::future::ready(Err(error.into()))),
    }
}

/// Declares the table of a server.
///
/// ```
/// use std::sync::Arc;
/// use remoting::fields::NoHeader;
/// use remoting::request::{Handled, OwnedRequest, Request, Response};
/// use remoting::routes;
///
/// struct Clock;
///
/// fn now(_: &Clock, _: Request<'_, NoHeader>) -> Handled {
///     Ok(Response::success().into())
/// }
///
/// async fn ask(_: Arc<Clock>, _: OwnedRequest<NoHeader>) -> Handled {
///     Ok(Response::success().into())
/// }
///
/// routes! { Clock;
///     // code                     header      handler   lane
///     GET_BROKER_RUNTIME_INFO  => NoHeader,   now,      inline;
///     CLEAN_UNUSED_TOPIC       => NoHeader,   now,      blocking;
///     GET_CONSUMER_RUNNING_INFO => NoHeader,  ask,      task;
///     unsupported: SUSPEND_CONSUMER, RESUME_CONSUMER;
///     fast_port_refuses: CLEAN_UNUSED_TOPIC;
/// }
/// ```
///
/// Codes are names of [`request_code`](crate::codes::request_code). `unsupported` and `fast_port_refuses` may be left
/// out.
#[macro_export]
macro_rules! routes {
    // A row and `unsupported:` both start with a name, which one repetition cannot tell apart, so rows are gathered first;
    // eight at a time, because the compiler bounds the depth of a macro.
    (@gather $state:ty; [$($rows:tt)*]
        $code1:ident => $header1:ty, $handler1:path, $lane1:ident;
        $code2:ident => $header2:ty, $handler2:path, $lane2:ident;
        $code3:ident => $header3:ty, $handler3:path, $lane3:ident;
        $code4:ident => $header4:ty, $handler4:path, $lane4:ident;
        $code5:ident => $header5:ty, $handler5:path, $lane5:ident;
        $code6:ident => $header6:ty, $handler6:path, $lane6:ident;
        $code7:ident => $header7:ty, $handler7:path, $lane7:ident;
        $code8:ident => $header8:ty, $handler8:path, $lane8:ident;
        $($rest:tt)*
    ) => {
        $crate::routes! { @gather $state; [$($rows)*
            $code1 => $header1, $handler1, $lane1;
            $code2 => $header2, $handler2, $lane2;
            $code3 => $header3, $handler3, $lane3;
            $code4 => $header4, $handler4, $lane4;
            $code5 => $header5, $handler5, $lane5;
            $code6 => $header6, $handler6, $lane6;
            $code7 => $header7, $handler7, $lane7;
            $code8 => $header8, $handler8, $lane8;
        ] $($rest)* }
    };
    (@gather $state:ty; [$($rows:tt)*] $code:ident => $header:ty, $handler:path, $lane:ident; $($rest:tt)*) => {
        $crate::routes! { @gather $state; [$($rows)* $code => $header, $handler, $lane;] $($rest)* }
    };
    (@gather $state:ty; [$($code:ident => $header:ty, $handler:path, $lane:ident;)*]
        $(unsupported: $($unsupported:ident),* $(,)?;)?
        $(fast_port_refuses: $($refused:ident),* $(,)?;)?
    ) => {
        impl $crate::routes::Routes for $state {
            const ROUTED: &'static [i32] = &[$($crate::codes::request_code::$code),*];
            const UNSUPPORTED: &'static [i32] = &[$($($crate::codes::request_code::$unsupported),*)?];
            const FAST_PORT_REFUSES: &'static [i32] = &[$($($crate::codes::request_code::$refused),*)?];

            fn handler(code: i32) -> ::std::option::Option<$crate::routes::Handler<Self>> {
                ::std::option::Option::Some(match code {
                    $($crate::codes::request_code::$code => $crate::routes!(@$lane $state, $header, $handler),)*
                    _ => return ::std::option::Option::None,
                })
            }
        }
    };
    (@inline $state:ty, $header:ty, $handler:path) => {
        $crate::routes::Handler::Inline(|state, call| {
            $crate::routes::call_with_header::<$state, $header, _>(state, call, $handler)
        })
    };
    (@blocking $state:ty, $header:ty, $handler:path) => {
        $crate::routes::Handler::Blocking(|state, call| {
            $crate::routes::call_with_header::<$state, $header, _>(state, call, $handler)
        })
    };
    (@task $state:ty, $header:ty, $handler:path) => {
        $crate::routes::Handler::Task(|state, call| {
            $crate::routes::task_with_header::<$state, $header, _, _>(state, call, $handler)
        })
    };
    ($state:ty; $($table:tt)*) => {
        $crate::routes! { @gather $state; [] $($table)* }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::NoHeader;
    use crate::frame::Frame;
    use crate::header;
    use crate::request::{Outcome, OutgoingRequest, Response};
    use std::borrow::Cow;

    struct Server;

    header! {
        /// Borrows from the frame.
        struct Named<'a> {
            name: Cow<'a, str> = "name";
        }
    }

    header! {
        /// Owns its text.
        struct OwnedNamed {
            name: String = "name";
        }
    }

    fn echo(_: &Server, request: Request<'_, Named<'_>>) -> Handled {
        Ok(Response::success()
            .remark(request.header.name.into_owned())
            .into())
    }

    fn nothing(_: &Server, _: Request<'_, NoHeader>) -> Handled {
        Ok(Outcome::Silent)
    }

    fn cold(_: &Server, request: Request<'_, NoHeader>) -> Handled {
        if !request.may_block() {
            return Ok(Outcome::MoveToBlocking);
        }
        Ok(Response::success().into())
    }

    async fn ask(_: Arc<Server>, request: OwnedRequest<OwnedNamed>) -> Handled {
        Ok(Response::success().remark(request.header.name).into())
    }

    routes! { Server;
        SEND_MESSAGE           => Named,      echo,    inline;
        SEND_MESSAGE_V2        => Named,      echo,    inline;
        PULL_MESSAGE           => NoHeader,   cold,    inline;
        HEART_BEAT             => NoHeader,   nothing, inline;
        UNREGISTER_CLIENT      => NoHeader,   nothing, inline;
        GET_MAX_OFFSET         => NoHeader,   nothing, inline;
        GET_MIN_OFFSET         => NoHeader,   nothing, inline;
        LOCK_BATCH_MQ          => NoHeader,   nothing, inline;
        UNLOCK_BATCH_MQ        => NoHeader,   nothing, inline;
        CLEAN_UNUSED_TOPIC     => NoHeader,   cold,    blocking;
        GET_CONSUMER_RUNNING_INFO => OwnedNamed, ask,  task;
        unsupported: SUSPEND_CONSUMER, RESUME_CONSUMER;
        fast_port_refuses: PULL_MESSAGE;
    }

    fn handle_request(request: OutgoingRequest) -> Handled {
        let connection = Connection::detached("127.0.0.1:1".parse().unwrap());
        handle(
            &Arc::new(Server),
            &Call::new(Frame::of_request(&request), connection),
        )
    }

    fn remark_of(handled: Handled) -> String {
        match handled.unwrap() {
            Outcome::Reply(response) => response.remark.unwrap_or_default().into_owned(),
            other => panic!("no reply but {other:?}"),
        }
    }

    #[test]
    fn a_row_is_found_by_its_code_and_runs_in_its_lane() {
        assert_eq!(Server::handler(310).unwrap().lane(), Lane::Inline);
        assert_eq!(
            Server::handler(316).map(|handler| handler.lane()),
            Some(Lane::Blocking)
        );
        assert_eq!(Server::handler(307).unwrap().lane(), Lane::Task);
        assert!(Server::handler(209).is_none());
        assert_eq!(Server::ROUTED.len(), 11);
        assert_eq!(Server::UNSUPPORTED, [209, 210]);
        assert_eq!(Server::FAST_PORT_REFUSES, [11]);
    }

    #[test]
    fn handlers_get_their_header_whatever_the_lane() {
        for code in [10, 310, 307] {
            let handled = handle_request(OutgoingRequest::new(code).field("name", "Ada"));
            assert_eq!(remark_of(handled), "Ada");
        }
    }

    #[test]
    fn a_header_that_does_not_decode_is_refused_with_system_error() {
        for code in [10, 307] {
            let refusal = handle_request(OutgoingRequest::new(code)).unwrap_err();
            assert_eq!(refusal, Refusal::new(1, "field name is missing"));
        }
    }

    #[test]
    fn an_unlisted_code_is_refused_as_java_does() {
        let refusal = handle_request(OutgoingRequest::new(9999)).unwrap_err();
        assert_eq!(refusal, Refusal::new(3, " request type 9999 not supported"));
    }

    #[test]
    fn a_handler_may_ask_to_run_where_it_can_block() {
        assert_eq!(remark_of(handle_request(OutgoingRequest::new(11))), "");
    }

    #[test]
    #[should_panic(expected = "neither routed nor named")]
    fn a_forgotten_code_fails_the_table_test() {
        assert_every_code_listed(Server::ROUTED, Server::UNSUPPORTED);
    }

    #[test]
    fn a_table_with_every_code_passes_the_table_test() {
        let all: Vec<i32> = ALL_REQUESTS.iter().map(|(_, code)| *code).collect();
        assert_every_code_listed(&all[..100], &all[100..]);
    }
}

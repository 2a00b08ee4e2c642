//! HttpPort: `GET /metrics` for Prometheus and `GET /healthz` for probes.
//!
//! ```text
//!   bind ──> 503 "starting: .."  ──serve(source)──> health and figures of the source  ──stopping()──> 503 "stopping"
//! ```
//!
//! The port opens before a store is recovered, so that a probe can tell a long recovery from a dead process. Hyper speaks
//! HTTP; this module only decides what to answer. Bounded: [`CONNECTIONS_MAX`] connections, each for one request and at most
//! [`CONNECTION_LIFE`]; one scrape at a time, rendered on a blocking thread and handed over in chunks.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::exposition::Exposition;

/// Connections at the same time; one more is closed at once.
pub const CONNECTIONS_MAX: usize = 32;
/// How long a connection may take for its one request and answer.
pub const CONNECTION_LIFE: Duration = Duration::from_secs(30);
/// Of a request's head.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// Chunks that wait for a slow reader.
const CHUNKS_WAITING: usize = 4;
/// After an error of the listener.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server that can be asked how it is.
pub trait Source: Send + Sync + 'static {
    /// Whether it does what it is there for, or why not. Called on a thread that must not block.
    fn health(&self) -> Result<(), String>;

    /// Its figures. Called on a thread that may block, one call at a time.
    fn write_metrics(&self, out: &mut Exposition<'_>);
}

/// See the [module](self).
#[derive(Debug)]
pub struct HttpPort {
    local_addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
    scrapes: Arc<Semaphore>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

enum State {
    Starting(&'static str),
    Serving(Arc<dyn Source>),
    Stopping,
}

impl HttpPort {
    /// Listens and answers from now on, on the current runtime; `doing` says what the start is busy with.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(addr: SocketAddr, doing: &'static str) -> io::Result<HttpPort> {
        let listener = TcpListener::bind(addr).await?;
        let local_addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State::Starting(doing)),
            scrapes: Arc::new(Semaphore::new(1)),
        });
        let acceptor = tokio::spawn(accept_forever(listener, Arc::clone(&shared)));
        tracing::info!(%local_addr, "/metrics and /healthz");
        Ok(HttpPort {
            local_addr,
            shared,
            acceptor,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The start is over: `source` answers.
    pub fn serve(&self, source: Arc<dyn Source>) {
        self.shared.set(State::Serving(source));
    }

    /// The stop has begun: the source is let go.
    pub fn stopping(&self) {
        self.shared.set(State::Stopping);
    }
}

impl Drop for HttpPort {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl Shared {
    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Who answers, or why nobody does.
    fn source(&self) -> Result<Arc<dyn Source>, String> {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Starting(doing) => Err(format!("starting: {doing}")),
            State::Serving(source) => Ok(Arc::clone(source)),
            State::Stopping => Err("stopping".to_owned()),
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Answer> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/healthz" => match self.source().and_then(|source| source.health()) {
                Ok(()) => text(StatusCode::OK, "ok"),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
            },
            "/metrics" => match self.source() {
                Ok(source) => self.scrape(source),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
            },
            _ => text(StatusCode::NOT_FOUND, "there are /metrics and /healthz"),
        }
    }

    fn scrape(&self, source: Arc<dyn Source>) -> Response<Answer> {
        let Ok(permit) = Arc::clone(&self.scrapes).try_acquire_owned() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "another scrape is running");
        };
        let (sender, chunks) = mpsc::channel::<Bytes>(CHUNKS_WAITING);
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            // The receiver goes with its connection, which has a limited life: this ends.
            let mut sink = |chunk: String| sender.blocking_send(Bytes::from(chunk)).is_ok();
            let mut out = Exposition::new(&mut sink);
            source.write_metrics(&mut out);
            let dropped = out.finish();
            if dropped > 0 {
                tracing::warn!(
                    dropped,
                    "metrics: series beyond metricsOtelCardinalityLimit were left out"
                );
            }
        });
        let mut response = Response::new(Answer::Chunks(chunks));
        response.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
        );
        response
    }
}

async fn accept_forever(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::debug!(%error, "accept a connection for /metrics");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let _place = place;
                serve_connection(socket, shared).await;
            });
        }
    }
}

async fn serve_connection(socket: TcpStream, shared: Arc<Shared>) {
    let answer = service_fn(|request: Request<Incoming>| {
        let response = shared.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        // The life of the whole connection is limited.
        .header_read_timeout(None)
        .max_buf_size(HEAD_MAX_BYTES)
        .serve_connection(TokioIo::new(socket), answer);
    // Whether the peer spoke HTTP, or was in time, is its own affair.
    let _ = tokio::time::timeout(CONNECTION_LIFE, connection).await;
}

fn text(status: StatusCode, text: &str) -> Response<Answer> {
    let mut response = Response::new(Answer::Text(Some(Bytes::from(format!("{text}\n")))));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// The body of an answer.
enum Answer {
    Text(Option<Bytes>),
    Chunks(mpsc::Receiver<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = |bytes| Ok(Frame::data(bytes));
        match self.get_mut() {
            Answer::Text(text) => Poll::Ready(text.take().map(frame)),
            Answer::Chunks(chunks) => chunks.poll_recv(context).map(|chunk| chunk.map(frame)),
        }
    }
}

//! The remoting protocol: frames, headers, bodies, server and client.
//!
//! ```text
//!   socket ─> Frame ─> Call ─> routes! table ─> Request<H> ─> handler ─> Outcome ─> WriteQueue ─> socket
//!             frame.rs         routes.rs        request.rs                          write_queue.rs
//!               │
//!               └ header_json.rs, header_rocketmq.rs: the two header dialects; both yield fields.rs
//! ```
//!
//! | file            | concept                                                                   |
//! | --------------- | ------------------------------------------------------------------------- |
//! | `codes.rs`      | every request and response code                                           |
//! | `config.rs`     | the keys about sockets, shared by all servers                              |
//! | `frame.rs`      | one request or answer as it travels                                       |
//! | `fields.rs`     | the custom header; `header!` declares one                                 |
//! | `header/`       | the headers of the protocol                                               |
//! | `body/`         | the bodies of the protocol, and the JSON dialect they need                |
//! | `request.rs`    | what a handler gets and gives back                                        |
//! | `routes.rs`     | `routes!`: from code to handler                                           |
//! | `connection.rs` | what anyone may hold of a peer                                            |
//! | `socket.rs`     | the one task that reads and writes a socket                               |
//! | `detached.rs`   | the same task over memory instead of a socket, for the simulator          |
//! | `write_queue.rs`| frames on their way to a socket                                           |
//! | `notices.rs`    | one-way requests of which one that waits is as good as many               |
//! | `backlog.rs`    | what all connections together keep in memory while they wait for peers    |
//! | `lanes.rs`      | where calls run that may not run on the task of their connection          |
//! | `latency.rs`    | how long requests took, when that is measured                             |
//! | `hub.rs`        | what all connections of a server or client share; the sweep               |
//! | `server.rs`     | listen, accept, stop                                                      |
//! | `client.rs`     | requests to other servers                                                 |
#![forbid(unsafe_code)]

pub mod backlog;
pub mod body;
pub mod client;
pub mod codes;
pub mod config;
pub mod connection;
pub mod detached;
pub mod fields;
pub mod frame;
pub mod header;
mod header_json;
mod header_rocketmq;
mod hub;
mod lanes;
pub mod latency;
mod notices;
pub mod request;
pub mod routes;
pub mod server;
mod socket;
mod write_queue;

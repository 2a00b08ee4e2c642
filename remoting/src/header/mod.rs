//! Request and response headers: the named text fields of a frame as structs, one file per subject.
//!
//! Each is one [`header!`](crate::header) table under the name of its Java class. Rules that hold for all of them:
//!
//! - A field is named as on the wire, in snake case; `bname` is `broker_name` and `lo` is `logical`. Times are milliseconds.
//! - A field the handler cannot do without is required, and its absence refuses the request. What Java marks required but
//!   a handler can do without has a default here: other-language clients leave such fields out.
//! - Headers of the paths every message takes borrow from the frame, the others own their text.
//! - The fields every Java header inherits (`ns`, `nsd`, `oway`, `bname`) are declared only where a handler reads them.
//! - Requests and answers not listed here have no header: [`NoHeader`](crate::fields::NoHeader).

pub mod auth;
pub mod broker;
pub mod client;
pub mod group;
pub mod lite;
pub mod message;
pub mod namesrv;
pub mod offset;
pub mod pop;
pub mod pull;
pub mod send;
pub mod topic;
pub mod transaction;

pub use auth::*;
pub use broker::*;
pub use client::*;
pub use group::*;
pub use lite::*;
pub use message::*;
pub use namesrv::*;
pub use offset::*;
pub use pop::*;
pub use pull::*;
pub use send::*;
pub use topic::*;
pub use transaction::*;

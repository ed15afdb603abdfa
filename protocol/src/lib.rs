//! Kafka's wire format, and nothing else: no logs, no sockets, no broker.
//!
//! A message is declared once, for all its versions (see [`message`]), and can then be read and written in
//! each of them. The tour, from the smallest thing to the largest:
//!
//! - [`budget`]: how much memory a decoded message may take.
//! - [`wire`]: one value on the wire.
//! - [`writer`]: output in chunks.
//! - [`uuid`]: ids of topics.
//! - [`message`]: how a message is declared; the [`Api`] trait.
//! - [`error`]: error codes, their names and words.
//! - [`api`]: the messages, one file per API.
//! - [`frame`]: headers, and the size before each frame.
//! - [`data`]: what Kafka keeps inside records and opaque bytes.
//! - `grammar`: what requests look like, as data, with the feature of that name.
//!
//! ```
//! use braid_protocol::api::heartbeat::{Heartbeat, HeartbeatRequest};
//! use braid_protocol::frame;
//!
//! let request = HeartbeatRequest { group_id: "readers".into(), ..Default::default() };
//! let chunks = frame::request_frame::<Heartbeat>(4, 7, Some("me"), &request)?;
//! let sent = bytes::Bytes::from(chunks.concat());
//!
//! let received = frame::read_request::<Heartbeat>(&sent.slice(4..))?;
//! assert_eq!((received.header.correlation_id, received.request), (7, request));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod budget;

pub mod wire;

pub mod writer;

pub mod uuid;

pub mod message;

pub mod error;

pub mod api;

pub mod frame;

pub mod data;

#[cfg(feature = "grammar")]
pub mod grammar;

#[cfg(test)]
mod tests;

pub use error::ErrorCode;
pub use message::Api;
pub use uuid::Uuid;
pub use wire::{Cx, Malformed, Version, Why, Wire};
pub use writer::Writer;

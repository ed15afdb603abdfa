//! Kafka's wire format, and nothing else: no logs, no sockets, no broker.
//!
//! A message is declared once, for all its versions (see [`message`]), and can then be read and written in
//! each of them. The tour, from the smallest thing to the largest:
//!
//! - [`wire`]: one value on the wire.
//! - [`uuid`]: ids of topics.
//! - [`message`]: how a message is declared; the [`Api`] trait.
//! - [`error`]: error codes, their names and words.
//! - [`api`]: the messages, one file per API.
//! - [`frame`]: headers, and the size before each frame.
//! - [`data`]: what Kafka keeps inside records and opaque bytes.
//!
//! ```
//! use braid_protocol::api::heartbeat::{Heartbeat, HeartbeatRequest};
//! use braid_protocol::frame;
//!
//! let request = HeartbeatRequest { group_id: "readers".into(), ..Default::default() };
//! let chunks = frame::request_frame::<Heartbeat>(4, 7, Some("me"), &request)?;
//! let sent = bytes::Bytes::from(chunks.concat());
//!
//! let (header, received) = frame::read_request::<Heartbeat>(&sent.slice(4..))?;
//! assert_eq!((header.correlation_id, received), (7, request));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod wire;

pub mod uuid;

pub mod message;

pub mod error;

pub mod api;

pub mod frame;

pub mod data;

#[cfg(test)]
mod tests;

pub use error::ErrorCode;
pub use message::Api;
pub use uuid::Uuid;
pub use wire::{Cx, Malformed, Version, Wire, Writer};

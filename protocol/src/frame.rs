//! Frames and headers: what stands around a message on a connection.
//!
//! A frame is an `i32` size, a header and a body. Request header v1 is key, version, correlation id and
//! client id; v2 adds tags, and goes with flexible bodies, but keeps the client id in the classic form, so
//! that any broker can read it. Response header v0 is the correlation id; v1 adds tags. The answer to
//! ApiVersions always has header v0, because its reader does not yet know what the broker speaks (KIP-511).

use std::fmt;

use bytes::Bytes;

use crate::api::api_versions::ApiVersions;
use crate::budget::Budget;
use crate::error::ErrorCode;
use crate::message::{Api, message};
use crate::wire::{Malformed, Version, Wire};
use crate::writer::Writer;

/// Bytes of a frame's size.
const SIZE: usize = 4;
/// Room for what most responses hold besides records, in bytes.
const USUAL: usize = 256;

message! {
    /// What stands before every request.
    RequestHeader {
        request_api_key: i16,
        request_api_version: i16,
        correlation_id: i32,
        /// What the client calls itself; null means the same as empty.
        client_id: Option<String>        [classic],
    }
    /// What stands before every response.
    ResponseHeader {
        /// The one of the request that this answers.
        correlation_id: i32,
    }
    /// The start of a request header, which is the same whatever the API.
    Peek {
        api_key: i16,
        api_version: i16,
        correlation_id: i32,
    }
}

/// A frame of a size that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The size is below zero.
    Negative(
        /// The size that was announced, in bytes.
        i32,
    ),
    /// The frame is larger than allowed.
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The largest size allowed, in bytes.
        max: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Negative(size) => write!(f, "a frame of {size} bytes"),
            FrameError::TooLarge { size, max } => write!(f, "a frame of {size} bytes, more than {max}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// The length of the frame that follows these four bytes, if it is at most `max` bytes.
pub fn frame_len(prefix: [u8; 4], max: usize) -> Result<usize, FrameError> {
    let size = i32::from_be_bytes(prefix);
    match usize::try_from(size) {
        Err(_) => Err(FrameError::Negative(size)),
        Ok(size) if size > max => Err(FrameError::TooLarge { size, max }),
        Ok(size) => Ok(size),
    }
}

/// Key, version and correlation id of a request, before it is known whether the rest can be read.
pub fn peek(frame: &Bytes) -> Result<Peek, Malformed> {
    Peek::prefix_of(frame, Version::new(0, false)).map(|(peek, _)| peek)
}

/// A header, and the body behind it as a slice of the same frame.
fn split<H: Wire>(frame: &Bytes, flexible: bool) -> Result<(H, Bytes), Malformed> {
    let (header, left) = H::prefix_of(frame, Version::new(0, flexible))?;
    Ok((header, frame.slice(frame.len() - left..)))
}

/// Are there tags in the header of this response?
fn tags_in_response<A: Api>(version: i16) -> bool {
    A::KEY != ApiVersions::KEY && A::version(version).flexible
}

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Received<R> {
    /// Its header.
    pub header: RequestHeader,
    /// Its body. `Bytes` in it are slices of the frame.
    pub request: R,
    /// Heap memory that the decoded body takes beside the frame, in bytes.
    pub memory: usize,
    /// The elements of all arrays in the body.
    pub elements: usize,
}

/// Read a request of API `A` in the version that its header names: the broker's side.
///
/// Bytes behind the body are ignored, as in Kafka: librdkafka sends a field too many in Metadata v11 to v13.
pub fn read_request<A: Api>(frame: &Bytes) -> Result<Received<A::Request>, Malformed> {
    let version = A::version(peek(frame)?.api_version);
    let (header, body) = split::<RequestHeader>(frame, version.flexible)?;
    let budget = Budget::of(body.len());
    let (request, _) = A::Request::prefix_within(&body, version, &budget)?;
    Ok(Received { header, request, memory: budget.used(), elements: budget.elements() })
}

/// Only the header of a request of API `A`, for those that are refused without being read.
pub fn read_request_header<A: Api>(frame: &Bytes) -> Result<RequestHeader, Malformed> {
    let version = A::version(peek(frame)?.api_version);
    split(frame, version.flexible).map(|(header, _)| header)
}

/// A response on its way out.
#[derive(Debug)]
pub struct Outgoing {
    /// The frame, its size in front, for a vectored write.
    pub chunks: Vec<Bytes>,
    /// The first error code in it that is one.
    pub error: Option<ErrorCode>,
    /// Bytes of the frame that have memory of their own: not those of records, which are slices of a log.
    pub memory: usize,
}

/// A whole response frame: the broker's side.
pub fn response_frame<A: Api>(
    version: i16,
    correlation_id: i32,
    response: &A::Response,
) -> Result<Outgoing, FrameError> {
    let mut out = begin();
    ResponseHeader { correlation_id }.encode(Version::new(0, tags_in_response::<A>(version)), &mut out);
    response.encode(A::version(version), &mut out);
    let (error, memory) = (out.error(), out.own_bytes());
    framed(out).map(|chunks| Outgoing { chunks, error, memory })
}

/// A whole request frame, its size in front, as chunks for a vectored write: the client's side.
pub fn request_frame<A: Api>(
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    request: &A::Request,
) -> Result<Vec<Bytes>, FrameError> {
    let v = A::version(version);
    let header = RequestHeader {
        request_api_key: A::KEY,
        request_api_version: version,
        correlation_id,
        client_id: client_id.map(str::to_owned),
    };
    let mut out = begin();
    header.encode(Version::new(0, v.flexible), &mut out);
    request.encode(v, &mut out);
    framed(out)
}

/// Read a response of API `A` (without its size), and the correlation id before it: the client's side.
pub fn read_response<A: Api>(frame: &Bytes, version: i16) -> Result<(i32, A::Response), Malformed> {
    let (header, body) = split::<ResponseHeader>(frame, tags_in_response::<A>(version))?;
    match A::Response::prefix_within(&body, A::version(version), &Budget::unlimited())? {
        (response, 0) => Ok((header.correlation_id, response)),
        (_, left) => Err(Malformed::invalid(left)),
    }
}

/// A frame with room for its size.
fn begin() -> Writer {
    let mut out = Writer::with_capacity(USUAL);
    out.put(&[0; SIZE]);
    out
}

/// Put the size in front.
fn framed(mut out: Writer) -> Result<Vec<Bytes>, FrameError> {
    let (size, max) = (out.len() - SIZE, i32::MAX as usize);
    let prefix = i32::try_from(size).map_err(|_| FrameError::TooLarge { size, max })?;
    out.overwrite(prefix.to_be_bytes());
    Ok(out.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::api_versions::ApiVersionsResponse;
    use crate::api::fetch::{Fetch, FetchResponse, FetchableTopicResponse, PartitionData};
    use crate::api::heartbeat::{Heartbeat, HeartbeatRequest, HeartbeatResponse};

    fn join(chunks: Result<Vec<Bytes>, FrameError>) -> Bytes {
        let frame = Bytes::from(chunks.unwrap().concat());
        let size = frame_len(frame[..4].try_into().unwrap(), usize::MAX).unwrap();
        assert_eq!(size, frame.len() - 4);
        frame.slice(4..)
    }

    fn sent(framed: Result<Outgoing, FrameError>) -> Bytes {
        join(framed.map(|outgoing| outgoing.chunks))
    }

    #[test]
    fn a_response_is_counted_under_its_first_error() {
        let with = |error_code| HeartbeatResponse { error_code, ..Default::default() };
        let error = |code| response_frame::<Heartbeat>(4, 1, &with(code)).unwrap().error;
        assert_eq!(error(ErrorCode::NONE), None);
        assert_eq!(error(ErrorCode::ILLEGAL_GENERATION), Some(ErrorCode::ILLEGAL_GENERATION));
    }

    #[test]
    fn a_request_arrives_as_it_was_sent() {
        let request = HeartbeatRequest { group_id: "g".into(), generation_id: 5, ..Default::default() };
        for version in Heartbeat::VERSIONS {
            for client_id in [Some("me"), Some(""), None] {
                let frame = join(request_frame::<Heartbeat>(version, 77, client_id, &request));
                let peeked = Peek { api_key: 12, api_version: version, correlation_id: 77 };
                assert_eq!(peek(&frame), Ok(peeked));
                let received = read_request::<Heartbeat>(&frame).unwrap();
                assert_eq!(received.header.client_id.as_deref(), client_id);
                assert_eq!(received.request, request);
                assert_eq!(read_request_header::<Heartbeat>(&frame), Ok(received.header));
                for n in 0..frame.len() {
                    assert!(read_request::<Heartbeat>(&frame.slice(..n)).is_err());
                }
            }
        }
    }

    /// confluent-kafka 2.16 (librdkafka) asks for the cluster's operations in Metadata v13, which lost that
    /// field in v11.
    #[test]
    fn bytes_behind_a_request_are_ignored() {
        let request = HeartbeatRequest { group_id: "g".into(), ..Default::default() };
        let sent = join(request_frame::<Heartbeat>(4, 1, Some("me"), &request));
        let longer = Bytes::from([&sent[..], &[0, 0, 1]].concat());
        assert_eq!(read_request::<Heartbeat>(&longer).unwrap().request, request);
    }

    #[test]
    fn the_client_id_is_classic_in_a_flexible_header() {
        let frame = join(request_frame::<Heartbeat>(4, 1, Some("me"), &HeartbeatRequest::default()));
        assert_eq!(&frame[..13], b"\x00\x0c\x00\x04\x00\x00\x00\x01\x00\x02me\x00");
    }

    #[test]
    fn a_response_arrives_as_it_was_sent() {
        let response = HeartbeatResponse { throttle_time_ms: 0, error_code: crate::ErrorCode(27) };
        for version in Heartbeat::VERSIONS {
            let frame = sent(response_frame::<Heartbeat>(version, -3, &response));
            assert_eq!(read_response::<Heartbeat>(&frame, version), Ok((-3, response.clone())));
        }
        let flexible = sent(response_frame::<Heartbeat>(4, 1, &response));
        assert_eq!(&flexible[..], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 27, 0]);
    }

    #[test]
    fn api_versions_answers_without_tags_in_the_header() {
        for version in ApiVersions::VERSIONS {
            let response = ApiVersionsResponse { error_code: crate::ErrorCode(35), ..Default::default() };
            let frame = sent(response_frame::<ApiVersions>(version, 1, &response));
            assert_eq!(&frame[..6], [0, 0, 0, 1, 0, 35]);
            assert_eq!(read_response::<ApiVersions>(&frame, version), Ok((1, response)));
        }
    }

    #[test]
    fn records_are_handed_on_and_not_copied() {
        let records = Bytes::from(vec![7; 4096]);
        let partition = PartitionData { records: Some(records.clone()), ..Default::default() };
        let topic = FetchableTopicResponse { partitions: vec![partition], ..Default::default() };
        let response = FetchResponse { responses: vec![topic], ..Default::default() };
        let Outgoing { chunks, memory, .. } = response_frame::<Fetch>(12, 1, &response).unwrap();
        assert_eq!(memory, chunks.iter().map(Bytes::len).sum::<usize>() - records.len());
        assert!(
            chunks.iter().any(|chunk| chunk.as_ptr() == records.as_ptr() && chunk.len() == records.len())
        );
        assert!(chunks.iter().all(|chunk| !chunk.is_empty()));

        let frame = join(Ok(chunks));
        let (_, received) = read_response::<Fetch>(&frame, 12).unwrap();
        let received = received.responses[0].partitions[0].records.clone().unwrap();
        assert!(frame.as_ptr_range().contains(&received.as_ptr()), "records are a slice of the frame");
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        assert_eq!(frame_len([0, 0, 1, 0], 256), Ok(256));
        assert_eq!(frame_len([0, 0, 1, 1], 256), Err(FrameError::TooLarge { size: 257, max: 256 }));
        assert_eq!(frame_len([0xff; 4], 256), Err(FrameError::Negative(-1)));
    }
}

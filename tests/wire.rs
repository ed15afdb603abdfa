//! What a connection does with bytes, good and bad.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::time::Duration;

use braid::api::TABLE;
use braid::connection::End;
use braid_protocol::api::api_versions::{ApiVersions, ApiVersionsRequest};
use braid_protocol::api::fetch::{Fetch, FetchRequest};
use braid_protocol::api::metadata::{Metadata, MetadataRequest};
use braid_protocol::api::produce::Produce;
use braid_protocol::{ErrorCode, frame};
use support::{Client, TestBroker, batch, fetch_request, produce_request};

async fn refused(client: Client) -> String {
    match client.ended().await {
        End::Refused(why) => why,
        other => panic!("{other}"),
    }
}

/// A frame with a request header and this body.
fn raw(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(key.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(7i32.to_be_bytes());
    request.extend((-1i16).to_be_bytes());
    request.extend(body);
    let mut frame = (request.len() as i32).to_be_bytes().to_vec();
    frame.extend(request);
    frame
}

#[tokio::test(start_paused = true)]
async fn a_frame_of_an_impossible_size_closes_the_connection_and_nothing_else() {
    let broker = TestBroker::start(&[("socket.request.max.bytes", "1000")]);
    let mut neighbour = broker.connect();
    for (size, words) in [(-1i32, "-1 bytes"), (1001, "more than 1000"), (i32::MAX, "more than 1000")] {
        let mut client = broker.connect();
        client.send_raw(&size.to_be_bytes()).await;
        assert!(refused(client).await.contains(words));
    }
    let answer = neighbour.call::<ApiVersions>(0, &ApiVersionsRequest::default()).await;
    assert_eq!(answer.error_code, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn clients_of_other_protocols_are_named() {
    let broker = TestBroker::start(&[]);
    for (bytes, words) in [(&b"GET / HTTP/1.1\r\n"[..], "HTTP"), (&[0x16, 3, 1, 2, 0, 1], "TLS")] {
        let mut client = broker.connect();
        client.send_raw(bytes).await;
        assert!(refused(client).await.contains(words));
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_apis_and_versions_close_the_connection() {
    let broker = TestBroker::start(&[]);
    for (key, version, words) in
        [(9999, 0, "unknown API key 9999"), (3, 99, "Metadata version 99"), (0, 2, "Produce")]
    {
        let mut client = broker.connect();
        client.send_raw(&raw(key, version, &[])).await;
        let why = refused(client).await;
        assert!(why.contains(words), "{why}");
    }
}

/// librdkafka and the Java client ask in their newest version first, and read the answer as v0 (KIP-511).
#[tokio::test(start_paused = true)]
async fn an_api_versions_request_from_the_future_is_answered_in_v0() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    client.send_raw(&raw(18, 99, b"whatever this will be")).await;
    let (id, answer) = frame::read_response::<ApiVersions>(&client.receive_raw().await, 0).unwrap();
    assert_eq!((id, answer.error_code), (7, ErrorCode::UNSUPPORTED_VERSION));
    assert_eq!((answer.api_keys[0].api_key, answer.api_keys[0].max_version), (18, 4));
    assert_eq!(client.call::<ApiVersions>(3, &software("test")).await.error_code, ErrorCode::NONE);
}

fn software(name: &str) -> ApiVersionsRequest {
    ApiVersionsRequest { client_software_name: name.into(), client_software_version: "1.0".into() }
}

#[tokio::test(start_paused = true)]
async fn api_versions_tells_the_table() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    let told = client.call::<ApiVersions>(4, &software("test")).await.api_keys;
    let told: Vec<_> = told.iter().map(|k| (k.api_key, k.min_version, k.max_version)).collect();
    let table: Vec<_> = TABLE.iter().map(|r| (r.key, *r.advertises.start(), *r.advertises.end())).collect();
    assert_eq!(told, table);
    assert!(told.contains(&(0, 0, 13)), "librdkafka before 2.11 compresses only if Produce starts at 0");
    let answer = client.call::<ApiVersions>(3, &software("no spaces")).await;
    assert_eq!(answer.error_code, ErrorCode::INVALID_REQUEST);
}

/// Random bodies for every API in every version: an answer or a closed connection, never a panic.
#[tokio::test(start_paused = true)]
async fn garbage_never_panics() {
    let broker = TestBroker::start(&[]);
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    for row in TABLE {
        for version in row.serves.clone() {
            for round in 0..8 {
                let body: Vec<u8> = (0..round * 5)
                    .map(|_| {
                        seed ^= seed << 13;
                        seed ^= seed >> 7;
                        seed ^= seed << 17;
                        // Small bytes make lengths that fit, and so reach deeper.
                        if seed & 1 == 0 { (seed >> 32) as u8 % 3 } else { (seed >> 32) as u8 }
                    })
                    .collect();
                let mut client = broker.connect();
                client.send_raw(&raw(row.key, version, &body)).await;
                client.send_raw(&(-1i32).to_be_bytes()).await;
                let end = client.ended().await;
                assert!(!matches!(end, End::Panicked(_)), "{} v{version} {body:?}: {end}", row.name);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_cut_short_is_refused_at_every_byte() {
    let broker = TestBroker::start(&[]);
    let request = produce_request("t", vec![(0, batch(&["v"]))]);
    let whole = frame::request_frame::<Produce>(9, 1, Some("c"), &request).unwrap().concat();
    for cut in 4..whole.len() {
        // The frame says how long it really is: what is cut is the message inside.
        let mut bytes = ((cut - 4) as i32).to_be_bytes().to_vec();
        bytes.extend(&whole[4..cut]);
        let mut client = broker.connect();
        client.send_raw(&bytes).await;
        let why = refused(client).await;
        assert!(why.contains("malformed"), "cut at {cut}: {why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_in_the_middle_of_a_frame_is_let_go() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    client.send_raw(&[0, 0, 1, 0, 0]).await;
    assert!(refused(client).await.contains("unfinished"));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_in_its_time() {
    let broker = TestBroker::start(&[("connections.max.idle.ms", "90000")]);
    let mut client = broker.connect();
    client.call::<ApiVersions>(0, &ApiVersionsRequest::default()).await;
    let begin = tokio::time::Instant::now();
    assert!(matches!(client.ended().await, End::Idle));
    assert_eq!(begin.elapsed().as_secs(), 90);
}

#[tokio::test(start_paused = true)]
async fn requests_sent_together_or_byte_by_byte_are_answered_in_order() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    let mut bytes = Vec::new();
    for id in 0..300 {
        let request = MetadataRequest { topics: Some(vec![]), ..Default::default() };
        bytes.extend(frame::request_frame::<Metadata>(9, id, None, &request).unwrap().concat());
    }
    client.send_raw(&bytes).await;
    for id in 0..300 {
        let frame = client.receive_raw().await;
        assert_eq!(frame::read_response::<Metadata>(&frame, 9).unwrap().0, id);
    }
    for byte in bytes.iter().take(200) {
        client.send_raw(&[*byte]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(frame::read_response::<Metadata>(&client.receive_raw().await, 9).unwrap().0, 0);
}

#[tokio::test(start_paused = true)]
async fn a_parked_fetch_holds_back_the_answers_behind_it_but_not_the_appends() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    let fetch = FetchRequest { max_wait_ms: 60_000, min_bytes: 1, ..fetch_request("t", &[(0, 0)]) };
    client.send::<Fetch>(12, &fetch).await;
    client.send::<Produce>(9, &produce_request("t", vec![(0, batch(&["v"]))])).await;
    // The append behind the fetch is what wakes it, so both are answered without the wait.
    let begin = tokio::time::Instant::now();
    let fetched = client.receive::<Fetch>(12).await;
    assert_eq!(support::values(&fetched.responses[0].partitions[0]), [(0, "v".to_owned())]);
    assert!(client.receive::<Produce>(9).await.responses[0].partition_responses[0].error_code.is_ok());
    assert!(begin.elapsed() < Duration::from_secs(1));
}

/// CVE-2018-1288: a client that names itself a broker in a fetch must not be taken for one.
#[tokio::test(start_paused = true)]
async fn a_fetch_in_the_name_of_a_broker_is_refused() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.connect();
    client.send::<Fetch>(12, &FetchRequest { replica_id: 1, ..Default::default() }).await;
    assert!(refused(client).await.contains("broker"));
}

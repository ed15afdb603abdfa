//! What a request costs in heap allocations: a constant, whatever number of records and batches it carries.
//! The figures are stated here, so that a change which adds one has to say so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use braid_protocol::Api;
use braid_protocol::api::fetch::{Fetch, FetchRequest};
use braid_protocol::api::produce::Produce;
use braid_protocol::frame;
use bytes::Bytes;
use support::{Client, TestBroker, batch, fetch_request, produce_request};

/// Allocations of a Produce request of one partition.
const PRODUCE: usize = 12;
/// Allocations of a Fetch request of one partition that has something to read; one less when that is small,
/// and so copied and not handed on.
const FETCH: usize = 16;
/// Those of the test's own client: the buffer that it reads an answer into.
const CLIENT: usize = 1;
/// Requests of each kind. The median counts: now and then something grows that lasts, such as an index.
const ROUNDS: usize = 31;

/// The system's allocator, counting what each thread asks for; broker and client share one in these tests.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[allow(unsafe_code, reason = "an allocator is unsafe by its nature; this one only passes on")]
// SAFETY: every call is the system allocator's own, with the arguments of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// The allocations of one request, by the median of many.
async fn cost<A: Api>(client: &mut Client, version: i16, request: &A::Request) -> usize {
    let frame = frame::request_frame::<A>(version, 1, Some("test"), request).unwrap().concat();
    let mut costs = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let before = COUNT.get();
        client.send_raw(&frame).await;
        let answer = client.receive_raw().await;
        costs.push(COUNT.get() - before - CLIENT);
        drop(answer);
    }
    costs.sort_unstable();
    costs[ROUNDS / 2]
}

/// A batch of this many records of 20 bytes.
fn batch_of(records: usize) -> Bytes {
    batch(&vec!["twenty bytes of text"; records])
}

#[tokio::test]
async fn producing_allocates_nothing_per_record() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    let mut client = broker.connect();
    for records in [1, 10, 1000] {
        let request = produce_request("t", vec![(0, batch_of(records))]);
        let cost = cost::<Produce>(&mut client, 9, &request).await;
        assert_eq!(cost, PRODUCE, "allocations of a request with {records} records");
    }
}

#[tokio::test]
async fn fetching_allocates_nothing_per_record_and_nothing_per_batch() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 3, &[]).await;
    let mut client = broker.connect();
    // One record, one batch of many, and many batches.
    for (partition, batches, records) in [(0, 1, 1), (1, 1, 1000), (2, 300, 3)] {
        for _ in 0..batches {
            client.produce_batch("t", partition, batch_of(records)).await;
        }
        let request = FetchRequest { min_bytes: 1, ..fetch_request("t", &[(partition, 0)]) };
        let cost = cost::<Fetch>(&mut client, 12, &request).await;
        let stated = if batches * records > 1 { FETCH } else { FETCH - 1 };
        assert_eq!(cost, stated, "allocations of a fetch of {batches} batches with {records} records each");
    }
}

//! Requests over HTTP that are made up, cut, changed and sent bit by bit, while others hold their connections
//! half way: every one is answered with a status or closed, and `/healthz` answers at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use braid::http::{self, HttpState};
use braid::metrics::Scrape;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::dice::Dice;
use crate::findings::{catch_panics, panics};
use crate::memory;
use crate::support::TestBroker;

/// Connections that stay half way: more than are served at a time.
const SLOW: usize = 100;
/// How long any request may take.
const BOUND: Duration = Duration::from_secs(10);
/// How long `/healthz` may take, on a busy machine.
const HEALTH: Duration = Duration::from_secs(1);
/// Memory that all these requests may leave behind.
const LEFT: isize = 2 << 20;

const METHODS: [&str; 8] = ["GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "", "G\0T"];
const PATHS: [&str; 9] =
    ["/", "/metrics", "/healthz", "/no", "*", "//", "/%ff%00", "/metrics?a=b", "http://other/metrics"];
const VERSIONS: [&str; 6] = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9", ""];
const HEADERS: [&str; 12] = [
    "Host: x",
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Connection: keep-alive",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "Accept-Encoding: gzip",
    " folded",
    "No colon",
];

const BODIES: [&str; 5] = ["", "", "5\r\nhello\r\n0\r\n\r\n", "ffffffffffffffff\r\n", "hello"];

fn request(dice: &mut Dice) -> Vec<u8> {
    let end = *dice.pick(&["\r\n", "\r\n", "\r\n", "\n"]);
    let (method, path, version) = (dice.pick(&METHODS), dice.pick(&PATHS), dice.pick(&VERSIONS));
    let mut text = format!("{method} {path} {version}{end}");
    for _ in 0..dice.below(4) {
        text.push_str(HEADERS[dice.below(HEADERS.len())]);
        text.push_str(end);
    }
    match dice.below(40) {
        0 => text.push_str(&format!("X: {}{end}", "x".repeat(70_000))),
        1 => (0..2000).for_each(|n| text.push_str(&format!("X-{n}: y{end}"))),
        2 => text.insert_str(4, &"/".repeat(20_000)),
        _ => {}
    }
    text.push_str(end);
    text.push_str(BODIES[dice.below(BODIES.len())]);
    let mut bytes = text.into_bytes();
    for _ in 0..dice.below(8).saturating_sub(5) {
        let at = dice.below(bytes.len());
        match dice.below(3) {
            0 => bytes[at] = dice.next() as u8,
            1 => bytes.truncate(at + 1),
            _ => bytes.insert(at, dice.next() as u8),
        }
    }
    bytes
}

/// Sends a request in this many pieces and reads what comes; `None` if it took too long. One of no pieces
/// is sent whole, by a client that goes on listening to the end.
async fn ask(address: SocketAddr, bytes: &[u8], pieces: usize) -> Option<Vec<u8>> {
    let work = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        for piece in bytes.chunks(bytes.len().div_ceil(pieces.max(1)).max(1)) {
            // It may be refused before it is all there.
            if stream.write_all(piece).await.is_err() {
                break;
            }
            if pieces > 1 {
                tokio::task::yield_now().await;
            }
        }
        if pieces > 0 {
            // Half a request is over when nothing more can come.
            let _ = stream.shutdown().await;
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    };
    timeout(BOUND, work).await.ok()
}

async fn run(requests: usize, seed: u64) {
    let broker = TestBroker::start(&[]);
    let metrics = broker.broker.metrics.clone();
    let scrape: Arc<dyn Scrape> = broker.broker.clone();
    metrics.observe(Arc::downgrade(&scrape)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let reporting = broker.broker.clone();
    let state = HttpState { metrics, health: Arc::new(move || reporting.health()) };
    let serving = tokio::spawn(http::serve(listener, state, std::future::pending()));
    let mut dice = Dice(seed);
    ask(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 0).await.unwrap();
    let before = memory::live();
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").await.unwrap();
        slow.push(stream);
    }
    for n in 0..requests {
        let bytes = request(&mut dice);
        let pieces = *dice.pick(&[1, 1, 2, 20]);
        let said =
            format!("seed {seed}, number {n}: {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(300)]));
        let answer = ask(address, &bytes, pieces).await.unwrap_or_else(|| panic!("not answered, {said}"));
        let status = answer.get(9..12).is_some_and(|status| status.iter().all(u8::is_ascii_digit));
        let http = answer.starts_with(b"HTTP/1.") && status;
        assert!(answer.is_empty() || http, "{:?} to {said}", String::from_utf8_lossy(&answer));
        assert_eq!(panics(), Vec::<String>::new(), "{said}");
        if n % 20 == 0 {
            let begin = Instant::now();
            let health =
                ask(address, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 0).await.unwrap_or_default();
            assert!(health.ends_with(b"ok\n"), "after {said}");
            assert!(begin.elapsed() < HEALTH, "/healthz took {:?} after {said}", begin.elapsed());
        }
    }
    drop(slow);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let left = memory::live() - before;
    assert!(left < LEFT, "{left} bytes are left of {requests} requests");
    serving.abort();
}

/// 64 idle connections kept `/healthz` from answering, and a probe would have restarted the broker.
#[test]
fn generated_pages_are_answered_while_others_wait() {
    let _alone = super::ALONE.lock().unwrap_or_else(|e| e.into_inner());
    catch_panics();
    let requests = super::number("BRAID_FUZZ_PAGES", 1000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(requests, super::number("BRAID_FUZZ_SEED", 1) as u64));
}

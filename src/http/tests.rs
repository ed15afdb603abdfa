//! Tests of the pages through real sockets.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

struct Site {
    address: std::net::SocketAddr,
    sick: Arc<AtomicBool>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

async fn site() -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = Arc::new(Metrics::new(prometheus::Registry::new()).unwrap());
    metrics.topic("orders").messages_in.inc();
    let sick = Arc::new(AtomicBool::new(false));
    let asked = sick.clone();
    let health: Health =
        Arc::new(move || if asked.load(Ordering::SeqCst) { Err("a disk failed".to_owned()) } else { Ok(()) });
    let (stop, stopped) = oneshot::channel();
    let shutdown = async { drop(stopped.await) };
    let server = tokio::spawn(serve(listener, HttpState { metrics, health }, shutdown));
    Site { address, sick, stop, server }
}

impl Site {
    /// Sends these bytes and reads until the server closes.
    async fn say(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may close before all is sent: its answer is what counts.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        self.say(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await
    }
}

#[tokio::test]
async fn pages_answer_and_close() {
    let site = site().await;
    let front = site.get("/").await;
    assert!(front.starts_with("HTTP/1.1 200 OK\r\n"), "{front}");
    assert!(front.contains("/metrics") && front.contains("/healthz"));
    let metrics = site.get("/metrics").await;
    assert!(metrics.contains("content-type: text/plain; version=0.0.4\r\n"), "{metrics}");
    assert!(metrics.contains("kafka_server_brokertopicmetrics_messagesin_total{topic=\"orders\"} 1\n"));
    assert!(site.get("/nothing").await.starts_with("HTTP/1.1 404 "));
    let post = site
        .say(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .await;
    assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
}

#[tokio::test]
async fn health_follows_the_broker_and_tells_why() {
    let site = site().await;
    assert!(site.get("/healthz").await.ends_with("\r\n\r\nok\n"));
    site.sick.store(true, Ordering::SeqCst);
    let sick = site.get("/healthz").await;
    assert!(sick.starts_with("HTTP/1.1 503 ") && sick.ends_with("a disk failed\n"), "{sick}");
}

#[tokio::test]
async fn a_long_request_is_cut_off() {
    let site = site().await;
    let header = "x".repeat(70_000);
    let answer = site.say(format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {header}\r\n\r\n").as_bytes()).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(site.get("/healthz").await.ends_with("ok\n"), "others are served still");
}

#[tokio::test]
async fn silent_clients_neither_block_others_nor_the_shutdown() {
    let site = site().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(site.address).await.unwrap();
        stream.write_all(b"GET /").await.unwrap();
        silent.push(stream);
    }
    assert!(site.get("/healthz").await.ends_with("ok\n"));
    let began = Instant::now();
    site.stop.send(()).unwrap();
    site.server.await.unwrap();
    assert!(began.elapsed() < LAST_ANSWERS * 2);
    assert!(TcpStream::connect(site.address).await.is_err(), "nobody listens any more");
}

// 64 connections that sent nothing kept a liveness probe from its answer, and so restarted the broker.
#[tokio::test]
async fn a_probe_is_answered_however_many_idle_clients_are_connected() {
    let site = site().await;
    let mut idle = Vec::new();
    for n in 0..600 {
        let mut stream = TcpStream::connect(site.address).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
        }
        idle.push(stream);
    }
    let began = Instant::now();
    assert!(site.get("/healthz").await.ends_with("ok\n"));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    // The first ones had to go, the last ones are still connected.
    let mut byte = [0; 1];
    assert!(matches!(idle[0].read(&mut byte).await, Ok(0) | Err(_)));
    let last = tokio::time::timeout(Duration::from_millis(50), idle[599].read(&mut byte)).await;
    assert!(last.is_err(), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_finishes_is_sent_away() {
    let site = site().await;
    let mut slow = TcpStream::connect(site.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut rest = Vec::new();
    let began = tokio::time::Instant::now();
    // Time is paused and runs by itself when nothing else can.
    let ended = tokio::time::timeout(Duration::from_secs(60), slow.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the server closes it");
    assert!(began.elapsed() <= Duration::from_secs(31));
}

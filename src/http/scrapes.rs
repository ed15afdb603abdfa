//! Renders `/metrics`, once for all scrapers that wait for it.
//!
//! One rendering runs at a time, and the next begins only after a pause in proportion to what the last one
//! took: scrapers, however many, use a bounded part of one thread. A page is as new as its request, except
//! while clients that read slowly hold many earlier pages in memory: then the last of those is sent again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::accept::CONNECTIONS_MAX;
use crate::metrics::Metrics;

/// Pages that are in memory at a time.
const PAGES_MAX: usize = 4;
/// The pause after a rendering, as a multiple of the time it took.
const PAUSE: u32 = 4;
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The page, or why there is none.
pub(super) type Rendered = Result<Bytes, Arc<str>>;

/// Where pages are asked for. The rendering ends when the last clone is gone.
#[derive(Clone)]
pub(super) struct Scrapes(mpsc::Sender<oneshot::Sender<Rendered>>);

impl Scrapes {
    /// Begins to render for those who ask.
    pub(super) fn start(metrics: Arc<Metrics>) -> Scrapes {
        let (asks, inbox) = mpsc::channel(CONNECTIONS_MAX);
        tokio::spawn(render_all(metrics, inbox));
        Scrapes(asks)
    }

    /// The page as of now.
    pub(super) async fn page(&self) -> Rendered {
        let stopped = || Arc::from("the broker is stopping");
        let (answer, page) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| stopped())?;
        page.await.map_err(|_| stopped())?
    }
}

/// A page, for as long as somebody reads it.
struct Page {
    text: String,
    _held: OwnedSemaphorePermit,
}

/// A reader's share of a [`Page`].
struct Share(Arc<Page>);

impl AsRef<[u8]> for Share {
    fn as_ref(&self) -> &[u8] {
        self.0.text.as_bytes()
    }
}

async fn render_all(metrics: Arc<Metrics>, mut inbox: mpsc::Receiver<oneshot::Sender<Rendered>>) {
    let held = Arc::new(Semaphore::new(PAGES_MAX));
    let mut last: Weak<Page> = Weak::new();
    let mut earliest = Instant::now();
    while let Some(first) = inbox.recv().await {
        sleep_until(earliest).await;
        let mut waiting = vec![first];
        while let Ok(another) = inbox.try_recv() {
            waiting.push(another);
        }
        waiting.retain(|scraper| !scraper.is_closed());
        if waiting.is_empty() {
            continue;
        }
        let began = Instant::now();
        let page = match held.clone().try_acquire_owned() {
            Ok(permit) => render(metrics.clone(), permit).await,
            // All are being read, so the last one is.
            Err(_) => last.upgrade().ok_or_else(|| "too many pages are being read".into()),
        };
        if let Ok(page) = &page {
            last = Arc::downgrade(page);
        }
        let page: Rendered = page.map(|page| Bytes::from_owner(Share(page)));
        // Who has gone meanwhile needs no page.
        waiting.into_iter().for_each(|scraper| drop(scraper.send(page.clone())));
        let now = Instant::now();
        earliest = now + ((now - began) * PAUSE).min(PAUSE_MAX);
    }
}

async fn render(metrics: Arc<Metrics>, permit: OwnedSemaphorePermit) -> Result<Arc<Page>, Arc<str>> {
    // Many partitions make a long page, so it is written where blocking is allowed.
    let text = tokio::task::spawn_blocking(move || metrics.render()).await;
    let text = match text {
        Ok(rendered) => rendered.map_err(|error| error.to_string()),
        Err(panicked) => Err(panicked.to_string()),
    };
    Ok(Arc::new(Page { text: text?, _held: permit }))
}

#[cfg(test)]
mod tests {
    use super::*;

    // 40 scrapers at the same moment made the broker write the same page 40 times.
    #[tokio::test]
    async fn scrapers_of_the_same_moment_share_a_page() {
        let metrics = Arc::new(Metrics::new(prometheus::Registry::new()).unwrap());
        let scrapes = Scrapes::start(metrics);
        let ask = |_| {
            let scrapes = scrapes.clone();
            tokio::spawn(async move { scrapes.page().await.unwrap() })
        };
        let asked: Vec<_> = (0..40).map(ask).collect();
        let mut pages = Vec::new();
        for page in asked {
            pages.push(page.await.unwrap());
        }
        let mut at: Vec<_> = pages.iter().map(|page| page.as_ptr()).collect();
        at.sort();
        at.dedup();
        assert!(at.len() <= 2, "{} renderings", at.len());
    }

    // Each slow reader held a page of its own: 200 of them, as many times its size.
    #[tokio::test]
    async fn slow_readers_hold_a_bounded_number_of_pages() {
        let metrics = Arc::new(Metrics::new(prometheus::Registry::new()).unwrap());
        metrics.topic("first").messages_in.inc();
        let scrapes = Scrapes::start(metrics.clone());
        let mut held = Vec::new();
        for _ in 0..20 {
            held.push(scrapes.page().await.unwrap());
        }
        let mut at: Vec<_> = held.iter().map(|page| page.as_ptr()).collect();
        at.sort();
        at.dedup();
        assert_eq!(at.len(), PAGES_MAX);
        drop(held);
        metrics.topic("second").messages_in.inc();
        let fresh = scrapes.page().await.unwrap();
        assert!(String::from_utf8_lossy(&fresh).contains("\"second\""), "it renders again");
    }
}

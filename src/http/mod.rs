//! The HTTP side: `/metrics` for Prometheus, `/healthz` for what restarts processes, `/` for people.
//!
//! One request per connection, within a time and a size (see `accept.rs`): no client here needs more.

mod accept; // connections, and the limits on each
mod scrapes; // the page of metrics, rendered once for all that wait for it

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tracing::{debug, error};

use crate::metrics::Metrics;
use accept::Acceptor;
use scrapes::Scrapes;

/// How long requests that are being answered may go on after the shutdown began.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Says whether the broker works; the error is the reason why not, for people.
pub type Health = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the pages are made of.
pub struct HttpState {
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// What `/healthz` asks.
    pub health: Health,
}

#[derive(Clone)]
struct Pages {
    scrapes: Scrapes,
    health: Health,
}

/// Serves until `shutdown` completes, then lets answers that are on their way finish for a moment.
pub async fn serve(listener: TcpListener, state: HttpState, shutdown: impl Future<Output = ()>) {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(Acceptor::new(listener), router(state)).with_graceful_shutdown(async {
        // The sender is dropped at the shutdown.
        let _ = stopped.await;
    });
    let deadline = async {
        shutdown.await;
        drop(stop);
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        ended = server.into_future() => if let Err(error) = ended { debug!(%error, "http server ended") },
        () = deadline => debug!("http clients were still connected"),
    }
}

fn router(state: HttpState) -> Router {
    let pages = Pages { scrapes: Scrapes::start(state.metrics), health: state.health };
    Router::new()
        .route("/", get(front))
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .fallback(missing)
        .with_state(pages)
}

/// An answer after which the connection is closed.
fn answer(status: StatusCode, content_type: &str, body: impl Into<Body>) -> Response {
    let headers = [(header::CONTENT_TYPE, content_type), (header::CONNECTION, "close")];
    (status, headers, body.into()).into_response()
}

const PLAIN: &str = "text/plain; charset=utf-8";

async fn front() -> Response {
    let text = concat!(
        "Braid ",
        env!("CARGO_PKG_VERSION"),
        ", a Kafka-compatible broker.\n\n",
        "Kafka clients connect to the broker's other port (listeners, 9092 by default). This one has:\n\n",
        "  /metrics   what the broker counts, for Prometheus\n",
        "  /healthz   200 if the broker works, 503 and the reason if not\n",
    );
    answer(StatusCode::OK, PLAIN, text)
}

async fn missing() -> Response {
    answer(StatusCode::NOT_FOUND, PLAIN, "no such page; / lists those there are\n")
}

async fn health(State(pages): State<Pages>) -> Response {
    match (pages.health)() {
        Ok(()) => answer(StatusCode::OK, PLAIN, "ok\n"),
        Err(reason) => answer(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{reason}\n")),
    }
}

async fn metrics(State(pages): State<Pages>) -> Response {
    match pages.scrapes.page().await {
        Ok(page) => answer(StatusCode::OK, Metrics::content_type(), page),
        Err(error) => {
            error!(%error, "metrics cannot be rendered");
            let why = format!("metrics cannot be rendered: {error}\n");
            answer(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, why)
        }
    }
}

#[cfg(test)]
mod tests;

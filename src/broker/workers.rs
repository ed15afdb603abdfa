//! Threads for requests that compute for long: a request for all partitions of a large cluster, a Fetch of
//! thousands of partitions, batches that unpack to many times their size.
//!
//! The threads that serve sockets must not compute for more than some milliseconds at a time, or every client
//! waits. These threads are few, run at a lower priority, and are started by the first request that needs
//! them.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tracing::warn;

/// The lower priority: a nice value. Sockets are served first, and computing still goes on.
const NICE: i32 = 5;

/// The threads; none before they are needed.
pub struct Workers {
    threads: usize,
    runtime: OnceLock<Option<Runtime>>,
    /// As many computations with memory of their own as there are threads.
    turns: Arc<Semaphore>,
}

impl Default for Workers {
    fn default() -> Workers {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (cores / 2).max(1);
        Workers { threads, runtime: OnceLock::new(), turns: Arc::new(Semaphore::new(threads)) }
    }
}

impl Workers {
    /// Runs a future on these threads, until it is done or the caller drops it. A panic in it is the
    /// caller's. Where threads cannot be started it runs on the caller's, and so it does in a runtime of one
    /// thread, whose time may be paused.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let Some(threads) = self.handle() else { return work.await };
        let mut task = Task(threads.spawn(work));
        match (&mut task.0).await {
            Ok(done) => done,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The broker is going down, and so is the connection.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// The same for work that needs memory of its own while it goes on: one after another on each thread.
    pub async fn compute<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let turns = self.turns.clone();
        self.run(async move {
            // The semaphore is never closed.
            let _turn = turns.acquire().await;
            work.await
        })
        .await
    }

    fn handle(&self) -> Option<Handle> {
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            return None;
        }
        self.runtime.get_or_init(|| start(self.threads)).as_ref().map(|runtime| runtime.handle().clone())
    }
}

fn start(threads: usize) -> Option<Runtime> {
    let started = Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("worker")
        .on_thread_start(|| {
            // Without it these threads compete with those that serve sockets, which is slower and not wrong.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
        })
        .enable_all()
        .build();
    started.inspect_err(|error| warn!(%error, "no threads for long requests")).ok()
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(Some(runtime)) = self.runtime.take() {
            // It may be dropped where nobody may wait.
            runtime.shutdown_background();
        }
    }
}

/// A task that ends when it is dropped.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn work_runs_on_another_thread_and_its_result_comes_back() {
        let workers = Workers::default();
        let name = workers.run(async { std::thread::current().name().map(str::to_owned) }).await;
        assert_eq!(name.as_deref(), Some("worker"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn work_that_nobody_waits_for_ends() {
        let workers = Workers::default();
        let alive = Arc::new(());
        let held = alive.clone();
        let endless = workers.run(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        assert!(tokio::time::timeout(std::time::Duration::from_millis(20), endless).await.is_err());
        while Arc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    #[should_panic(expected = "in the work")]
    async fn a_panic_is_the_callers() {
        Workers::default().run(async { panic!("in the work") }).await
    }
}

//! What has changed lately: two marks of a figure that only grows, so that any scraper, however
//! often, sees the change over the same length of time.

use std::time::{Duration, Instant};

/// Two earlier values of a figure.
pub(super) struct Recent<T> {
    window: Duration,
    older: (Instant, T),
    newer: (Instant, T),
}

impl<T: Clone> Recent<T> {
    /// Begins now, with this value. [`Recent::oldest`] will be as old as the window, and at most twice as old
    /// if it is asked for often enough.
    pub(super) fn new(window: Duration, value: T) -> Self {
        let now = (Instant::now(), value);
        Self { window, older: now.clone(), newer: now }
    }

    /// Marks the value now, if the last mark is old enough.
    pub(super) fn mark(&mut self, now: Instant, value: &T) {
        if now.saturating_duration_since(self.newer.0) >= self.window {
            self.older = std::mem::replace(&mut self.newer, (now, value.clone()));
        }
    }

    /// The value of the last mark.
    pub(super) fn newest(&self) -> &T {
        &self.newer.1
    }

    /// The value of the mark before, and when that was.
    pub(super) fn oldest(&self) -> (Instant, &T) {
        (self.older.0, &self.older.1)
    }
}

impl Recent<f64> {
    /// Marks the value, and says by how much it grew a second lately.
    pub(super) fn rate(&mut self, now: Instant, value: f64) -> f64 {
        self.mark(now, &value);
        let (since, before) = self.oldest();
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        if seconds > 0.0 { (value - before) / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_looks_back_between_one_window_and_two() {
        let mut recent = Recent::new(Duration::from_secs(10), 0.0);
        let begin = recent.older.0;
        let mut rate = |s: u64, value: f64| recent.rate(begin + Duration::from_secs(s), value);
        assert_eq!(rate(0, 5.0), 0.0);
        assert_eq!(rate(5, 10.0), 2.0);
        assert_eq!(rate(10, 20.0), 2.0);
        assert_eq!(rate(20, 20.0), 0.0, "from the mark at 10");
        assert_eq!(rate(25, 50.0), 2.0, "still from the mark at 10");
    }
}

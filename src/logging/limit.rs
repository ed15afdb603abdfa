//! Limits how many lines one place in the code may write, so that a client that causes warnings at will
//! cannot fill the disk. What is left out is counted, and the count is written.
//!
//! Lines of levels DEBUG and TRACE are switched on by an operator and not limited.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::field::{Field, Value, Visit};
use tracing::metadata::Kind;
use tracing::{Callsite as _, Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The time that lines are counted for.
const WINDOW: Duration = Duration::from_secs(10);
/// Warnings and errors of one place in a window, and after a window in which some were left out.
const WARNINGS: [u32; 2] = [50, 10];
/// The same for information: it is also caused by tools that create many topics.
const INFORMATION: [u32; 2] = [200, 50];
/// Characters of a message that are repeated when others like it are left out.
const LIKE_MAX: usize = 200;

/// Formats events, as many as the limits allow.
pub(super) struct Limited<F> {
    inner: F,
    places: Mutex<Places<Identifier>>,
}

impl<F> Limited<F> {
    pub(super) fn new(inner: F) -> Limited<F> {
        Limited { inner, places: Mutex::default() }
    }
}

impl<S, N, F> FormatEvent<S, N> for Limited<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return self.inner.format_event(ctx, writer, event);
        }
        let mut reports = Vec::new();
        let (place, message) = (metadata.callsite(), || message(event));
        let kind = (*metadata.level(), metadata.target());
        let may_pass = self.places.lock().admit(place, kind, Instant::now(), message, &mut reports);
        for report in reports {
            report.format(|event| self.inner.format_event(ctx, writer.by_ref(), event))?;
        }
        if may_pass { self.inner.format_event(ctx, writer, event) } else { Ok(()) }
    }
}

/// The message of an event, or its beginning.
fn message(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}").chars().take(LIKE_MAX).collect();
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    message.0
}

/// The places that have written lines, each with its window.
struct Places<K>(HashMap<K, Window>);

impl<K> Default for Places<K> {
    fn default() -> Self {
        Places(HashMap::new())
    }
}

struct Window {
    level: Level,
    target: &'static str,
    began: Instant,
    /// Lines that may yet be written in it.
    left: u32,
    /// Lines left out in it, and what the first of them said.
    omitted: u64,
    like: String,
    /// Whether lines were left out in the window before.
    was_flooded: bool,
}

impl Window {
    fn begin(level: Level, target: &'static str, now: Instant, was_flooded: bool) -> Window {
        let limits = if level == Level::INFO { INFORMATION } else { WARNINGS };
        let left = if was_flooded { limits[1] } else { limits[0] };
        Window { level, target, began: now, left, omitted: 0, like: String::new(), was_flooded }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= WINDOW
    }
}

impl<K: Eq + std::hash::Hash> Places<K> {
    /// Whether this place may write a line now. Adds what has to be reported before it.
    fn admit(
        &mut self,
        place: K,
        (level, target): (Level, &'static str),
        now: Instant,
        message: impl FnOnce() -> String,
        reports: &mut Vec<Report>,
    ) -> bool {
        for window in self.0.values_mut().filter(|window| window.omitted > 0 && window.is_over(now)) {
            let next = Window::begin(window.level, window.target, now, true);
            let Window { level, target, omitted, like, .. } = std::mem::replace(window, next);
            reports.push(Report { level, target, like, omitted: Some(omitted) });
        }
        let window = self.0.entry(place).or_insert_with(|| Window::begin(level, target, now, false));
        if window.is_over(now) {
            *window = Window::begin(level, target, now, false);
        }
        if window.left > 0 {
            window.left -= 1;
            return true;
        }
        window.omitted += 1;
        if window.omitted == 1 {
            window.like = message();
            if !window.was_flooded {
                reports.push(Report { level, target, like: window.like.clone(), omitted: None });
            }
        }
        false
    }
}

/// A line about lines that are left out.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    level: Level,
    target: &'static str,
    like: String,
    /// How many they were; none when they begin to be left out.
    omitted: Option<u64>,
}

/// The metadata of a report: levels have to be constants.
macro_rules! metadata {
    ($level:expr) => {{
        let callsite = tracing::callsite! {
            name: "lines left out",
            kind: Kind::EVENT,
            target: "braid::logging",
            level: $level,
            fields: message, logger, like, lines
        };
        callsite.metadata()
    }};
}

impl Report {
    /// Hands this report on as an event.
    fn format(&self, write: impl FnOnce(&Event<'_>) -> fmt::Result) -> fmt::Result {
        let metadata: &'static Metadata<'static> = match self.level {
            Level::ERROR => metadata!(Level::ERROR),
            Level::WARN => metadata!(Level::WARN),
            _ => metadata!(Level::INFO),
        };
        let message = match self.omitted {
            Some(_) => "lines were left out",
            None => "too many lines: those like this one are counted and left out",
        };
        let like = self.like.as_str();
        let fields = metadata.fields();
        let mut values: Vec<Option<&dyn Value>> = vec![Some(&message), Some(&self.target), Some(&like)];
        values.push(self.omitted.as_ref().map(|lines| lines as &dyn Value));
        write(&Event::new(metadata, &fields.value_set_all(&values)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: (Level, &str) = (Level::WARN, "braid::server");

    #[test]
    fn a_flood_is_reported_when_it_begins_and_once_a_window() {
        let mut places = Places::default();
        let begin = Instant::now();
        let mut reports = Vec::new();
        let mut flood = |seconds: u64, reports: &mut Vec<Report>| {
            let now = begin + Duration::from_secs(seconds);
            (0..1_000).filter(|_| places.admit(1, KIND, now, || "no".to_owned(), reports)).count()
        };
        let report = |omitted| {
            let (level, target) = KIND;
            Report { level, target, like: "no".to_owned(), omitted }
        };
        assert_eq!(flood(0, &mut reports), 50);
        assert_eq!(std::mem::take(&mut reports), [report(None)]);
        assert_eq!(flood(9, &mut reports), 0);
        assert_eq!(flood(10, &mut reports), 10, "fewer while it goes on");
        assert_eq!(std::mem::take(&mut reports), [report(Some(1_950))]);
        assert_eq!(flood(20, &mut reports), 10);
        assert_eq!(std::mem::take(&mut reports), [report(Some(990))]);
        let now = begin + Duration::from_secs(30);
        assert!(places.admit(2, KIND, now, || "other".to_owned(), &mut reports), "others are not limited");
        assert_eq!(std::mem::take(&mut reports), [report(Some(990))], "the count is not lost");
        let now = begin + Duration::from_secs(50);
        let written = (0..60).filter(|_| places.admit(1, KIND, now, String::new, &mut reports)).count();
        assert_eq!(written, 50, "it is over");
    }

    #[test]
    fn places_and_levels_have_limits_of_their_own() {
        let mut places = Places::default();
        let now = Instant::now();
        let mut written = |place: i32, level| {
            let mut reports = Vec::new();
            (0..500).filter(|_| places.admit(place, (level, "x"), now, String::new, &mut reports)).count()
        };
        assert_eq!(written(1, Level::WARN), 50);
        assert_eq!(written(2, Level::ERROR), 50);
        assert_eq!(written(3, Level::INFO), 200);
    }
}

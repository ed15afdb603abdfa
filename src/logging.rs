//! The program's own log: one line per event on stderr, readable or JSON, with a level for each part of the
//! broker that can be changed while it runs (KIP-412).

mod escape; // no value ends a line
mod limit; // no place in the code floods the log

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use parking_lot::Mutex;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::LogFormat;
use escape::OneLine;
use limit::Limited;

/// The logger that all others follow until they have a level of their own.
pub const ROOT: &str = "root";
/// The others, the rooms of the broker, with dots as Kafka's have: its tool takes no colons in a name. A
/// logger stands for all whose names begin like its own.
const LOGGERS: &[&str] = &[
    "braid",
    "braid.api",
    "braid.broker",
    "braid.cluster",
    "braid.config",
    "braid.connection",
    "braid.group",
    "braid.http",
    "braid.logging",
    "braid.machine",
    "braid.metrics",
    "braid.notify",
    "braid.protocol",
    "braid.server",
    "braid.storage",
    "braid.tools",
    "braid.topic",
    "braid.txn",
    "braid.upkeep",
];

/// The levels by the names Kafka takes, the most talkative first. Nothing here is fatal.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("TRACE", LevelFilter::TRACE),
    ("DEBUG", LevelFilter::DEBUG),
    ("INFO", LevelFilter::INFO),
    ("WARN", LevelFilter::WARN),
    ("ERROR", LevelFilter::ERROR),
    ("FATAL", LevelFilter::ERROR),
];

/// The way to the filter of a log that has begun.
pub struct Filter {
    start: Targets,
    replace: Box<dyn Fn(Targets) -> Result<(), String> + Send + Sync>,
}

/// Begins logging for the whole process. `RUST_LOG` says what to tell (`info` if it is not set).
///
/// The error is one line for people: `RUST_LOG` cannot be understood, or logging began already.
pub fn begin(format: LogFormat) -> Result<Filter, String> {
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let start = targets(&wanted).map_err(|e| format!("RUST_LOG must be like info or braid=debug: {e}"))?;
    let (subscriber, filter) = subscriber(format, start, io::stderr, io::stderr().is_terminal());
    tracing::subscriber::set_global_default(subscriber).map_err(|e| e.to_string())?;
    Ok(filter)
}

/// What `RUST_LOG` says, over `info` for all that it does not name.
fn targets(wanted: &str) -> Result<Targets, String> {
    // An empty text is parsed too, and means that nothing is told.
    let wanted = if wanted.is_empty() { "info" } else { wanted };
    let named: Targets = wanted.parse().map_err(|e| format!("{e}"))?;
    Ok(if named.default_level().is_some() { named } else { named.with_default(LevelFilter::INFO) })
}

fn subscriber<W>(
    format: LogFormat,
    start: Targets,
    writer: W,
    colours: bool,
) -> (Box<dyn Subscriber + Send + Sync>, Filter)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(start.clone());
    let lines = fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<_> + Send + Sync> = match format {
        LogFormat::Text => {
            lines.compact().with_ansi(colours).fmt_fields(OneLine).map_event_format(Limited::new).boxed()
        }
        LogFormat::Json => lines.json().flatten_event(true).map_event_format(Limited::new).boxed(),
    };
    let replace = move |targets| handle.reload(targets).map_err(|e| e.to_string());
    let filter_of = Filter { start, replace: Box::new(replace) };
    (Box::new(Registry::default().with(filter).with(lines)), filter_of)
}

/// What the lines of a logger are marked with: two of the rooms are crates of their own.
fn target(logger: &str) -> String {
    match logger {
        "braid.protocol" | "braid.storage" => logger.replace('.', "_"),
        room => room.replace('.', "::"),
    }
}

/// Why a logger is not altered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such logger.
    #[error("Logger {0} does not exist!")]
    Unknown(String),
    /// There is no such level.
    #[error(
        "Cannot set the log level of {0} to {1} as it is not a supported log level. \
         Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN"
    )]
    Level(String, String),
    /// All others follow it.
    #[error("Removing the log level of the root logger is not allowed")]
    Root,
    /// The log does not take it.
    #[error("the log did not take its new levels: {0}")]
    Log(String),
}

/// The levels of the loggers, as they are now. A change is gone when the broker ends, as in Kafka.
#[derive(Default)]
pub struct Loggers {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    filter: Option<Filter>,
    altered: BTreeMap<String, LevelFilter>,
}

impl State {
    /// What is told with these alterations.
    fn targets(&self, altered: &BTreeMap<String, LevelFilter>) -> Targets {
        let start = self.filter.as_ref().map(|filter| filter.start.clone());
        let start = start.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
        altered.iter().fold(start, |targets, (name, level)| match name.as_str() {
            ROOT => targets.with_default(*level),
            name => targets.with_target(target(name), *level),
        })
    }
}

impl Loggers {
    /// Alters this log from now on.
    pub fn attach(&self, filter: Filter) {
        self.state.lock().filter = Some(filter);
    }

    /// Every logger and its level, sorted.
    pub fn levels(&self) -> Vec<(&'static str, &'static str)> {
        let state = self.state.lock();
        let targets = state.targets(&state.altered);
        let enabled = |name: &str, level: LevelFilter| match name {
            ROOT => targets.default_level().is_some_and(|now| now >= level),
            name => level.into_level().is_some_and(|level| targets.would_enable(&target(name), &level)),
        };
        let one = |name: &&'static str| {
            let level = LEVELS.iter().find(|(_, level)| enabled(name, *level));
            (*name, level.map_or("OFF", |(words, _)| *words))
        };
        LOGGERS.iter().chain([&ROOT]).map(one).collect()
    }

    /// Gives loggers these levels, or none of their own any more; all of them or none. With `only_check` it
    /// says what would come of it.
    pub fn alter(&self, wanted: &[(String, Option<String>)], only_check: bool) -> Result<(), Refused> {
        let mut state = self.state.lock();
        let mut altered = state.altered.clone();
        for (name, level) in wanted {
            let level = level.as_ref().map(|level| {
                let found = LEVELS.iter().find(|(words, _)| words == level).map(|(_, filter)| *filter);
                found.ok_or_else(|| Refused::Level(name.clone(), level.clone()))
            });
            let level = level.transpose()?;
            if name != ROOT && !LOGGERS.contains(&name.as_str()) {
                return Err(Refused::Unknown(name.clone()));
            }
            match level {
                Some(level) => altered.insert(name.clone(), level),
                None if name == ROOT => return Err(Refused::Root),
                None => altered.remove(name),
            };
        }
        if only_check {
            return Ok(());
        }
        if let Some(filter) = &state.filter {
            (filter.replace)(state.targets(&altered)).map_err(Refused::Log)?;
        }
        state.altered = altered;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).unwrap()
        }
    }

    fn log(format: LogFormat, wanted: &str) -> (Page, Box<dyn Subscriber + Send + Sync>, Filter) {
        let page = Page::default();
        let writer = page.clone();
        let start = targets(wanted).unwrap();
        let (subscriber, filter) = subscriber(format, start, move || writer.clone(), false);
        (page, subscriber, filter)
    }

    fn written(format: LogFormat) -> String {
        let (page, subscriber, _) = log(format, "info");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(topic = "orders", partition = 3, "created");
            tracing::debug!("too much");
        });
        page.text()
    }

    fn set(name: &str, level: &str) -> [(String, Option<String>); 1] {
        [(name.to_owned(), Some(level.to_owned()))]
    }

    // Found by trying the README: with RUST_LOG unset a broker started without a word.
    #[test]
    fn unless_told_otherwise_it_is_info() {
        for (wanted, level) in [("", LevelFilter::INFO), ("warn", LevelFilter::WARN)] {
            assert_eq!(targets(wanted).unwrap().default_level(), Some(level), "{wanted:?}");
        }
    }

    #[test]
    fn levels_change_while_the_log_goes_on() {
        let (page, subscriber, filter) = log(LogFormat::Text, "warn,braid::http=debug");
        let loggers = Loggers::default();
        loggers.attach(filter);
        let level = |name: &str| loggers.levels().into_iter().find(|(n, _)| *n == name).unwrap().1;
        assert_eq!((level(ROOT), level("braid.api"), level("braid.http")), ("WARN", "WARN", "DEBUG"));
        let back = [("braid.group".to_owned(), None)];
        tracing::subscriber::with_default(subscriber, || {
            let tell = |step: &str| {
                tracing::debug!(target: "braid::group", step, "group");
                tracing::info!(target: "braid::api", step, "api");
            };
            tell("one");
            loggers.alter(&set("braid.group", "DEBUG"), false).unwrap();
            tell("two");
            loggers.alter(&set(ROOT, "INFO"), false).unwrap();
            loggers.alter(&back, true).unwrap();
            tell("three");
            loggers.alter(&back, false).unwrap();
            tell("four");
        });
        let text = page.text();
        let told: Vec<_> = text.lines().map(|l| l.rsplit(' ').take(2).collect::<String>()).collect();
        let expected = ["step=\"two\"group", "step=\"three\"group", "step=\"three\"api", "step=\"four\"api"];
        assert_eq!(told, expected, "{text}");
        assert_eq!((level(ROOT), level("braid.group"), level("braid.http")), ("INFO", "INFO", "DEBUG"));
    }

    #[test]
    fn what_cannot_be_altered_is_said_and_nothing_is() {
        let loggers = Loggers::default();
        let refused = |wanted: &[(String, Option<String>)]| loggers.alter(wanted, false).unwrap_err();
        let unknown = [set("braid.api", "DEBUG"), set("kafka.server", "DEBUG")].concat();
        assert_eq!(refused(&unknown), Refused::Unknown("kafka.server".to_owned()));
        assert!(refused(&set(ROOT, "LOUD")).to_string().contains("root to LOUD"));
        assert_eq!(refused(&[(ROOT.to_owned(), None)]), Refused::Root);
        assert!(loggers.levels().iter().all(|(_, level)| *level == "INFO"));
        loggers.alter(&set("braid", "FATAL"), false).unwrap();
        assert_eq!(loggers.levels().into_iter().find(|(n, _)| *n == "braid.topic").unwrap().1, "ERROR");
    }

    #[test]
    fn every_room_has_a_logger() {
        let tour = include_str!("lib.rs");
        let rooms = tour.lines().filter_map(|line| line.strip_prefix("pub mod ")?.split_once(';'));
        let missing: Vec<_> =
            rooms.filter(|(room, _)| !LOGGERS.contains(&format!("braid.{room}").as_str())).collect();
        // the command line is read before there is a log
        assert!(missing.iter().all(|(room, _)| *room == "args"), "{missing:?}");
        assert!(LOGGERS.is_sorted());
        assert_eq!(["braid.api", "braid.storage"].map(target), ["braid::api", "braid_storage"]);
    }

    #[test]
    fn text_is_one_line_without_colours() {
        let text = written(LogFormat::Text);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("INFO") && text.contains("created topic=\"orders\" partition=3"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    // A client created a topic with a newline in its name, and the log had a line of its own making.
    #[test]
    fn what_clients_name_cannot_forge_a_line() {
        let forged = "x\n2026-01-01T00:00:00Z ERROR braid::topic: all is lost \u{1b}[2J";
        for format in [LogFormat::Text, LogFormat::Json] {
            let (page, subscriber, _) = log(format, "info");
            tracing::subscriber::with_default(subscriber, || {
                tracing::info!(topic = forged, id = %forged, list = ?[forged], "created {forged}");
                tracing::warn!("{forged}");
                let error = io::Error::other(forged);
                tracing::error!(error = &error as &dyn std::error::Error, "failed");
            });
            let text = page.text();
            assert_eq!(text.lines().count(), 3, "{text}");
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
        }
    }

    // Clients that were refused over and over made 204 MB of warnings.
    #[test]
    fn warnings_that_a_client_repeats_are_counted_instead_of_written() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let (page, subscriber, _) = log(format, "info,braid::debugged=debug");
            tracing::subscriber::with_default(subscriber, || {
                for n in 0..10_000 {
                    tracing::warn!(target: "braid::server", client = n, "refused: limit {n}");
                    tracing::debug!(target: "braid::debugged", n, "debug is not limited");
                }
                tracing::warn!(target: "braid::server", "something else");
            });
            let text = page.text();
            let with = |words: &str| text.lines().filter(|line| line.contains(words)).count();
            assert_eq!(with("client"), 50);
            assert_eq!(with("left out"), 1, "{format:?}");
            assert_eq!((with("something else"), with("debug is not limited")), (1, 10_000));
            let report = text.lines().find(|line| line.contains("left out")).unwrap();
            let words = ["WARN", "refused: limit 50", "braid::server"];
            assert!(words.iter().all(|word| report.contains(word)), "{report}");
        }
    }

    #[test]
    fn json_is_one_object_with_the_fields_at_its_top() {
        let text = written(LogFormat::Json);
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!((&line["topic"], &line["partition"]), (&"orders".into(), &3.into()));
        assert_eq!((&line["message"], &line["level"]), (&"created".into(), &"INFO".into()));
    }
}

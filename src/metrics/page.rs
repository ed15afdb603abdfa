//! Prometheus's text format for families that are put together at each scrape: a line is written once, and
//! nothing is kept of it, so that a page of many partitions costs little more than its bytes.

use std::fmt::{Display, Write};

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Quantiles, a sum and a count.
    Summary,
    /// A gauge whose name ends like a part of a histogram or a summary.
    Untyped,
}

/// The text.
#[derive(Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    /// Begins a family. Names are written once a page, and their series behind them.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Summary => "summary",
            Kind::Untyped => "untyped",
        };
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { page: self, name: name.to_owned() }
    }

    /// A family of one value.
    pub(super) fn one(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help).add(&Labels::none(), value);
    }

    /// The text, and behind it what was put together here.
    pub(super) fn behind(self, mut text: String) -> String {
        text.push_str(&self.text);
        text
    }

    fn put(&mut self, words: std::fmt::Arguments<'_>) {
        // Writing into a string cannot fail.
        let _ = self.text.write_fmt(words);
    }
}

/// A family of a [`Page`].
pub(super) struct Family<'a> {
    page: &'a mut Page,
    name: String,
}

impl Family<'_> {
    /// Adds a value with these labels.
    pub(super) fn add(&mut self, labels: &Labels, value: impl Display) {
        self.add_as("", labels, value);
    }

    /// Adds a value whose name goes on behind the family's: `_count`.
    pub(super) fn add_as(&mut self, suffix: &str, labels: &Labels, value: impl Display) {
        let text = &mut self.page.text;
        text.extend([self.name.as_str(), suffix, labels.0.as_str(), " "]);
        self.page.put(format_args!("{value}\n"));
    }
}

/// Labels as they stand in a line, braces included; put together once and used in many families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Labels(String);

impl Labels {
    /// No labels.
    pub(super) fn none() -> Labels {
        Labels::default()
    }

    /// These labels. The names are the caller's; the values may be anything.
    pub(super) fn of(labels: &[(&str, &str)]) -> Labels {
        labels.iter().fold(Labels::none(), |all, (name, value)| all.and(name, value))
    }

    /// One more label.
    pub(super) fn and(&self, name: &str, value: &str) -> Labels {
        let mut text = match self.0.strip_suffix('}') {
            Some(others) => format!("{others},{name}=\""),
            None => format!("{{{name}=\""),
        };
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push_str("\"}");
        Labels(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_prometheus_text() {
        let mut page = Page::default();
        page.one("up", Kind::Gauge, "Whether it is up.", 1);
        let mut times = page.family("times", Kind::Summary, "How long.");
        let labels = Labels::of(&[("api", "a\"b\\c\nd"), ("x", "")]);
        times.add(&labels.and("quantile", "0.5"), f64::NAN);
        times.add_as("_count", &labels, 7_u64);
        let expected = "before\n# HELP up Whether it is up.\n# TYPE up gauge\nup 1\n\
            # HELP times How long.\n# TYPE times summary\n\
            times{api=\"a\\\"b\\\\c\\nd\",x=\"\",quantile=\"0.5\"} NaN\n\
            times_count{api=\"a\\\"b\\\\c\\nd\",x=\"\"} 7\n";
        assert_eq!(page.behind("before\n".to_owned()), expected);
    }
}

//! Fields of a readable line. Clients choose names of topics, client ids and much else: no value may end the
//! line or move the cursor, so characters that are not printed are escaped.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// Writes the message, then `name=value` for each field, all on one line.
pub(super) struct OneLine;

impl<'w> FormatFields<'w> for OneLine {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = Fields { out: Escaped(writer), is_first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct Fields<'w> {
    out: Escaped<Writer<'w>>,
    is_first: bool,
    result: fmt::Result,
}

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: &dyn Debug) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.out.write_char(' ')?;
        }
        match field.name() {
            "message" => write!(self.out, "{value:?}"),
            name => write!(self.out, "{}={value:?}", name.strip_prefix("r#").unwrap_or(name)),
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.result.is_ok() {
            self.result = self.put(field, value);
        }
    }
}

/// Passes text on, with an escape in the place of what is not printed.
struct Escaped<W>(W);

impl<W: Write> Write for Escaped<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_hidden) {
            let (before, hidden) = rest.split_at(at);
            self.0.write_str(before)?;
            let mut hidden = hidden.chars();
            if let Some(c) = hidden.next() {
                write!(self.0, "{}", c.escape_default())?;
            }
            rest = hidden.as_str();
        }
        self.0.write_str(rest)
    }
}

/// Controls, other ends of lines, and marks that change the direction of what is behind them.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_passed_on_and_what_is_not_printed_is_escaped() {
        let escaped = |text: &str| {
            let mut out = Escaped(String::new());
            out.write_str(text).unwrap();
            out.0
        };
        assert_eq!(escaped("café \"x\" \\n 鍵"), "café \"x\" \\n 鍵");
        assert_eq!(escaped("a\nb\r\t\0"), "a\\nb\\r\\t\\u{0}");
        assert_eq!(escaped("\u{1b}[2J\u{85}\u{2028}\u{202e}z"), "\\u{1b}[2J\\u{85}\\u{2028}\\u{202e}z");
        assert_eq!(escaped(""), "");
    }
}

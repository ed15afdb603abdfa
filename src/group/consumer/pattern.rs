//! Regular expressions as clients write them, made into such as our crate reads. Pure.
//!
//! Kafka compiles them with RE2/J, so that is what clients write for. Our crate speaks almost the same
//! language: it has no `\Q...\E`, which Java's Pattern.quote writes; it knows sets within sets where RE2
//! reads plain characters; and a brace must be a repetition.
//! Not done: octal escapes.

use std::iter::Peekable;
use std::str::Chars;

use regex::{Regex, RegexBuilder};

/// Bytes that a compiled expression may take.
const REGEX_MAX_BYTES: usize = 1 << 20;

#[cfg(test)]
thread_local! {
    /// How many this thread has compiled.
    pub(in crate::group) static COMPILED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The expression, if it is one, so that it matches whole names only.
pub(super) fn compiled(regex: &str) -> Result<Regex, String> {
    #[cfg(test)]
    COMPILED.set(COMPILED.get() + 1);
    let regex = translated(regex);
    let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(REGEX_MAX_BYTES).build();
    build(&regex).and_then(|_| build(&format!(r"\A(?:{regex})\z"))).map_err(|e| e.to_string())
}

/// The same in our crate's words. What neither reads stays as it is, and is refused with its name.
fn translated(regex: &str) -> String {
    let mut out = String::with_capacity(regex.len());
    let mut rest = regex.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' if rest.next_if_eq(&'Q').is_some() => out.push_str(&regex::escape(&quoted(&mut rest))),
            '\\' => {
                escape(&mut rest, &mut out);
            }
            '[' => class(&mut rest, &mut out),
            '{' if !is_repetition(rest.clone()) => out.push_str(r"\{"),
            c => out.push(c),
        }
    }
    out
}

/// What stands before `\E`, or before the end if there is none.
fn quoted(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut text = String::new();
    while let Some(c) = rest.next() {
        if c == '\\' && rest.next_if_eq(&'E').is_some() {
            break;
        }
        text.push(c);
    }
    text
}

/// Copies an escape whose backslash is already read, with its braces if they belong to it. True if it may
/// stand for more than one character.
fn escape(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> bool {
    out.push('\\');
    let Some(c) = rest.next() else { return false };
    out.push(c);
    match rest.peek() {
        Some('{') if matches!(c, 'x' | 'p' | 'P') => {
            while let Some(c) = rest.next_if(|c| *c != '}') {
                out.push(c);
            }
            out.extend(rest.next());
        }
        _ if matches!(c, 'p' | 'P') => out.extend(rest.next()),
        _ => {}
    }
    matches!(c, 'd' | 'D' | 's' | 'S' | 'w' | 'W' | 'p' | 'P')
}

/// Whether what follows a brace makes it one: `{2}`, `{2,}`, `{2,3}`.
fn is_repetition(mut rest: Peekable<Chars<'_>>) -> bool {
    let digits = |rest: &mut Peekable<Chars<'_>>| {
        let mut any = false;
        while rest.next_if(char::is_ascii_digit).is_some() {
            any = true;
        }
        any
    };
    let begins = digits(&mut rest);
    if rest.next_if_eq(&',').is_some() {
        digits(&mut rest);
    }
    begins && rest.next() == Some('}')
}

/// Copies a class whose bracket is already read. A range stays one; all else that our crate might take for
/// more than itself is escaped.
fn class(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    out.push('[');
    out.extend(rest.next_if_eq(&'^'));
    let mut first = true;
    while let Some(c) = rest.next() {
        match c {
            ']' if !first => return out.push(']'),
            '[' if named(rest, out) => {}
            c => {
                let many = item(c, rest, out);
                let mut ahead = rest.clone();
                let is_range = !many && ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']');
                if is_range {
                    out.extend(rest.next());
                    rest.next().map(|end| item(end, rest, out));
                }
            }
        }
        first = false;
    }
}

/// Copies the rest of `[:alpha:]`, if it is one.
fn named(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> bool {
    let mut ahead = rest.clone();
    let mut name = String::new();
    name.extend(ahead.next_if_eq(&':'));
    name.extend(ahead.next_if_eq(&'^'));
    while let Some(c) = ahead.next_if(char::is_ascii_alphabetic) {
        name.push(c);
    }
    let is_named = name.starts_with(':') && ahead.next() == Some(':') && ahead.next() == Some(']');
    if is_named {
        out.push('[');
        out.push_str(&name);
        out.push_str(":]");
        *rest = ahead;
    }
    is_named
}

/// Copies one member of a class. True if it may stand for more than one character.
fn item(c: char, rest: &mut Peekable<Chars<'_>>, out: &mut String) -> bool {
    match c {
        '\\' => return escape(rest, out),
        '[' | ']' | '&' | '-' | '~' | '^' => out.extend(['\\', c]),
        c => out.push(c),
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(regex: &str, name: &str) -> bool {
        compiled(regex).unwrap_or_else(|e| panic!("{regex}: {e}")).is_match(name)
    }

    /// What our crate makes of an expression unless we translate it.
    fn raw(regex: &str, name: &str) -> Option<bool> {
        Regex::new(&format!(r"\A(?:{regex})\z")).ok().map(|regex| regex.is_match(name))
    }

    // Java clients subscribe by Pattern.quote and the like: Kafka's RE2/J took it, and we answered
    // INVALID_REGULAR_EXPRESSION.
    #[test]
    fn what_is_quoted_stands_for_itself() {
        assert_eq!(raw(r"\Qa\E", "a"), None, "else this file could go");
        for (regex, name, other) in [
            (r"\Qa.b\E", "a.b", "axb"),
            (r"\Qa.b\E.*", "a.bcd", "a_b"),
            (r"\Qa.b", "a.b", "axb"),
            (r"\Qa.b\", r"a.b\", "a.b"),
            (r"x\Q[a]{\E+|y", "x[a]{{", "xa"),
            (r"\Q\E", "", "a"),
            (r"\Q\a\E", r"\a", "a"),
            (r"\\Qa", r"\Qa", "a"),
            (r"\\\Qa.\E", r"\a.", r"\ab"),
        ] {
            assert!(matches(regex, name), "{regex}");
            assert!(!matches(regex, other), "{regex}");
        }
    }

    #[test]
    fn a_class_has_no_sets_within() {
        assert_eq!(raw("[a-c&&b]", "&"), Some(false), "else this file could go");
        for (regex, yes, no) in [
            ("[a-c&&b]", "abc&", "d"),
            ("[a-z--m]", "amz-.", ","),
            ("[a~~b]", "ab~", "c"),
            ("[+--]", "+,-", "."),
            ("[--/]", "-./", ",0"),
            ("[a-]", "a-", "b"),
            ("[-a]", "a-", "b"),
            ("[a[b]", "a[b", "]"),
            ("[]a]", "]a", "["),
            ("[^]a]", "b[", "]a"),
            (r"[\]a-c]", "]abc", "-"),
            (r"[\d-z]", "09-z", "a"),
            (r"[\pL-]", "az-", "0"),
            (r"[\pL-_]", "az-_", "0"),
            (r"[\p{L}-_]", "az-_", "0"),
            (r"[\p{L}_.\-]", "az_.-", "0"),
            ("[[:alpha:]_-]", "az_-", "0"),
            ("[[:^alpha:]]", "0_", "a"),
            ("[^[:digit:]&]", "a", "0&"),
            (r"[\x{61}-\x63]", "abc", "d"),
        ] {
            yes.chars().for_each(|c| assert!(matches(regex, &c.to_string()), "{regex} {c}"));
            no.chars().for_each(|c| assert!(!matches(regex, &c.to_string()), "{regex} {c}"));
        }
    }

    #[test]
    fn a_brace_that_is_no_repetition_is_itself() {
        assert_eq!(raw("a{", "a{"), None, "else this file could go");
        let same = ["a{", "a{}", "a{,2}", "a{x}", "{a}", "a{1", "a{1,"];
        same.iter().for_each(|text| assert!(matches(text, text), "{text}"));
        for (regex, name) in [("a{2}", "aa"), ("a{2,}", "aaa"), ("a{1,2}", "aa"), (r"\x{61}{2}", "aa")] {
            assert!(matches(regex, name), "{regex}");
        }
    }

    #[test]
    fn all_else_is_as_before_and_what_is_wrong_is_refused() {
        for (regex, name) in [
            (r"orders\..*", "orders.eu"),
            (r"(?i)Orders_\d+", "orders_12"),
            ("^a|b$", "b"),
            (r"a\-b\_c\.d", "a-b_c.d"),
            ("(?P<x>a)(?:b)", "ab"),
            (r"\pLb", "ab"),
        ] {
            assert!(matches(regex, name), "{regex}");
        }
        for regex in ["(", "a)(?:b", "[a", "[", r"a\", "*", r"[\Qa\E]", "[z-a]", r"\p{", "a{2,1}", "[a-"] {
            assert!(compiled(regex).is_err(), "{regex}");
        }
    }
}

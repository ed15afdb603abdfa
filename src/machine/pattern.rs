//! Regular expressions as clients write them: of topics (KIP-848) and of transactional ids.
//!
//! Kafka compiles them with RE2/J, so that is what clients write for. Our crate speaks almost the same
//! language: it has no `\Q...\E`, which Java's Pattern.quote writes; it knows sets within sets where RE2
//! reads plain characters; a brace must be a repetition; and its `\d`, `\w`, `\s` and `\b` are more than
//! ASCII.
//!
//! Anybody can send one, so a pattern becomes a table of states: a name costs a step for each byte, whatever
//! the pattern is, and one whose table would be large is refused. Classes are of ASCII, as names of topics
//! are; in other text a character outside of it is its bytes.
//! Not done: octal escapes.

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;
use std::sync::Arc;

use regex_automata::dfa::dense::{self, DFA};
use regex_automata::dfa::{Automaton, StartKind};
use regex_automata::nfa::thompson::{Compiler, Config, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

/// Bytes of the longest expression: a list of a few hundred topics.
const TEXT_MAX: usize = 16 << 10;
/// Groups within groups.
const NEST_MAX: u32 = 50;
/// Bytes of memory that the stages of a compilation may take; they bound its time too.
const NFA_MAX: usize = 512 << 10;
const DFA_MAX: usize = 1 << 20;
const DETERMINIZE_MAX: usize = 256 << 10;

#[cfg(test)]
thread_local! {
    /// How many this thread has compiled.
    pub(crate) static COMPILED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A regular expression that matches whole names only. Cheap to clone.
#[derive(Clone)]
pub struct Pattern {
    text: Arc<str>,
    states: Arc<DFA<Vec<u32>>>,
}

impl Pattern {
    /// Compiles an expression. That may take some tens of milliseconds. The error is for the client.
    pub fn new(text: &str) -> Result<Pattern, String> {
        #[cfg(test)]
        COMPILED.set(COMPILED.get() + 1);
        if text.len() > TEXT_MAX {
            return Err(format!("it is longer than {TEXT_MAX} bytes"));
        }
        let syntax = syntax::Config::new().utf8(false).nest_limit(NEST_MAX);
        let translated = translated(text);
        // By itself, too: `a)(b` would become one in the parentheses below.
        syntax::parse_with(&translated, &syntax).map_err(|error| error.to_string())?;
        let states = states(&format!(r"\A(?:{translated})\z"), syntax);
        let states = states.map_err(|_| "it is too complex: its states would take too much memory")?;
        Ok(Pattern { text: text.into(), states: Arc::new(states) })
    }

    /// Whether it matches this name.
    pub fn is_match(&self, name: &str) -> bool {
        let input = Input::new(name).anchored(Anchored::Yes);
        // It only fails at bytes that are to stop it, and there are none.
        matches!(self.states.try_search_fwd(&input), Ok(Some(_)))
    }

    /// Bytes of memory it takes.
    pub fn memory_bytes(&self) -> usize {
        self.text.len() + self.states.memory_usage()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

type Failure = Box<dyn std::error::Error>;

fn states(regex: &str, syntax: syntax::Config) -> Result<DFA<Vec<u32>>, Failure> {
    let config = Config::new().utf8(false).nfa_size_limit(Some(NFA_MAX)).which_captures(WhichCaptures::None);
    let nfa = Compiler::new().syntax(syntax).configure(config).build(regex)?;
    let config = dense::Config::new()
        .start_kind(StartKind::Anchored)
        .dfa_size_limit(Some(DFA_MAX))
        .determinize_size_limit(Some(DETERMINIZE_MAX));
    Ok(dense::Builder::new().configure(config).build_from_nfa(&nfa)?)
}

/// The same in our crate's words. What neither reads stays as it is, and is refused with its name.
fn translated(regex: &str) -> String {
    let mut out = String::with_capacity(regex.len());
    let mut rest = regex.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' if rest.next_if_eq(&'Q').is_some() => quoted(&mut rest).chars().for_each(|c| {
                // `\<` is the start of a word.
                out.extend((c.is_ascii_punctuation() && c != '<' && c != '>').then_some('\\'));
                out.push(c);
            }),
            '\\' => {
                let mut text = String::new();
                escape(&mut rest, &mut text);
                out.push_str(&in_ascii(text));
            }
            '[' => {
                let mut text = String::new();
                class(&mut rest, &mut text);
                out.push_str(&in_ascii(text));
            }
            '.' => out.push_str("(?-u:.)"),
            '{' if !is_repetition(rest.clone()) => out.push_str(r"\{"),
            c => out.push(c),
        }
    }
    out
}

/// An escape or a class of which only the ASCII part counts: all of Unicode makes large tables.
fn in_ascii(text: String) -> String {
    let is_unicode = !text.is_ascii() || [r"\p", r"\P", r"\x", r"\u", r"\U"].iter().any(|e| text.contains(e));
    match text.as_bytes() {
        // A class that is not closed is refused as it stands.
        [b'[', .., b']'] if is_unicode => format!(r"[{text}&&[\x00-\x7f]]"),
        [b'[', .., b']'] => format!("(?-u:{text})"),
        [b'\\', b'p' | b'P', ..] => format!(r"[{text}&&[\x00-\x7f]]"),
        [b'\\', b'd' | b'D' | b's' | b'S' | b'w' | b'W' | b'b' | b'B'] => format!("(?-u:{text})"),
        [b'\\', c @ (b'<' | b'>')] => char::from(*c).to_string(),
        _ => text,
    }
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
        Pattern::new(regex).unwrap_or_else(|e| panic!("{regex}: {e}")).is_match(name)
    }

    /// What our crate makes of an expression unless we translate it.
    fn raw(regex: &str, name: &str) -> Option<bool> {
        let states = states(&format!(r"\A(?:{regex})\z"), syntax::Config::new().utf8(false)).ok()?;
        states.try_search_fwd(&Input::new(name).anchored(Anchored::Yes)).ok().map(|found| found.is_some())
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
            (r"\Q<a>-#\E", "<a>-#", "a"),
            (r"\<a\>", "<a>", "a"),
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
            assert!(Pattern::new(regex).is_err(), "{regex}");
        }
    }

    #[test]
    fn classes_are_of_ascii_as_in_re2() {
        for (regex, yes, no) in [
            (r"\w+", "aZ_09", "é"),
            (r"\d", "7", "\u{665}"),
            (r"\pL+", "aZ", "0"),
            (r"\p{Greek}|x", "x", "y"),
            (r"[\p{L}_]+", "a_", "-"),
            (r"[^\pL]+", "0_", "a"),
            (r"\bab\b", "ab", "b"),
            ("(?i)[a-c]x", "BX", "dx"),
            ("a.c|.{3}-.*", "a-c", "a\nc"),
            ("(?s)a.c", "a\nc", "ac"),
            ("é+x", "éx", "x"),
        ] {
            assert!(matches(regex, yes), "{regex}");
            assert!(!matches(regex, no), "{regex}");
        }
    }

    // A pattern of 39 bytes kept every client waiting for 0.8 s.
    #[test]
    fn what_would_take_long_is_refused_soon_and_what_people_write_is_taken() {
        let topics = |n: usize| {
            let one = |i| format!(r"orders\.europe\.warehouse-{}\.shipments-v{i}", i * 7919 % 1000);
            (0..n).map(one).collect::<Vec<_>>().join("|")
        };
        let deep = format!("{}a{}", "(".repeat(200), ")*".repeat(200));
        let (long, many) = ("a?".repeat(8_000), "[a-m]*[g-z]*".repeat(80));
        // The largest that people write.
        let began = std::time::Instant::now();
        assert!(Pattern::new(&topics(100)).is_ok());
        let wanted = began.elapsed();
        for attack in [
            "((a{1,100}){1,100}){1,100}",
            r"((.{0,100}a){0,100}b){0,100}",
            r"(a|b)*a(a|b){20}",
            r".*a.{30}",
            r"(\pL{1,100}\PL{1,100}){1,100}",
            &deep,
            &long,
            &many,
            &"x".repeat(100_000),
        ] {
            let began = std::time::Instant::now();
            let _ = Pattern::new(attack);
            let shown: String = attack.chars().take(30).collect();
            assert!(began.elapsed() < 20 * wanted, "{shown}: {:?}, not {wanted:?}", began.elapsed());
        }
        let longest = "x".repeat(100_000);
        for attack in ["((a{1,100}){1,100}){1,100}", "(a|b)*a(a|b){20}", r".*a.{30}", &deep, &longest] {
            assert!(Pattern::new(attack).is_err());
        }
        for wanted in [
            ".*",
            r"orders\..*",
            r"(?i)[a-z]+_\d{4}-\d{2}-\d{2}.*",
            r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}\.events",
            r".*[\-\.]internal|.*\.replica|__.*",
            r"\w+\.\w+\.\w{1,64}",
            r".*(foo|bar|baz|qux)-(dev|test|prod).*",
            r"[\pL\d._-]{1,249}",
            &topics(100),
        ] {
            let made = Pattern::new(wanted);
            assert!(made.is_ok(), "{wanted}: {made:?}");
        }
    }
}

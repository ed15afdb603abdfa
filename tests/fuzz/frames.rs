//! Requests that follow the grammar and go to its limits: extremes, repetition, nesting; and bytes that were
//! such requests.

use std::fmt;

use braid_protocol::Version;
use braid_protocol::grammar::{Grammar, Member, Shape};

use crate::batches;
use crate::dice::Dice;
use crate::words::Words;

/// A request, ready to be sent.
pub(crate) struct Frame {
    /// Its bytes, the size in front.
    pub(crate) bytes: Vec<u8>,
    /// The API it is a request of, at least before it was changed.
    pub(crate) api: &'static Grammar,
    /// Its version.
    pub(crate) version: i16,
    /// What it repeats, and whether it was changed, for people.
    pub(crate) note: String,
    /// May it be answered with anything else than an answer?
    pub(crate) changed: bool,
    /// How many elements all its arrays have.
    pub(crate) elements: usize,
}

/// One array repeated and one text long, everything else as small as it can be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// The array, by its fields from the outside in; of one element if empty.
    pub(crate) array: String,
    /// How often its element is there.
    pub(crate) times: usize,
    /// The text that is long, or none.
    pub(crate) text: String,
    /// What stands in it, as often as this.
    pub(crate) long: usize,
    /// What the other texts say.
    pub(crate) fill: Fill,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.array.is_empty() {
            write!(f, "{} x {}, ", self.times, self.array)?;
        }
        if !self.text.is_empty() {
            write!(f, "{} of {} bytes, ", self.text, self.long)?;
        }
        write!(f, "other texts {:?}", self.fill)
    }
}

/// What the texts of a plan say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Fill {
    /// Nothing.
    #[default]
    Empty,
    /// A name of something that is there; always the same.
    Known,
    /// Each something else.
    Distinct,
}

/// Makes one request.
pub(crate) struct Maker<'a> {
    pub(crate) dice: &'a mut Dice,
    pub(crate) words: &'a mut Words,
    /// By which it goes, instead of by the dice.
    pub(crate) plan: Option<&'a Plan>,
    path: Vec<&'static str>,
    /// Bytes after which arrays end.
    room: usize,
    /// Do texts not repeat?
    flood: bool,
    note: String,
    /// Of all arrays until now.
    elements: usize,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(dice: &'a mut Dice, words: &'a mut Words) -> Maker<'a> {
        let room = match dice.below(2000) {
            0 => 500_000,
            1..40 => 20_000,
            _ => 1000,
        };
        let (path, note) = (Vec::new(), String::new());
        Maker { dice, words, plan: None, path, room, flood: false, note, elements: 0 }
    }

    /// A request of this API by the dice.
    pub(crate) fn frame(mut self, api: &'static Grammar, version: i16, correlation: i32) -> Frame {
        let v = api.version(version);
        let mut bytes = vec![0; 4];
        bytes.extend(api.key.to_be_bytes());
        bytes.extend(version.to_be_bytes());
        bytes.extend(correlation.to_be_bytes());
        let client: &[u8] = match self.dice.below(40) {
            0 if self.plan.is_none() => b"caf\xe9\n",
            _ => b"fuzz",
        };
        bytes.extend((client.len() as i16).to_be_bytes());
        bytes.extend(client);
        if v.flexible {
            self.tags(&[], v, &mut bytes);
        }
        self.value("", &api.request, v, &mut bytes);
        let (note, elements) = (self.note, self.elements);
        let mut frame = Frame { bytes, api, version, note, changed: false, elements };
        frame.seal();
        frame
    }

    fn value(&mut self, name: &'static str, shape: &Shape, v: Version, out: &mut Vec<u8>) {
        match shape {
            Shape::Int(bytes) => {
                let number = match self.plan {
                    Some(_) => self.modest(name),
                    None => self.words.number(self.dice, name, *bytes),
                };
                out.extend(&number.to_be_bytes()[8 - bytes..]);
            }
            Shape::Uuid => out.extend(self.words.id(self.dice).0),
            Shape::Text => self.text(name, v, out),
            Shape::Bytes => {
                let bytes = match name {
                    "records" => batches::records(self.dice, self.words),
                    _ => batches::opaque(self.dice),
                };
                length(v, false, Some(bytes.len()), out);
                out.extend(bytes);
            }
            Shape::Array(element) => self.array(name, element, v, out),
            Shape::Struct(members) => {
                self.members(members, v, out);
            }
            Shape::Nullable(inner) => self.nullable(name, inner, v, out),
        }
    }

    /// Numbers of a plan are such that most handlers do their work.
    fn modest(&mut self, name: &str) -> i64 {
        match name {
            "max_wait_ms" | "min_bytes" => 0,
            "session_epoch" | "acks" | "coordinator_epoch" | "current_leader_epoch" | "replica_id" => -1,
            "resource_type" => 2,
            "response_partition_limit" | "max_bytes" | "partition_max_bytes" => 1 << 20,
            "session_timeout_ms" | "timeout_ms" | "transaction_timeout_ms" => 10_000,
            "producer_id" | "v3_and_below_producer_id" => self.words.producers.front().map_or(-1, |p| p.0),
            _ => 0,
        }
    }

    fn nullable(&mut self, name: &'static str, inner: &Shape, v: Version, out: &mut Vec<u8>) {
        let null = v.null && self.plan.is_none() && self.dice.once_in(6);
        match inner {
            Shape::Struct(_) if !v.null => self.value(name, inner, v, out),
            Shape::Struct(_) => {
                out.push(if null { 0xff } else { 1 });
                if !null {
                    self.value(name, inner, v, out);
                }
            }
            Shape::Text if null => length(v, true, None, out),
            _ if null => length(v, false, None, out),
            _ => self.value(name, inner, v, out),
        }
    }

    fn text(&mut self, name: &'static str, v: Version, out: &mut Vec<u8>) {
        let path = || self.path.join(".");
        let text = match self.plan {
            Some(plan) if !plan.text.is_empty() && plan.text == path() => vec![b'n'; plan.long],
            Some(Plan { fill: Fill::Empty, .. }) => Vec::new(),
            Some(Plan { fill: Fill::Distinct, .. }) => self.words.fresh(),
            Some(Plan { fill: Fill::Known, .. }) => known(name).to_vec(),
            None if self.flood && self.dice.once_in(2) => self.words.fresh(),
            None => self.words.text(self.dice, name),
        };
        length(v, true, Some(text.len()), out);
        out.extend(text);
    }

    fn members(&mut self, members: &'static [Member], v: Version, out: &mut Vec<u8>) {
        for member in members.iter().filter(|member| member.field.plain(v)) {
            self.path.push(member.name);
            self.value(member.name, &member.shape, member.field.at(v), out);
            self.path.pop();
        }
        if v.flexible {
            self.tags(members, v, out);
        }
    }

    fn tags(&mut self, members: &'static [Member], v: Version, out: &mut Vec<u8>) {
        let mut section = Vec::new();
        let mut n = 0;
        for member in members {
            let Some(tag) = member.field.tagged(v) else { continue };
            if self.plan.is_none() && self.dice.once_in(2) {
                let mut body = Vec::new();
                self.value(member.name, &member.shape, member.field.at(v), &mut body);
                tagged(tag, &body, &mut section);
                n += 1;
            }
        }
        if self.plan.is_none() && self.dice.once_in(50) {
            let more = *self.dice.pick(&[1, 2, 10_000, 10_001]);
            let more = if self.room > 10_000 { more } else { more.min(3) };
            for tag in 0..more {
                tagged(1000 + tag, b"", &mut section);
            }
            n += more;
        }
        uvarint(n, out);
        out.extend(section);
    }

    fn array(&mut self, name: &'static str, element: &Shape, v: Version, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        let before = self.elements;
        let mut n = 0;
        if let Some(plan) = self.plan {
            let times = if plan.array == self.path.join(".") { plan.times } else { 1 };
            self.value(name, element, v, &mut body);
            n = 1;
            if plan.fill == Fill::Distinct {
                while n < times {
                    self.value(name, element, v, &mut body);
                    n += 1;
                }
            }
            n += self.repeat(&mut body, times - n, before);
        } else if out.len() < self.room {
            let (wanted, same) = match self.dice.below(100) {
                0..8 => (0, false),
                8..68 => (1, false),
                68..90 => (2 + self.dice.below(3), false),
                90..96 => (self.dice.below(20), false),
                96..98 => (self.dice.below(5000), false),
                _ => (1 << self.dice.below(21), true),
            };
            let flood = self.flood;
            self.flood |= wanted > 20;
            while n < wanted && (!same || n == 0) && (n < 2 || out.len() + body.len() < self.room) {
                self.value(name, element, v, &mut body);
                n += 1;
            }
            self.flood = flood;
            if same {
                let room = self.room.saturating_sub(out.len());
                let fits = room / body.len().max(1);
                n += self.repeat(&mut body, (wanted - n).min(fits), before);
            }
            if n > 20 {
                self.note = format!("{} {name}x{n}", self.note);
            }
        }
        self.elements += n;
        length(v, false, Some(n), out);
        out.extend(body);
    }

    /// Puts `more` copies of what is there behind it, with the elements that are within since `before`.
    fn repeat(&mut self, body: &mut Vec<u8>, more: usize, before: usize) -> usize {
        let element = body.clone();
        body.reserve(element.len() * more);
        (0..more).for_each(|_| body.extend(&element));
        self.elements += more * (self.elements - before);
        more
    }
}

/// A name of something that every world has.
fn known(field: &str) -> &'static [u8] {
    match field {
        "group_id" | "group" | "groups" | "groups_names" | "group_ids" | "key" | "coordinator_keys" => b"g0",
        "v3_and_below_transactional_id" | "transactional_id" | "transactional_ids" => b"x0",
        "protocol_type" => b"consumer",
        _ => b"t3",
    }
}

fn length(v: Version, short: bool, n: Option<usize>, out: &mut Vec<u8>) {
    match (v.flexible, short) {
        (true, _) => uvarint(n.map_or(0, |n| n as u32 + 1), out),
        // A length that does not fit is one that a hostile client may send as well.
        (false, true) => out.extend(n.map_or(-1, |n| n as i16).to_be_bytes()),
        (false, false) => out.extend(n.map_or(-1, |n| n as i32).to_be_bytes()),
    }
}

fn uvarint(mut n: u32, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn tagged(tag: u32, body: &[u8], out: &mut Vec<u8>) {
    uvarint(tag, out);
    uvarint(body.len() as u32, out);
    out.extend(body);
}

impl Frame {
    /// Writes the size.
    fn seal(&mut self) {
        let size = (self.bytes.len() - 4) as i32;
        self.bytes[..4].copy_from_slice(&size.to_be_bytes());
    }

    /// Does something to the bytes.
    pub(crate) fn change(&mut self, dice: &mut Dice) {
        const LENGTHS: [&[u8]; 5] = [
            &[0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0x7f, 0xff, 0xff, 0xff],
            &[0x80; 4],
            &[0x7f, 0xff],
            &[0, 0x0f, 0x42, 0x40],
        ];
        self.changed = true;
        self.note.push_str(" changed");
        for _ in 0..=dice.below(3) {
            // The correlation id stays, so that answers are known.
            let at = 12 + dice.below(self.bytes.len().saturating_sub(12).max(1));
            let at = at.min(self.bytes.len());
            let end = (at + dice.below(40)).min(self.bytes.len());
            match dice.below(9) {
                0 => self.bytes.truncate(at),
                1 => self.bytes.extend((0..dice.below(50)).map(|n| n as u8)),
                2 => drop(self.bytes.drain(at..end)),
                3 => self.bytes.extend_from_within(at..end),
                4 => {
                    let copy = self.bytes[at..end].to_vec();
                    self.bytes.splice(at..at, copy);
                }
                5 => {
                    let length = *dice.pick(&LENGTHS);
                    self.bytes.splice(at..(at + length.len()).min(self.bytes.len()), length.iter().copied());
                }
                6 if dice.once_in(4) => self.bytes[4..8].copy_from_slice(&(dice.next() as u32).to_be_bytes()),
                _ => {
                    if let Some(byte) = self.bytes.get_mut(at) {
                        *byte =
                            if dice.once_in(2) { *byte ^ (1 << dice.below(8)) } else { dice.next() as u8 };
                    }
                }
            }
        }
        self.seal();
    }
}

/// Every array and every text of a request, by the names of the fields around it.
pub(crate) fn paths(
    shape: &Shape,
    v: Version,
    path: &str,
    arrays: &mut Vec<String>,
    texts: &mut Vec<String>,
) {
    match shape {
        Shape::Array(element) => {
            arrays.push(path.to_owned());
            paths(element, v, path, arrays, texts);
        }
        Shape::Nullable(inner) => paths(inner, v, path, arrays, texts),
        Shape::Text => texts.push(path.to_owned()),
        Shape::Struct(members) => {
            for member in members.iter().filter(|member| member.field.plain(v)) {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{}", member.name);
                paths(&member.shape, member.field.at(v), &path, arrays, texts);
            }
        }
        Shape::Int(_) | Shape::Uuid | Shape::Bytes => {}
    }
}

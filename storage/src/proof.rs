//! Which bytes of a segment are known to be good, and which to be bad.
//!
//! What this process has written, or checked when it opened the log, is good. The rest is checked when it is
//! first about to be served, batch by batch: the checksum, which does not cover where a batch begins, and
//! offsets that grow and stay within the segment. A batch that is not good is a hole: it is told once, never
//! served, and what lies before and behind it is. Where a hole ends, the next batch says if the bad one's
//! length can be believed, else the index does, by an entry that the log confirms to the offset.
//!
//! Not done: nobody can tell if a batch of a compacted log was moved by a few offsets into a gap beside it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::error::Error;
use crate::index::{Floor, Indexes};
use crate::segment::{Found, Segment};
use crate::walk::Walk;

/// What is known of a segment's bytes.
pub(crate) struct Proof {
    /// From here on all is good.
    own: AtomicU64,
    /// What this process did not write has no offset from here on.
    below: AtomicI64,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Stretches of good batches, by where they begin: where they end. No two of them touch.
    good: BTreeMap<u64, u64>,
    bad: BTreeMap<u64, Hole>,
}

/// Bytes that are not good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hole {
    pub(crate) position: u64,
    pub(crate) end: u64,
    /// The first offset that cannot be read, as far as that can be told.
    pub(crate) offset: i64,
    pub(crate) why: &'static str,
}

impl Hole {
    pub(crate) fn error(&self, of: &Segment) -> Error {
        Error::Corrupt { path: of.path("log"), offset: self.offset, why: self.why }
    }
}

impl Known {
    /// Stretches kept of one segment. Readers go through it in order, so there are few.
    const STRETCHES_MAX: usize = 256;

    fn add(&mut self, mut from: u64, mut to: u64) {
        if let Some((begin, end)) = self.good.range(..=from).next_back().map(|(b, e)| (*b, *e))
            && end >= from
        {
            self.good.remove(&begin);
            (from, to) = (begin, to.max(end));
        }
        while let Some(next) = self.good.range(from..=to).next().map(|(begin, _)| *begin) {
            to = self.good.remove(&next).unwrap_or(to).max(to);
        }
        self.good.insert(from, to);
        if self.good.len() > Known::STRETCHES_MAX {
            self.good.pop_first();
        }
    }
}

impl Proof {
    /// Of a segment that is good from `own` on.
    pub(crate) fn from(own: u64) -> Proof {
        Proof { own: AtomicU64::new(own), below: AtomicI64::new(i64::MAX), known: Mutex::default() }
    }

    /// Everything from `position` on has been checked.
    pub(crate) fn trust_from(&self, position: u64) {
        self.own.fetch_min(position, Ordering::AcqRel);
    }

    /// Another segment begins at this offset, or the log ended there when it was opened.
    pub(crate) fn ends_below(&self, offset: i64) {
        self.below.store(offset, Ordering::Release);
    }

    /// How far all is known to be good from `position` on; `position` if nothing is.
    pub(crate) fn until(&self, position: u64) -> u64 {
        if position >= self.own.load(Ordering::Acquire) {
            return u64::MAX;
        }
        let known = self.known.lock();
        known.good.range(..=position).next_back().map_or(position, |(_, end)| position.max(*end))
    }

    /// The hole that this position lies in.
    pub(crate) fn hole(&self, position: u64) -> Option<Hole> {
        let known = self.known.lock();
        known.bad.range(..=position).next_back().map(|(_, hole)| *hole).filter(|hole| position < hole.end)
    }
}

/// A piece of a segment.
pub(crate) enum Step {
    Good(Found),
    Bad(Hole),
}

/// Which index helps to find out where a hole ends.
#[derive(Clone, Copy)]
pub(crate) enum Hints<'a> {
    /// The segment's own.
    OfSegment,
    /// This one, if any: for callers that hold the lock of the segment's own.
    Given(Option<&'a Indexes>),
}

/// The pieces of a segment from an index entry on, each proven by the time that it is given out.
pub(crate) struct Survey<'a> {
    segment: &'a Segment,
    walk: Walk<'a>,
    end: u64,
    /// The offset after the batch before, if that is known.
    next: Option<i64>,
    /// Up to here nothing need be checked.
    proven: u64,
    hints: Hints<'a>,
}

impl<'a> Survey<'a> {
    pub(crate) fn new(segment: &'a Segment, from: Floor, hints: Hints<'a>) -> Survey<'a> {
        let end = segment.size();
        let proven = segment.proof.until(from.position);
        let mut walk = Walk::new(segment, from.position, end, false);
        let mut next = (from.position == 0).then_some(segment.base);
        if let Some(offset) = from.offset.filter(|_| proven <= from.position) {
            // The entry tells the batch's last offset, and so its first. Kafka's need not be that exact, and
            // the batch may be moved: then it must prove itself against those before.
            match walk.step(false) {
                Ok(found) if found.header.last_offset() == offset => next = Some(found.header.base_offset),
                _ if segment.proof.hole(from.position).is_some() => {}
                _ => return Survey::new(segment, Floor::default(), hints),
            }
            walk.go_to(from.position);
        }
        Survey { segment, walk, end, next, proven, hints }
    }

    fn step(&mut self) -> Result<Step, Error> {
        let (position, proof) = (self.walk.position(), &self.segment.proof);
        if position >= self.proven {
            self.proven = proof.until(position);
        }
        if position < self.proven {
            let found = self.walk.step(false)?;
            self.next = Some(found.header.next_offset());
            return Ok(Step::Good(found));
        }
        if let Some(hole) = proof.hole(position) {
            self.walk.go_to(hole.end.min(self.end));
            return Ok(Step::Bad(hole));
        }
        match self.check() {
            Ok(found) => {
                proof.known.lock().add(position, found.end());
                self.next = Some(found.header.next_offset());
                Ok(Step::Good(found))
            }
            Err(Error::Corrupt { why, .. }) => self.quarantine(position, why).map(Step::Bad),
            Err(error) => Err(error),
        }
    }

    /// The batch at this place, if its bytes are as they were written and its offsets belong here.
    fn check(&mut self) -> Result<Found, Error> {
        let found = self.walk.step(true)?;
        let (first, last) = (found.header.base_offset, found.header.last_offset());
        let below = self.segment.proof.below.load(Ordering::Acquire);
        let bad = || {
            let why = "the offsets of the batch do not belong here";
            Err(Error::Corrupt { path: self.segment.path("log"), offset: first, why })
        };
        if last >= below || self.next.is_some_and(|next| first < next) {
            return bad();
        }
        if self.next == Some(first) || found.end() >= self.end {
            return Ok(found);
        }
        // Compaction leaves gaps; but a batch that was moved up over a gap runs into the next one.
        let behind = self.walk.step(false).map(|next| next.header.base_offset);
        self.walk.go_to(found.end());
        match behind {
            Ok(behind) if behind <= last => bad(),
            Err(Error::Io { .. }) => behind.map(|_| found),
            _ => Ok(found),
        }
    }

    fn quarantine(&mut self, position: u64, why: &'static str) -> Result<Hole, Error> {
        let end = self.end_of_hole(position)?;
        let offset = self.next.unwrap_or(self.segment.base);
        let hole = Hole { position, end, offset, why };
        if self.segment.proof.known.lock().bad.insert(position, hole).is_none() {
            self.segment.quarantined(&hole);
        }
        self.walk.go_to(end);
        Ok(hole)
    }

    /// Where batches begin again behind a bad one.
    fn end_of_hole(&mut self, bad: u64) -> Result<u64, Error> {
        let own = self.segment.proof.own.load(Ordering::Acquire);
        let stop = if own > bad { own.min(self.end) } else { self.end };
        self.walk.go_to(bad);
        if let Ok(claim) = self.walk.claim()
            && claim.end() <= stop
            && (claim.end() == stop || self.continues(&claim))
        {
            return Ok(claim.end());
        }
        let entries: Vec<(u64, i64)> = match self.hints {
            Hints::OfSegment => self.segment.with_indexes(|indexes| indexes.behind(bad).collect())?,
            Hints::Given(indexes) => indexes.into_iter().flat_map(|i| i.behind(bad)).collect(),
        };
        for (position, last) in entries.into_iter().take_while(|(position, _)| *position < stop) {
            self.walk.go_to(position);
            if self.walk.step(true).is_ok_and(|found| found.header.last_offset() == last) {
                return Ok(position);
            }
        }
        Ok(stop)
    }

    /// Does a batch follow where the bad one says that it ends?
    fn continues(&mut self, bad: &Found) -> bool {
        let at_least = self.next.unwrap_or(self.segment.base);
        self.walk.go_to(bad.end());
        let next = self.walk.claim().map(|next| next.header.base_offset);
        next.is_ok_and(|next| next == bad.header.next_offset())
            || self.walk.step(true).is_ok_and(|next| next.header.base_offset >= at_least)
    }
}

impl Iterator for Survey<'_> {
    type Item = Result<Step, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.walk.position() >= self.end {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.walk.go_to(self.end);
        }
        Some(step)
    }
}

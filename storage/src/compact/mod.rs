//! Compaction: of each key the last record is kept (`cleanup.policy=compact`).
//!
//! - `plan`: what there is to clean, and whether it is time
//! - `map`: key to last offset, in memory of a fixed size; `txns`: what transactions have to do with it
//! - `filter`: what becomes of a batch; `rewrite`: a batch with fewer records; `compress`: its codec
//! - `output`: the files of the segment that comes of it, which `swap.rs` puts in place; `cleaner`: a round
//!
//! A round reads the dirty part once to fill the map (as far as it goes), then everything up to there, and
//! writes what stays, one segment for each group of small neighbours. Group after group is swapped in, the
//! oldest first, so a round may stop anywhere: what was swapped stays, the rest is done by the next. The
//! caller then keeps [`Cleaned::next_dirty_offset`] in the cleaner's checkpoint; if it is lost, more is read
//! again.
//!
//! ```text
//! let plan = Plan::new(lock(&log).view_to_clean(high_watermark), rules, first_dirty, now)?;
//! if plan.is_due() {
//!     let cleaned = cleaner.clean(&plan, now, |old, new| lock(&log).replace(old, new, now))?;
//! }
//! ```
//!
//! Memory: the map, 256 KiB for writing, one batch as it will be written, and 40 bytes or so for each aborted
//! transaction and producer.

mod cleaner;
mod compress;
mod filter;
mod map;
mod output;
mod plan;
mod rewrite;
mod txns;

pub use cleaner::{Cleaned, Cleaner};
pub use plan::{CleanRules, LogView, Plan};

/// Up to where each log was cleaned, in a data folder; `checkpoint::write_offsets` writes it.
pub const CLEANER_OFFSETS: &str = "cleaner-offset-checkpoint";

//! Key to last offset, in memory of a fixed size: what a round of cleaning knows of the keys.
//!
//! 24 bytes a slot, as Kafka's: 128 bits of the key's hash and the offset; open addressing, at most 90 %
//! full. Keys themselves are not kept, so two keys of one hash would be taken for one, and a record lost.
//! Kafka takes MD5; we take two 64-bit SipHashes (the standard library's keyed hash), each of a random key of
//! the process and of a random prefix of its own. Both are unknown to producers, so nobody can make keys
//! collide on purpose; and by chance one of a billion keys meets another once in 10^20 rounds.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

/// One key: both hashes, and the offset plus one. All zeros is free: memory that was never touched is so,
/// and costs nothing.
type Slot = [u64; 3];

const SLOT_BYTES: usize = size_of::<Slot>();

/// The table. Never grows.
pub(crate) struct OffsetMap {
    slots: Vec<Slot>,
    used: usize,
    used_max: usize,
    hashers: [DefaultHasher; 2],
}

impl OffsetMap {
    /// A table of at most `bytes`, and not larger than `keys` different keys need. Holds at least one.
    pub(crate) fn new(bytes: usize, keys: u64) -> OffsetMap {
        let enough = usize::try_from(keys.saturating_mul(10) / 9).unwrap_or(usize::MAX).saturating_add(2);
        let slots = (bytes / SLOT_BYTES).min(enough).max(2);
        let hashers = [(); 2].map(|()| {
            let mut hasher = RandomState::new().build_hasher();
            hasher.write_u128(uuid::Uuid::new_v4().as_u128());
            hasher
        });
        let used_max = ((slots as u128 * 9 / 10) as usize).max(1);
        OffsetMap { slots: vec![[0; 3]; slots], used: 0, used_max, hashers }
    }

    /// Notes that `key` was last written at `offset`, which is no smaller than those before. False, and
    /// nothing noted, if the key is new and the table full.
    pub(crate) fn put(&mut self, key: &[u8], offset: i64) -> bool {
        let hash = self.hash(key);
        let full = self.used == self.used_max;
        let Some(slot) = Self::find(&self.slots, hash).and_then(|at| self.slots.get_mut(at)) else {
            return false;
        };
        let new = *slot == [0; 3];
        if new && full {
            return false;
        }
        *slot = [hash[0], hash[1], (offset as u64).wrapping_add(1)];
        self.used += usize::from(new);
        true
    }

    /// Where `key` was written last, if it was noted.
    pub(crate) fn get(&self, key: &[u8]) -> Option<i64> {
        let [_, _, stored] = self.slots.get(Self::find(&self.slots, self.hash(key))?)?;
        stored.checked_sub(1).map(|offset| offset as i64)
    }

    /// How many keys more it will take.
    pub(crate) fn room(&self) -> u64 {
        (self.used_max - self.used) as u64
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        let [first, second] = &self.hashers;
        [first, second].map(|hasher| {
            let mut hasher = hasher.clone();
            hasher.write(key);
            hasher.finish()
        })
    }

    /// The slot of this hash, or the free one where it would go; never far, since a tenth is free.
    fn find(slots: &[Slot], hash: [u64; 2]) -> Option<usize> {
        let start = (hash[0] % slots.len().max(1) as u64) as usize;
        let here = |slot: &Slot| slot[2] == 0 || slot[..2] == hash;
        let behind = slots.get(start..)?.iter().position(here).map(|n| start + n);
        behind.or_else(|| slots.get(..start)?.iter().position(here))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_holds_what_fits_and_the_last_offset_of_each_key() {
        let mut map = OffsetMap::new(24 * 1000, u64::MAX);
        let mut model = BTreeMap::new();
        for offset in 0..20_000i64 {
            let key = (offset * 7919 % 1300).to_string();
            let known = model.contains_key(&key);
            assert_eq!(map.put(key.as_bytes(), offset), known || model.len() < 900, "{offset}");
            if known || model.len() < 900 {
                model.insert(key, offset);
            }
        }
        assert_eq!((map.room(), model.len()), (0, 900));
        for key in 0..1300 {
            let key = key.to_string();
            assert_eq!(map.get(key.as_bytes()), model.get(&key).copied(), "{key}");
        }
    }

    #[test]
    fn it_is_no_larger_than_asked_for_or_needed() {
        for (bytes, keys, slots) in [(0, 9, 2), (240, u64::MAX, 10), (1 << 20, 9, 12), (1 << 20, 0, 2)] {
            let map = OffsetMap::new(bytes, keys);
            assert_eq!(map.slots.len(), slots);
            assert!(map.used_max >= 1 && (map.used_max as u64 >= keys || bytes < 300));
        }
        let mut map = OffsetMap::new(1 << 20, 9);
        assert!((0..9u8).all(|key| map.put(&[key], i64::from(key))));
        assert_eq!(map.get(b""), None, "the empty key is a key like others");
        assert!(map.put(b"", 0) && map.get(b"") == Some(0));
    }

    #[test]
    fn both_halves_of_the_hash_differ_between_keys_and_tables() {
        let (one, other) = (OffsetMap::new(240, 9), OffsetMap::new(240, 9));
        let [a, b] = one.hash(b"key");
        assert!(a != b && [a, b] != other.hash(b"key"));
        let [c, d] = one.hash(b"kez");
        assert!(a != c && b != d);
    }
}

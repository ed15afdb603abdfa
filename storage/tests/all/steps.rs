//! Checking a batch in steps: however much it unpacks to, a step is short and little memory is held.

use std::io::Write;

use braid_storage::{BatchBuilder, Checked, Codec, Invalid, Refusal, Rules, Validation, records, validate};
use bytes::Bytes;

use crate::codecs::{compressed, with_body};
use crate::memory::peak;
use crate::support::{Dice, NOW, batch, rules};

/// Bytes of one step.
const STEP: usize = 1 << 20;
/// What an answer may need beside what the frame does.
const MARGIN: usize = 16 << 10;

fn roomy() -> Rules {
    Rules { max_message_bytes: 1 << 28, max_decompressed_bytes: 1 << 28, ..rules() }
}

/// The verdict, and in how many steps. No more memory is held than was stated.
fn in_steps(bytes: &Bytes, rules: &Rules) -> (Result<Checked, Refusal>, usize) {
    let (mut steps, mut stated) = (0, 0);
    let (verdict, held) = peak(|| {
        let mut validation = Validation::begin(bytes, rules, NOW)?;
        stated = validation.memory_bytes();
        loop {
            steps += 1;
            if let Some(checked) = validation.advance(STEP)? {
                return Ok(checked);
            }
        }
    });
    assert!(held <= stated + MARGIN, "{held} bytes held, {stated} stated");
    (verdict, steps)
}

// A producer sent 60 zstd batches of 3 KB that unpack to 95 MB each: every client waited for 16 seconds.
#[test]
fn a_batch_that_unpacks_to_a_lot_is_checked_in_steps() {
    let mut builder = BatchBuilder::new();
    for _ in 0..320 {
        builder.push(NOW, None, Some(&[0; 100_000]), &[]);
    }
    let plain = builder.build().unwrap();
    for (name, codec, body) in compressed(plain.body()) {
        if name == "snappy, raw" {
            continue; // one block
        }
        let bytes = with_body(plain.header(), codec, &body);
        let (verdict, steps) = in_steps(&bytes, &roomy());
        assert_eq!(verdict.unwrap().to_bytes(), bytes, "{name}");
        assert!((30..=33).contains(&steps), "{name}: {steps} steps for 32 MB");
    }
}

#[test]
fn a_record_larger_than_the_buffer_is_not_held() {
    let name = vec![b'n'; 30_000];
    let headers: Vec<(&[u8], Option<&[u8]>)> =
        (0..200).map(|n| (&name[..n * 150], (n % 3 != 0).then_some(&name[n * 100..]))).collect();
    let mut builder = BatchBuilder::new();
    builder.push(NOW, Some(&[1; 50_000]), Some(&[2; 20_000_000]), &headers);
    builder.push(NOW + 7, None, None, &headers).push(NOW, Some(b""), Some(b""), &[]);
    let plain = builder.build().unwrap();
    assert!(plain.body().len() > 25_000_000);
    for (name, codec, body) in compressed(plain.body()) {
        if codec == Codec::Snappy {
            continue;
        }
        let bytes = with_body(plain.header(), codec, &body);
        let validation = Validation::begin(&bytes, &roomy(), NOW).unwrap();
        assert!(name.starts_with("zstd") || validation.memory_bytes() < 10 << 20, "{name}");
        let checked = in_steps(&bytes, &roomy()).0.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert_eq!(checked.header().max_timestamp, NOW + 7);
    }
}

#[test]
fn a_record_too_large_is_an_invalid_record_and_a_batch_too_large_a_large_message() {
    let mut builder = BatchBuilder::new();
    builder.push(NOW, None, Some(&[0; 50_000]), &[]).push(NOW, None, Some(&[0; 60_000]), &[]);
    let plain = builder.build().unwrap();
    for (name, codec, body) in compressed(plain.body()) {
        let bytes = with_body(plain.header(), codec, &body);
        let why = |rules: Rules| validate(&bytes, &rules, NOW).err().map(|refusal| refusal.why);
        let record = |most| Rules { max_decompressed_record_bytes: most, ..rules() };
        let batch = |most| Rules { max_decompressed_bytes: most, ..rules() };
        let packed = codec != Codec::None;
        assert_eq!(why(record(59_999)), packed.then_some(Invalid::InvalidRecord), "{name}");
        assert_eq!(why(record(60_100)), None, "{name}");
        assert_eq!(why(batch(plain.body().len() - 1)), packed.then_some(Invalid::TooLarge), "{name}");
        assert_eq!(why(batch(plain.body().len())), None, "{name}");
    }
}

#[test]
fn what_a_frame_needs_is_known_before_it_is_read() {
    let plain = batch(NOW, 100, 1000);
    let needs = |codec, body: &[u8]| {
        Validation::begin(&with_body(plain.header(), codec, body), &rules(), NOW).unwrap().memory_bytes()
    };
    for (name, codec, body) in compressed(plain.body()) {
        let needed = needs(codec, &body);
        match name {
            "none" => assert_eq!(needed, 0),
            "zstd, largest window" => assert!(needed > 128 << 20),
            _ => assert!((16 << 10..4 << 20).contains(&needed), "{name} needs {needed}"),
        }
    }
}

/// Bytes changed, cut and added: a compressed batch is refused if and only if the same records are refused
/// when they are not compressed, whether they fit in the buffer or not.
#[test]
fn large_records_are_checked_as_strictly_as_small_ones() {
    let mut dice = Dice(3);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..3000 {
        let sizes = [0, 3, 9_000, 40_000];
        let mut part = || vec![7; sizes[dice.below(4) as usize]];
        let (key, value, name, content) = (part(), part(), part(), part());
        let mut builder = BatchBuilder::new();
        for _ in 0..2 {
            let headers: &[(&[u8], Option<&[u8]>)] = &[(&name, Some(&content)), (b"", None)];
            builder.push(NOW, Some(&key), Some(&value), &headers[dice.below(3) as usize..]);
        }
        let plain = builder.build().unwrap();
        let mut body = plain.body().to_vec();
        // The numbers are where the bytes are not 7.
        let numbers: Vec<usize> = (0..body.len()).filter(|at| body[*at] != 7).collect();
        for _ in 0..dice.below(3) {
            let at = numbers[dice.below(numbers.len() as u64) as usize];
            body[at] = [body[at] ^ 1 << dice.below(8), body[at].wrapping_add(2)][dice.below(2) as usize];
        }
        match dice.below(6) {
            0 => body.truncate(body.len() - 1 - dice.below(3) as usize),
            1 => body.extend([0, 1, 2]),
            _ => {}
        }
        let verdict = |codec, body: &[u8]| {
            let bytes = with_body(plain.header(), codec, body);
            let verdict = in_steps(&bytes, &rules()).0.map(|checked| {
                let found = records(&checked.to_bytes()).unwrap().map(Result::unwrap).count();
                assert_eq!(found as i32, checked.header().records_count);
                checked.header().max_timestamp
            });
            verdict.map_err(|refusal| refusal.why)
        };
        let wanted = verdict(Codec::None, &body);
        *if wanted.is_ok() { &mut taken } else { &mut refused } += 1;
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&body).unwrap();
        assert_eq!(verdict(Codec::Lz4, &lz4.finish().unwrap()), wanted, "round {round}");
    }
    assert!(taken > 500 && refused > 500, "{taken} taken, {refused} refused");
}

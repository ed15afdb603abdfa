//! Every codec, as written by the encoders that clients use.

use std::io::Write;

use braid_storage::{BatchBuilder, Codec, Header, Invalid, batch, records, validate};
use bytes::Bytes;

use crate::support::{NOW, fill, rules};

/// The five codecs, and snappy twice.
pub(crate) fn compressed(body: &[u8]) -> Vec<(&'static str, Codec, Vec<u8>)> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(body).unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(body).unwrap();
    let raw = |body: &[u8]| snap::raw::Encoder::new().compress_vec(body).unwrap();
    let mut xerial = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for chunk in body.chunks(1000) {
        let block = raw(chunk);
        xerial.extend((block.len() as u32).to_be_bytes());
        xerial.extend(block);
    }
    vec![
        ("none", Codec::None, body.to_vec()),
        ("gzip", Codec::Gzip, gzip.finish().unwrap()),
        ("snappy, raw", Codec::Snappy, raw(body)),
        ("snappy, xerial", Codec::Snappy, xerial),
        ("lz4", Codec::Lz4, lz4.finish().unwrap()),
        ("zstd", Codec::Zstd, zstd::encode_all(body, 3).unwrap()),
        ("zstd, largest window", Codec::Zstd, {
            let mut encoder = zstd::Encoder::new(Vec::new(), 19).unwrap();
            encoder.window_log(27).unwrap();
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }),
    ]
}

/// A batch of this header with another body: length, codec and checksum follow.
pub(crate) fn with_body(header: &Header, codec: Codec, body: &[u8]) -> Bytes {
    let mut header = *header;
    header.batch_length = (body.len() + batch::HEADER_LEN - batch::LENGTH_END) as i32;
    header.attributes = header.attributes & !7 | codec as i16;
    header.crc = header.crc_with(body);
    [&header.encode()[..], body].concat().into()
}

#[test]
fn every_codec_is_checked_and_read() {
    for count in [1, 10, 3000] {
        let mut builder = BatchBuilder::new();
        fill(&mut builder, NOW, count, 20);
        let plain = builder.build().unwrap();
        let wanted: Vec<_> = records(&plain.to_bytes()).unwrap().map(Result::unwrap).collect();
        assert_eq!(wanted.len(), count);
        for (name, codec, body) in compressed(plain.body()) {
            let bytes = with_body(plain.header(), codec, &body);
            let checked =
                validate(&bytes, &rules(), NOW).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
            assert_eq!(checked.to_bytes(), bytes, "{name}: nothing to correct");
            let found: Vec<_> = records(&bytes).unwrap().map(Result::unwrap).collect();
            assert_eq!(found, wanted, "{name}");
        }
    }
}

#[test]
fn a_record_larger_than_any_window_is_read() {
    let mut builder = BatchBuilder::new();
    builder.push(NOW, None, Some(&[b'z'; 300_000]), &[]).push(NOW, Some(b"k"), None, &[]);
    let plain = builder.build().unwrap();
    for (name, codec, body) in compressed(plain.body()) {
        let bytes = with_body(plain.header(), codec, &body);
        assert!(validate(&bytes, &rules(), NOW).is_ok(), "{name}");
        assert_eq!(records(&bytes).unwrap().map(Result::unwrap).count(), 2, "{name}");
    }
}

#[test]
fn what_grows_too_large_is_refused() {
    let mut builder = BatchBuilder::new();
    for _ in 0..50 {
        builder.push(NOW, None, Some(&[0; 10_000]), &[]);
    }
    let plain = builder.build().unwrap();
    let strict = braid_storage::Rules { max_decompressed_bytes: 400_000, ..rules() };
    for (name, codec, body) in compressed(plain.body()).into_iter().skip(1) {
        let bytes = with_body(plain.header(), codec, &body);
        assert_eq!(validate(&bytes, &strict, NOW).unwrap_err().why, Invalid::TooLarge, "{name}");
        assert!(validate(&bytes, &rules(), NOW).is_ok(), "{name}");
    }
}

#[test]
fn a_damaged_stream_is_an_invalid_record() {
    let mut builder = BatchBuilder::new();
    fill(&mut builder, NOW, 200, 30);
    let plain = builder.build().unwrap();
    for (name, codec, body) in compressed(plain.body()) {
        for cut in [0, 1, body.len() / 2] {
            let bytes = with_body(plain.header(), codec, &body[..cut]);
            let refusal = validate(&bytes, &rules(), NOW).unwrap_err();
            assert_eq!(refusal.why, Invalid::InvalidRecord, "{name} cut at {cut}");
        }
    }
}

//! The limits of single values, and what the writer does with large ones.

use bytes::Bytes;

use crate::wire::*;
use crate::writer::Writer;

const CLASSIC: Version = Version::new(0, false);
const FLEXIBLE: Version = Version::new(0, true);

fn read<T: Wire>(bytes: &[u8], v: Version) -> Result<T, Malformed> {
    T::from_bytes(&Bytes::copy_from_slice(bytes), v)
}

#[test]
fn varints_end_at_32_bits() {
    for n in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u32::MAX - 1, u32::MAX] {
        let mut out = Writer::default();
        out.uvarint(n);
        assert_eq!(uvarint(&out.into_bytes()), Ok((&[][..], n)));
    }
    assert!(uvarint(&[0xff, 0xff, 0xff, 0xff, 0x10]).is_err(), "33 bits");
    assert!(uvarint(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]).is_err(), "six bytes");
    assert!(uvarint(&[0x80]).is_err(), "cut short");
}

#[test]
fn lengths_beyond_what_is_left_are_refused() {
    assert!(read::<String>(b"\x7f\xffab", CLASSIC).is_err());
    assert!(read::<Bytes>(b"\x7f\xff\xff\xffab", CLASSIC).is_err());
    assert!(read::<Vec<i32>>(b"\x7f\xff\xff\xffab", CLASSIC).is_err());
    assert!(read::<Vec<String>>(b"\xff\xff\xff\xff\x0f", FLEXIBLE).is_err());
    assert!(read::<Option<Bytes>>(b"\xff\xff\xff\xfe", CLASSIC).is_err(), "below null");
    // At the length already, not after the two elements that are there.
    assert_eq!(read::<Vec<i8>>(b"\x04ab", FLEXIBLE), Err(Malformed::invalid(2)));
}

#[test]
fn arrays_and_tags_have_a_limit() {
    let array = |n: usize, bytes: usize| {
        let mut many = Vec::from((n as i32).to_be_bytes());
        many.resize(4 + bytes, 1);
        read::<Vec<i32>>(&many, CLASSIC).map(|v| v.len()).map_err(|e| e.why)
    };
    assert_eq!(array(100_000, 400_000), Ok(100_000));
    assert_eq!(array(MAX_ELEMENTS, 4 * MAX_ELEMENTS), Err(Why::Excessive));
    assert_eq!(array(MAX_ELEMENTS + 1, 4 * MAX_ELEMENTS + 4), Err(Why::Invalid));

    let tags = |n: u32| {
        let mut out = Writer::default();
        out.uvarint(n);
        (0..n).for_each(|_| out.put(&[100, 0]));
        let mut seen = 0;
        let read = read_tags(&out.into_bytes(), |_, _| {
            seen += 1;
            Ok(())
        })
        .is_ok();
        read.then_some(seen)
    };
    assert_eq!(tags(MAX_TAGS), Some(MAX_TAGS));
    assert_eq!(tags(MAX_TAGS + 1), None);
}

#[test]
fn null_is_refused_where_there_is_none() {
    assert_eq!(read::<Option<String>>(b"\xff\xff", CLASSIC), Ok(None));
    assert_eq!(read::<Option<String>>(b"\0", FLEXIBLE), Ok(None));
    assert!(read::<Option<String>>(b"\0", Version { null: false, ..FLEXIBLE }).is_err());
    assert!(read::<String>(b"\0", FLEXIBLE).is_err());
    assert_eq!(&None::<String>.to_bytes(Version { null: false, ..CLASSIC })[..], b"\0\0");
    assert_eq!(&None::<Bytes>.to_bytes(Version { null: false, ..FLEXIBLE })[..], b"\x01");
}

/// `kcat -X client.id=$'caf\xe9'` sends Latin-1; Kafka reads U+FFFD for each byte that is not UTF-8.
#[test]
fn bytes_that_are_not_utf8_are_replaced() {
    assert_eq!(read::<String>(b"\0\x05caf\xe9!", CLASSIC), Ok("caf\u{fffd}!".to_owned()));
}

/// Kafka reads at most a short's worth of text, also where the length is a varint.
#[test]
fn text_beyond_the_limit_is_refused() {
    // By hand, because what is written is truncated.
    let text = |n: usize| {
        let mut out = Writer::default();
        out.uvarint(n as u32 + 1);
        out.put(&vec![b'x'; n]);
        out.into_bytes()
    };
    assert_eq!(read::<String>(&text(MAX_TEXT), FLEXIBLE).map(|text| text.len()), Ok(MAX_TEXT));
    assert!(read::<String>(&text(MAX_TEXT + 1), FLEXIBLE).is_err());
}

/// An empty string takes one byte on the wire and 24 in memory.
#[test]
fn small_elements_cannot_become_a_large_message() {
    let strings = |n: usize| {
        let mut out = Writer::default();
        out.uvarint(n as u32 + 1);
        out.put(&vec![1; n]);
        read::<Vec<String>>(&out.into_bytes(), FLEXIBLE)
    };
    let fits = ((1 << 20) + 4 * 52_000) / size_of::<String>();
    assert_eq!(strings(fits).map(|all| all.capacity()), Ok(fits));
    assert_eq!(strings(80_000).unwrap_err().why, Why::Excessive);
}

#[test]
fn long_text_is_truncated_at_a_character() {
    for v in [CLASSIC, FLEXIBLE] {
        let long = format!("a{}", "é".repeat(20_000));
        let truncated: String = read(&long.to_bytes(v), v).unwrap();
        assert_eq!(truncated.len(), 32767);
        assert!(long.starts_with(&truncated));
        let longer = "é".repeat(20_000);
        assert_eq!(read::<String>(&longer.to_bytes(v), v).unwrap().len(), 32766);
    }
}

#[test]
fn chunks_keep_their_order() {
    let large = Bytes::from(vec![9; 1000]);
    let mut tail = Writer::default();
    tail.put(b"3");
    tail.share(&large);
    tail.put(b"4");
    let mut out = Writer::default();
    out.put(b"1");
    out.share(&large);
    out.put(b"2");
    out.append(tail);
    let expected = [b"1", &large[..], b"23", &large[..], b"4"].concat();
    assert_eq!(out.len(), expected.len());
    assert_eq!(out.finish().concat(), expected);
}

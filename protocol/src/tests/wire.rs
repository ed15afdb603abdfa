//! The limits of single values, and what the writer does with large ones.

use bytes::Bytes;

use crate::wire::*;

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
    assert_eq!(read::<Vec<i8>>(b"\x04ab", FLEXIBLE), Err(Malformed { field: "", left: 2 }));
}

#[test]
fn arrays_and_tags_have_a_limit() {
    let mut many = Vec::from((MAX_ELEMENTS as i32).to_be_bytes());
    many.resize(4 + MAX_ELEMENTS, 1);
    assert_eq!(read::<Vec<i8>>(&many, CLASSIC).map(|v| v.len()), Ok(MAX_ELEMENTS));
    many.push(1);
    many[..4].copy_from_slice(&(MAX_ELEMENTS as i32 + 1).to_be_bytes());
    assert!(read::<Vec<i8>>(&many, CLASSIC).is_err());

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

#[test]
fn text_that_is_not_utf8_is_refused() {
    assert!(read::<String>(b"\0\x01\xff", CLASSIC).is_err());
}

#[test]
fn long_text_is_cut_at_a_character_where_lengths_are_short() {
    let long = format!("a{}", "é".repeat(20_000));
    let cut: String = read(&long.to_bytes(CLASSIC), CLASSIC).unwrap();
    assert_eq!(cut.len(), 32767);
    assert!(long.starts_with(&cut));
    let longer = "é".repeat(20_000);
    assert_eq!(read::<String>(&longer.to_bytes(CLASSIC), CLASSIC).unwrap().len(), 32766);
    assert_eq!(read::<String>(&long.to_bytes(FLEXIBLE), FLEXIBLE), Ok(long));
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

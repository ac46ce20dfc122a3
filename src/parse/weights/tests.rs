//! Tests of the weights readers.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::super::captures;
use super::*;

/// A header of F32 vectors with these sizes in bytes, in this order.
fn header_of(sizes: &[u64]) -> Result<SafetensorsHeader, String> {
    let mut begin = 0;
    let mut tensors = Vec::new();
    for (index, size) in sizes.iter().enumerate() {
        let end = begin + size;
        tensors.push(format!(
            r#""t{index}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{begin},{end}]}}"#
        ));
        begin = end;
    }
    safetensors_header(format!("{{{}}}", tensors.join(",")).as_bytes())
}

#[test]
fn reads_a_header_in_file_order() {
    let text = concat!(
        r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[3,2],"data_offsets":"#,
        r#"[4,16]},"empty":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]},"a":{"dtype":"F32","#,
        r#""shape":[],"data_offsets":[0,4]},"new":{"dtype":"Q3","shape":[9],"data_offsets":[16,17]"#,
        r#"}}   "#
    );
    let header = safetensors_header(text.as_bytes()).unwrap();
    let start = 8 + text.len() as u64;
    let seen: Vec<_> = header
        .tensors
        .iter()
        .map(|t| (t.name.as_str(), t.dtype.name(), t.begin - start, t.end - start))
        .collect();
    assert_eq!(
        seen,
        [("a", "F32", 0, 4), ("empty", "F32", 4, 4), ("b", "BF16", 4, 16), ("new", "Q3", 16, 17)]
    );
    assert_eq!(header.implied_length(), start + 17);
    assert_eq!(safetensors_header(b"{}").unwrap().implied_length(), 10);
}

#[test]
fn refuses_what_the_reference_reader_refuses() {
    let one = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let two = |first: &str, second: &str| {
        format!(
            r#"{{"v":{{"dtype":"U8","shape":[4],"data_offsets":{first}}},
                "w":{{"dtype":"U8","shape":[4],"data_offsets":{second}}}}}"#
        )
    };
    let cases = [
        String::new(),
        "[]".to_owned(),
        "\u{feff}{}".to_owned(),
        "{\"w\":{\"dtype\":".to_owned(),
        r#"{"w":1}"#.to_owned(),
        r#"{"__metadata__":{"format":1}}"#.to_owned(),
        one("F32", "[2]", "[0,8,9]"),
        one("F32", "[-2]", "[0,8]"),
        one("F32", "[2]", "[8,0]"),
        one("F32", "[2]", "[0,9]"),
        one("F32", "[4294967296,4294967296,4294967296]", "[0,8]"),
        one("F4", "[3]", "[0,1]"),
        one("F32", "[2]", "[4,12]"),
        two("[0,4]", "[5,9]"),
        two("[0,4]", "[3,7]"),
        two("[0,4]", "[4,8]").replace("\"v\"", "\"w\""),
    ];
    let answers: Vec<String> = cases
        .iter()
        .map(|case| match safetensors_header(case.as_bytes()) {
            Ok(header) => format!("accepted: {header:?}"),
            Err(problem) => problem,
        })
        .collect();
    expect![[r"
        has a header that does not begin with `{`
        has a header that does not begin with `{`
        has a header that does not begin with `{`
        has a header that ends in the middle at byte 14
        has a header whose tensor `w` has no `dtype`
        has a header whose `__metadata__` is not a map of texts
        has a header whose tensor `w` has no usable `data_offsets`
        has a header whose tensor `w` has no usable `shape`
        has a header whose tensor `w` has an end before its begin
        has a header whose tensor `w` has 9 bytes where its shape needs 8
        has a header whose tensor `w` has an impossible size
        has a header whose tensor `w` has an impossible size
        has a header with a hole before the tensor `w`
        has a header with a hole before the tensor `w`
        has a header with an overlap before the tensor `w`
        has a header that names the tensor `w` twice"]]
    .assert_eq(&answers.join("\n"));
}

#[test]
fn header_length_is_bounded() {
    assert_eq!(header_length(&[2, 1, 0, 0, 0, 0, 0, 0]), Ok(258));
    assert_eq!(header_length(&100_000_000_u64.to_le_bytes()), Ok(MAX_HEADER_BYTES));
    for (bytes, expected) in [
        (&[0_u8; 8][..], expect!["begins with zeros in place of the header's length"]),
        (&[1; 7][..], expect!["is shorter than the 8 bytes that hold the header's length"]),
        (
            &[255; 8][..],
            expect!["claims a header of 18446744073709551615 bytes, more than 100000000"],
        ),
    ] {
        expected.assert_eq(&header_length(bytes).unwrap_err());
    }
}

#[test]
fn element_types_know_their_sizes() {
    for (name, bits, floating) in [
        ("F64", Some(64), true),
        ("F32", Some(32), true),
        ("F16", Some(16), true),
        ("BF16", Some(16), true),
        ("F8_E4M3", Some(8), true),
        ("F8_E5M2FNUZ", Some(8), true),
        ("F6_E3M2", Some(6), true),
        ("F4", Some(4), true),
        ("C64", Some(64), false),
        ("I64", Some(64), false),
        ("U16", Some(16), false),
        ("BOOL", Some(8), false),
        ("F128", None, false),
        ("f32", None, false),
        ("", None, false),
    ] {
        let dtype = Dtype::from_name(name);
        assert_eq!((dtype.name(), dtype.size_bits(), dtype.is_floating()), (name, bits, floating));
        assert_eq!(matches!(dtype, Dtype::Other(_)), bits.is_none(), "{name}");
    }
    for (name, dtype, _) in &KNOWN {
        assert_eq!((&Dtype::from_name(name), dtype.name()), (dtype, *name));
    }
}

fn check_shards(index: &str, expected: &Expect) {
    expected.assert_eq(&format!("{:?}", shard_files(index.as_bytes())));
}

#[test]
fn shard_files_are_plain_names() {
    check_shards(
        r#"{"metadata":{"total_size":8},"weight_map":{"b":"m-2.safetensors","a":"m-1.safetensors","c":"m-2.safetensors"}}"#,
        &expect![[r#"Ok(["m-1.safetensors", "m-2.safetensors"])"#]],
    );
    check_shards("{\"weight_map\":", &expect![[r#"Err("ends in the middle at byte 14")"#]]);
    check_shards("[]", &expect![[r#"Err("has no `weight_map`")"#]]);
    check_shards("{\"weight_map\":[]}", &expect![[r#"Err("has no `weight_map`")"#]]);
    check_shards("{\"weight_map\":{}}", &expect![[r#"Err("names no files")"#]]);
    check_shards("{\"weight_map\":{\"a\":1}}", &expect![[r#"Err("names no file for `a`")"#]]);
    for name in ["../x", "a/b", "/x", "..", "", "a\\\\b", "a\\u0000b"] {
        let index = format!(r#"{{"weight_map":{{"a":"{name}"}}}}"#);
        assert!(shard_files(index.as_bytes()).is_err(), "{name}");
    }
}

#[test]
fn a_tail_of_zeros_is_a_crash_only_across_two_tensors() {
    const KIB: u64 = 1024;
    for (sizes, zeros, expected) in [
        // A crash in the middle of the second of three tensors.
        (&[256 * KIB, 256 * KIB, 256 * KIB][..], 384 * KIB, true),
        (&[64 * KIB, 64 * KIB][..], 128 * KIB, true),
        (&[64 * KIB, 32 * KIB, 32 * KIB][..], 64 * KIB, true),
        // Too short, even if it covers many small tensors.
        (&[256 * KIB, 16 * KIB, 16 * KIB][..], 64 * KIB - 1, false),
        // One zero-initialized tensor is legitimate, also if the one before it happens to end in
        // zero bytes, and if empty tensors follow.
        (&[256 * KIB, 256 * KIB][..], 256 * KIB, false),
        (&[256 * KIB, 256 * KIB][..], 256 * KIB + 6, false),
        (&[256 * KIB, 256 * KIB, 0, 0][..], 256 * KIB, false),
        (&[256 * KIB][..], 256 * KIB, false),
        // All of it, the header included.
        (&[100 * KIB, 100 * KIB][..], 1000 * KIB, true),
        (&[][..], 100 * KIB, false),
    ] {
        let header = header_of(sizes).unwrap();
        assert_eq!(zero_tail(&header, zeros), expected, "{sizes:?} with {zeros} zeros");
    }
}

/// A stored archive with one entry; `comment` follows its end.
fn archive(content: &[u8], wide: bool, comment: &[u8]) -> Vec<u8> {
    let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = [b"PK\x03\x04", &[0_u8; 22][..], &[1, 0, 0, 0], b"x", content].concat();
    let directory = bytes.len();
    bytes.extend_from_slice(&[b"PK\x01\x02", &[0_u8; 24][..], &[1], &[0; 17], b"x"].concat());
    let size = bytes.len() - directory;
    if wide {
        let end64 = bytes.len() as u64;
        bytes.extend_from_slice(&[b"PK\x06\x06", &[0_u8; 36][..]].concat());
        bytes.extend_from_slice(&(size as u64).to_le_bytes());
        bytes.extend_from_slice(&(directory as u64).to_le_bytes());
        bytes.extend_from_slice(
            &[b"PK\x06\x07", &[0_u8; 4][..], &end64.to_le_bytes(), &[1, 0, 0, 0]].concat(),
        );
    }
    let fields = if wide { [[255; 4]; 2] } else { [short(size), short(directory)] };
    bytes.extend_from_slice(&[b"PK\x05\x06", &[0_u8; 8][..], &fields.concat()].concat());
    bytes.extend_from_slice(&u16::try_from(comment.len()).unwrap_or(0).to_le_bytes());
    bytes.extend_from_slice(comment);
    bytes
}

/// Looks at a file as the caller does: at its end only.
fn is_whole(file: &[u8]) -> bool {
    let tail = file.get(file.len().saturating_sub(ARCHIVE_TAIL_BYTES)..).unwrap_or_default();
    ends_in_zip_directory(tail, file.len() as u64)
}

#[test]
fn a_whole_archive_ends_in_its_directory() {
    for wide in [false, true] {
        for content in [b"weights".to_vec(), vec![7; 200_000]] {
            // The longest comment leaves no room in the tail for the 64-bit records.
            let longest = if wide { 65_535 - 76 } else { 65_535 };
            for comment in [vec![], b"made by PK\x05\x06 hand".to_vec(), vec![b'c'; longest]] {
                let file = archive(&content, wide, &comment);
                assert!(is_whole(&file), "{wide} {} {}", content.len(), comment.len());
                assert!(!is_whole(&[&file[..], b"\0"].concat()), "trailing byte");
            }
        }
    }
}

#[test]
fn what_is_not_an_archive_is_refused() {
    let file = archive(b"weights", false, b"");
    // Written out from the end record on, the rest lost.
    let mut zeroed = file.clone();
    let end = zeroed.len() - 22;
    zeroed[..end].fill(0);
    assert!(!is_whole(&zeroed));
    // An empty archive holds no weights.
    assert!(!is_whole(&[b"PK\x05\x06", &[0_u8; 18][..]].concat()));
    // The directory would lie behind the end: the front of the file is missing.
    assert!(!is_whole(&file[10..]));
    // A locator that points behind itself.
    let mut wild = archive(b"weights", true, b"");
    let locator = wild.len() - 42;
    wild[locator + 8..locator + 16].fill(255);
    assert!(!is_whole(&wild));
    assert!(!is_whole(b""));
    assert!(!ends_in_zip_directory(&file, 3));
}

#[test]
fn reads_the_captured_checkpoint() {
    let run = "checkpoints/diffusion_H64L2C128D2_20261123_063802";
    for folder in ["checkpoint-20", "diffusion_H64L2C128D2_20261123_063802"] {
        let Some(file) = captures::read(&format!("{run}/{folder}/model.safetensors")) else {
            return;
        };
        let length = usize::try_from(header_length(&file).unwrap()).unwrap();
        let header = safetensors_header(&file[8..8 + length]).unwrap();
        assert_eq!(header.implied_length(), file.len() as u64);
        let concepts =
            header.tensors.iter().find(|t| t.name.ends_with("concept_embeddings.weight")).unwrap();
        assert_eq!((&concepts.dtype, &concepts.shape[..]), (&Dtype::F32, &[128, 64][..]));
        let zeros = file.iter().rev().take_while(|byte| **byte == 0).count();
        assert!(!zero_tail(&header, zeros as u64));
        assert!(zero_tail(&header, file.len() as u64 / 2));
    }
}

#[test]
fn archives_written_by_torch_are_whole() {
    let folder = "checkpoints/diffusion_H64L2C128D2_20261123_063802/checkpoint-20";
    for name in ["scheduler.pt", "rng_state.pth"] {
        let Some(file) = captures::read(&format!("{folder}/{name}")) else { return };
        assert!(is_whole(&file), "{name}");
        for length in 0..file.len() {
            assert!(!is_whole(&file[..length]), "{name} cut to {length}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, file_length: u64, sizes: Vec<u16>, zeros: u64) {
        let _any: Result<u64, String> = header_length(&bytes);
        let _any: Result<_, String> = safetensors_header(&bytes);
        let _any: Result<_, String> = shard_files(&bytes);
        ends_in_zip_directory(&bytes, file_length);
        let sizes: Vec<u64> = sizes.into_iter().map(u64::from).collect();
        let header = header_of(&sizes).unwrap();
        prop_assert_eq!(header.implied_length() - header.data_begin, sizes.iter().sum::<u64>());
        zero_tail(&header, zeros);
    }

    #[test]
    fn a_cut_archive_is_not_whole(content: Vec<u8>, wide: bool, cut in 1_usize..200) {
        let file = archive(&content, wide, b"");
        let cut = cut.min(file.len());
        prop_assert!(!is_whole(&file[..file.len() - cut]));
    }
}

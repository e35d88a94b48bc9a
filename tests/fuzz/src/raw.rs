//! Damage that knows nothing of a format: cuts, flipped bits, zeroed ranges, foreign pieces, and
//! numbers in the forms that lengths and counts are written in.

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};

/// What a hostile writer would try as a length, a count or an offset.
const NUMBERS: [i64; 16] = [
    0,
    1,
    -1,
    2,
    15,
    127,
    255,
    1 << 16,
    i32::MAX as i64,
    i32::MIN as i64,
    1 << 31,
    1 << 32,
    1 << 40,
    i64::MAX / 2,
    i64::MAX,
    i64::MIN,
];

/// One of them, or any other.
pub(crate) fn number(rng: &mut StdRng) -> i64 {
    match rng.random_range(0..4) {
        0 => rng.next_u64() as i64,
        1 => rng.random_range(-70..70),
        _ => NUMBERS[rng.random_range(0..NUMBERS.len())],
    }
}

/// A number as Avro and Thrift write it.
pub(crate) fn zigzag(number: i64) -> Vec<u8> {
    varint(((number << 1) ^ (number >> 63)) as u64)
}

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn range(rng: &mut StdRng, length: usize, most: usize) -> std::ops::Range<usize> {
    let start = rng.random_range(0..=length);
    let end = (start + rng.random_range(0..=most)).min(length);
    start..end
}

/// Damages `bytes` in one way; `other` is a piece of another file.
pub(crate) fn damage(rng: &mut StdRng, bytes: &mut Vec<u8>, other: &[u8]) {
    if bytes.is_empty() {
        bytes.extend_from_slice(other);
        return;
    }
    let at = rng.random_range(0..bytes.len());
    match rng.random_range(0..12) {
        0 => bytes.truncate(at),
        1..4 => bytes[at] ^= 1 << rng.random_range(0..8),
        4 => bytes[at] = rng.random(),
        5 => {
            let fill = [0, 0xff, 0x80][rng.random_range(0..3)];
            let range = range(rng, bytes.len(), 32);
            bytes[range].fill(fill);
        }
        6 => {
            // A number in the place of another of the same length or not.
            let number = zigzag(number(rng));
            let end = (at + rng.random_range(0..=number.len())).min(bytes.len());
            bytes.splice(at..end, number);
        }
        7 => {
            let number = number(rng).to_le_bytes();
            let width = [1, 2, 4, 8][rng.random_range(0..4)].min(bytes.len() - at);
            bytes[at..at + width].copy_from_slice(&number[..width]);
        }
        8 => {
            let piece = other[range(rng, other.len(), 64)].to_vec();
            let end = (at + rng.random_range(0..=piece.len())).min(bytes.len());
            bytes.splice(at..end, piece);
        }
        9 => {
            let piece = bytes[range(rng, bytes.len(), 64)].to_vec();
            bytes.splice(at..at, piece);
        }
        10 => {
            let range = range(rng, bytes.len(), 64);
            bytes.drain(range);
        }
        _ => {
            let piece = bytes[range(rng, bytes.len(), 16)].to_vec();
            let times = 1 << rng.random_range(0..12);
            bytes.splice(at..at, piece.repeat(times));
        }
    }
}

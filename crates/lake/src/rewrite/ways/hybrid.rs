//! Runs of small numbers as Parquet stores levels and indices: one number many times, or groups of
//! eight packed into so many bits each ("RLE / bit-packing hybrid").

use super::Odd;

/// So many equal numbers in a row are worth a run of their own.
const RUN_MIN: usize = 8;
/// Numbers are packed in groups of so many.
const GROUP: usize = 8;
/// Widest numbers, in bits.
const WIDTH_MAX: u32 = 32;

const CUT: &str = "levels or indices are cut off";

/// Bits it takes to tell `count` numbers from 0 on apart.
pub(super) fn width_of(count: usize) -> u32 {
    usize::BITS - count.saturating_sub(1).leading_zeros()
}

/// Appends `count` numbers of `width` bits that `bytes` begin with.
pub(super) fn unpack(
    mut bytes: &[u8],
    width: u32,
    count: usize,
    to: &mut Vec<u32>,
) -> Result<(), Odd> {
    if width > WIDTH_MAX {
        return Err("indices have more than 32 bits".into());
    }
    let mut left = count;
    while left > 0 {
        let head = varint(&mut bytes)?;
        let many = usize::try_from(head >> 1).map_err(|_| CUT)?;
        if many == 0 {
            return Err("a run of levels or indices is empty".into());
        }
        if head & 1 == 0 {
            let value = whole(&mut bytes, width)?;
            if u64::from(value) >> width > 0 {
                return Err("a run's number is wider than it may be".into());
            }
            let run = many.min(left);
            to.extend(std::iter::repeat_n(value, run));
            left -= run;
        } else {
            let length = many.checked_mul(width as usize).ok_or(CUT)?;
            let (packed, rest) = bytes.split_at_checked(length).ok_or(CUT)?;
            let run = many.saturating_mul(GROUP).min(left);
            to.extend((0..run).map(|at| at_bit(packed, at * width as usize, width)));
            (bytes, left) = (rest, left - run);
        }
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Odd> {
    let mut value = 0;
    for shift in (0..u64::BITS - 7).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(CUT)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a run of levels or indices is too long".into())
}

/// A number in as many whole bytes as hold `width` bits.
fn whole(bytes: &mut &[u8], width: u32) -> Result<u32, Odd> {
    let length = width.div_ceil(8) as usize;
    let (value, rest) = bytes.split_at_checked(length).ok_or(CUT)?;
    *bytes = rest;
    let value = value.iter().rev();
    Ok(value.fold(0, |value, byte| value << 8 | u32::from(*byte)))
}

/// The `width` bits from `bit` on, lowest first.
fn at_bit(packed: &[u8], bit: usize, width: u32) -> u32 {
    let from = &packed[(bit / 8).min(packed.len())..];
    let mut window = [0; 8];
    if let Some(eight) = from.first_chunk() {
        window = *eight;
    } else {
        window[..from.len()].copy_from_slice(from);
    }
    let bits = u64::from_le_bytes(window) >> (bit % 8);
    (bits & ((1 << width) - 1)) as u32
}

/// Appends `values`, each of at most `width` bits.
pub(super) fn pack(values: &[u32], width: u32, to: &mut Vec<u8>) {
    let (mut written, mut at) = (0, 0);
    while at < values.len() {
        let value = values[at];
        let run = values[at..].iter().take_while(|next| **next == value);
        let run = run.count();
        // What comes before the run fills whole groups.
        let fill = (GROUP - (at - written) % GROUP) % GROUP;
        if run >= fill + RUN_MIN {
            packed(&values[written..at + fill], width, to);
            put_varint(((run - fill) as u64) << 1, to);
            to.extend(&value.to_le_bytes()[..width.div_ceil(8) as usize]);
            written = at + run;
        }
        at += run;
    }
    packed(&values[written..], width, to);
}

fn packed(values: &[u32], width: u32, to: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(GROUP);
    put_varint((groups as u64) << 1 | 1, to);
    let end = to.len() + groups * width as usize;
    let (mut bits, mut held) = (0u64, 0);
    for value in values {
        bits |= u64::from(*value) << held;
        held += width;
        while held >= 8 {
            to.push(bits as u8);
            bits >>= 8;
            held -= 8;
        }
    }
    if held > 0 {
        to.push(bits as u8);
    }
    to.resize(end, 0);
}

fn put_varint(mut value: u64, to: &mut Vec<u8>) {
    while value > 0x7f {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unpacked(bytes: &[u8], width: u32, count: usize) -> Option<Vec<u32>> {
        let mut values = Vec::new();
        unpack(bytes, width, count, &mut values).ok()?;
        Some(values)
    }

    #[test]
    fn widths_tell_as_many_numbers_apart() {
        for (count, width) in [
            (0, 0),
            (1, 0),
            (2, 1),
            (3, 2),
            (4, 2),
            (5, 3),
            (1 << 20, 20),
        ] {
            assert_eq!(width_of(count), width, "{count}");
        }
    }

    #[test]
    fn runs_are_as_the_format_has_them() {
        // The example of the specification: 0 to 7 in three bits each.
        let mut bytes = Vec::new();
        pack(&[0, 1, 2, 3, 4, 5, 6, 7], 3, &mut bytes);
        assert_eq!(bytes, [0x03, 0x88, 0xc6, 0xfa]);
        bytes.clear();
        pack(&[1; 100], 1, &mut bytes);
        assert_eq!(bytes, [0xc8, 0x01, 0x01]);
        bytes.clear();
        pack(&[0; 9], 0, &mut bytes);
        assert_eq!(bytes, [0x12]);
    }

    #[test]
    fn what_is_cut_off_or_makes_no_sense_is_odd() {
        for bytes in [
            &[][..],
            &[0xc8],
            &[0xc8, 0x01],
            &[0x00, 0x00],
            &[0x01],
            &[0x05, 0xff],
            &[0xc8, 0x01, 0x02],
            &[0xff; 12],
        ] {
            assert_eq!(unpacked(bytes, 1, 100), None, "{bytes:?}");
        }
        assert_eq!(unpacked(&[0x02, 0, 0, 0, 0, 0], 33, 1), None);
        // More than there are values is left alone.
        assert_eq!(unpacked(&[0xc8, 0x01, 0x01], 1, 3), Some(vec![1; 3]));
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(
            runs in proptest::collection::vec((any::<u32>(), 1usize..30), 0..50),
            width in 0u32..=32,
        ) {
            let most = (1u64 << width) - 1;
            let values: Vec<u32> = runs
                .iter()
                .flat_map(|(value, count)| std::iter::repeat_n(value & most as u32, *count))
                .collect();
            let mut bytes = Vec::new();
            pack(&values, width, &mut bytes);
            prop_assert_eq!(unpacked(&bytes, width, values.len()), Some(values));
        }

        #[test]
        fn nothing_makes_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            width in 0u32..=34,
            count in 0usize..2_000,
        ) {
            if let Some(values) = unpacked(&bytes, width, count) {
                prop_assert_eq!(values.len(), count);
            }
        }
    }
}

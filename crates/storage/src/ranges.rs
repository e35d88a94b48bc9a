//! Ranges of one object joined into fewer reads, and cut out of them again.

use std::ops::Range;

use bytes::Bytes;

/// How far ranges are joined, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joining {
    /// Between two ranges: read and thrown away rather than asked for apart.
    pub(crate) gap_max: u64,
    /// Longest read made by joining.
    pub(crate) length_max: u64,
}

/// The reads that cover every range: sorted, apart, each range within one of them.
pub(crate) fn join(ranges: &[Range<u64>], joining: Joining) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges
        .iter()
        .filter(|range| !range.is_empty())
        .cloned()
        .collect();
    sorted.sort_unstable_by_key(|range| (range.start, range.end));
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.end <= last.end => {}
            // What overlaps is never read twice, however long it gets.
            Some(last)
                if range.start < last.end
                    || (range.start - last.end <= joining.gap_max
                        && range.end - last.start <= joining.length_max) =>
            {
                last.end = range.end;
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// Each range's bytes, in the order asked, out of the reads [`join`] asked for.
pub(crate) fn cut(ranges: &[Range<u64>], joined: &[(Range<u64>, Bytes)]) -> Vec<Bytes> {
    let one = |range: &Range<u64>| {
        if range.is_empty() {
            return Bytes::new();
        }
        let at = joined.partition_point(|(whole, _)| whole.start <= range.start) - 1;
        let (whole, bytes) = &joined[at];
        bytes.slice((range.start - whole.start) as usize..(range.end - whole.start) as usize)
    };
    ranges.iter().map(one).collect()
}

/// The first range that is upside down or leads out of an object of `size` bytes.
pub(crate) fn outside(ranges: &[Range<u64>], size: u64) -> Option<&Range<u64>> {
    ranges
        .iter()
        .find(|range| range.start > range.end || range.end > size)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JOINING: Joining = Joining {
        gap_max: 32 * 1024,
        length_max: 16 * 1024 * 1024,
    };

    #[test]
    fn close_ranges_are_read_together_and_far_ones_apart() {
        let far = JOINING.gap_max + 11;
        assert_eq!(
            join(&[0..10, 12..20, far + 10..far + 20], JOINING),
            [0..20, far + 10..far + 20]
        );
        assert_eq!(
            join(&[5..9, 0..10, 200_000..200_001], JOINING),
            [0..10, 200_000..200_001]
        );
    }

    proptest! {
        #[test]
        fn every_range_lies_in_one_read_and_reads_do_not_overlap(
            ranges in prop::collection::vec((0u64..1_000_000, 0u64..100_000), 0..20),
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(at, length)| at..at + length).collect();
            let joined = join(&ranges, JOINING);
            prop_assert!(joined.windows(2).all(|pair| pair[0].end <= pair[1].start));
            for range in ranges.iter().filter(|range| !range.is_empty()) {
                prop_assert!(joined.iter().any(|whole| whole.start <= range.start && range.end <= whole.end));
            }
        }

        #[test]
        fn what_is_cut_is_what_was_asked_for(
            ranges in prop::collection::vec((0u64..5_000, 0u64..300), 0..20),
            gap_max in 0u64..500,
        ) {
            let content: Vec<u8> = (0..6_000u32).map(|n| (n % 251) as u8).collect();
            let ranges: Vec<_> = ranges.into_iter().map(|(at, length)| at..at + length).collect();
            let part = |range: &Range<u64>| &content[range.start as usize..range.end as usize];
            let joined: Vec<_> = join(&ranges, Joining { gap_max, length_max: 1_000 })
                .into_iter()
                .map(|range| { let bytes = Bytes::copy_from_slice(part(&range)); (range, bytes) })
                .collect();
            for (range, bytes) in ranges.iter().zip(cut(&ranges, &joined)) {
                prop_assert_eq!(part(range), &bytes[..]);
            }
        }
    }
}

//! First-fit bin packing that keeps the order of the items, and how many files a size becomes.

/// What a bin may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    pub(crate) bytes: u64,
    pub(crate) files: usize,
}

/// Puts each size, in order, into the first bin with room and says which items each bin holds.
/// A size above the capacity gets a bin of its own.
pub(crate) fn first_fit(sizes: &[u64], capacity: Capacity) -> Vec<Vec<usize>> {
    let mut bins: Vec<Vec<usize>> = Vec::new();
    let mut room = Room::new(sizes.len());
    for (item, &size) in sizes.iter().enumerate() {
        let (bin, left) = if let Some((bin, left)) = room.first_with(size) {
            (bin, Some(left - size))
        } else {
            bins.push(Vec::new());
            (bins.len() - 1, capacity.bytes.checked_sub(size))
        };
        bins[bin].push(item);
        let open = bins[bin].len() < capacity.files;
        room.set(bin, left.filter(|_| open));
    }
    bins
}

/// The room left in every bin, as a tree of maxima: the first bin with room is found in
/// logarithmic time, so that a million files in tiny bins stay cheap.
struct Room {
    /// Node `n` has the children `2n` and `2n + 1`; `None` = not opened yet, or closed.
    largest: Vec<Option<u64>>,
    leaves: usize,
}

impl Room {
    fn new(bins_max: usize) -> Self {
        let leaves = bins_max.next_power_of_two();
        Self {
            largest: vec![None; 2 * leaves],
            leaves,
        }
    }

    fn set(&mut self, bin: usize, left: Option<u64>) {
        let mut node = self.leaves + bin;
        self.largest[node] = left;
        while node > 1 {
            node /= 2;
            self.largest[node] = self.largest[2 * node].max(self.largest[2 * node + 1]);
        }
    }

    fn first_with(&self, size: u64) -> Option<(usize, u64)> {
        let fits = |node: usize| self.largest[node].is_some_and(|left| left >= size);
        if !fits(1) {
            return None;
        }
        let mut node = 1;
        while node < self.leaves {
            node = if fits(2 * node) {
                2 * node
            } else {
                2 * node + 1
            };
        }
        self.largest[node].map(|left| (node - self.leaves, left))
    }
}

/// How many files of about `target` bytes `bytes` become. A remainder above `min` stays a file of
/// its own; a smaller one is spread over the others unless that makes them too large
/// (`SizeBasedFileRewritePlanner.expectedOutputFiles`).
pub(super) fn output_files(bytes: u64, target: u64, min: u64, max: u64) -> usize {
    if bytes < target {
        return 1;
    }
    let rounded_down = bytes / target;
    if bytes % target > min {
        return rounded_down as usize + 1;
    }
    let average = u128::from(bytes / rounded_down);
    let target = u128::from(target);
    let write_max = target + (u128::from(max) - target) / 2;
    if average * 10 < target * 11 && average < write_max {
        rounded_down as usize
    } else {
        u128::from(bytes).div_ceil(target) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sizes: &[u64], bytes: u64, files: usize, want: &[&[usize]]) {
        assert_eq!(
            first_fit(sizes, Capacity { bytes, files }),
            want,
            "for {sizes:?}"
        );
    }

    #[test]
    fn an_item_goes_to_the_first_bin_with_room() {
        check(&[], 10, 9, &[]);
        check(&[10], 10, 9, &[&[0]]);
        check(&[6, 6, 4, 4], 10, 9, &[&[0, 2], &[1, 3]]);
        check(&[6, 5, 5, 4], 10, 9, &[&[0, 3], &[1, 2]]);
    }

    #[test]
    fn an_item_above_the_capacity_gets_a_bin_of_its_own() {
        check(&[3, 11, 3], 10, 9, &[&[0, 2], &[1]]);
        check(&[11, 3], 10, 9, &[&[0], &[1]]);
        check(&[11, 0, 10, 0], 10, 9, &[&[0], &[1, 2, 3]]);
    }

    #[test]
    fn a_bin_holds_no_more_files_than_allowed() {
        check(&[1, 1, 1, 1, 1], 10, 2, &[&[0, 1], &[2, 3], &[4]]);
        check(&[1, 0, 1], 10, 1, &[&[0], &[1], &[2]]);
    }

    #[track_caller]
    fn becomes(bytes: u64, min: u64, max: u64, want: usize) {
        assert_eq!(
            output_files(bytes, 100, min, max),
            want,
            "{bytes} bytes, min {min}, max {max}"
        );
    }

    #[test]
    fn a_remainder_above_min_stays_a_file() {
        becomes(0, 75, 180, 1);
        becomes(99, 75, 180, 1);
        becomes(100, 75, 180, 1);
        becomes(176, 75, 180, 2);
        becomes(276, 75, 180, 3);
    }

    #[test]
    fn a_remainder_up_to_min_is_spread_unless_files_grow_by_a_tenth() {
        becomes(109, 75, 180, 1);
        becomes(110, 75, 180, 2);
        becomes(175, 75, 180, 2);
        becomes(219, 75, 180, 2);
        becomes(220, 75, 180, 3);
        becomes(1_075, 75, 180, 10);
    }

    #[test]
    fn a_narrow_max_forbids_spreading_earlier() {
        // At most 100 + (106 - 100) / 2 = 103 bytes a file.
        becomes(205, 75, 106, 2);
        becomes(206, 75, 106, 3);
    }
}

//! Positions of a group, cut into the delete files they become.

use crate::deletes::Positions;

/// The positions in the order of a delete file: by path, then ascending.
#[derive(Debug)]
pub(super) struct Sorted {
    by_path: Vec<(String, Vec<u64>)>,
}

/// What one new delete file holds: of each data file a run of positions.
pub(super) type Part<'a> = Vec<(&'a str, &'a [u64])>;

impl Sorted {
    pub(super) fn new(positions: Positions) -> Self {
        let mut by_path: Vec<(String, Vec<u64>)> = positions.into_iter().collect();
        by_path.retain(|(_, positions)| !positions.is_empty());
        by_path.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Self { by_path }
    }

    /// Positions.
    pub(super) fn len(&self) -> u64 {
        self.by_path.iter().map(|(_, rows)| rows.len() as u64).sum()
    }

    /// A part for each data file.
    pub(super) fn by_file(&self) -> Vec<Part<'_>> {
        let parts = self.by_path.iter();
        parts.map(|(path, rows)| vec![(&**path, &**rows)]).collect()
    }

    /// At most so many parts, as even as can be.
    pub(super) fn even(&self, parts: u64) -> Vec<Part<'_>> {
        let each = self.len().div_ceil(parts.max(1)).max(1);
        let each = usize::try_from(each).unwrap_or(usize::MAX);
        let mut cut: Vec<Part<'_>> = Vec::new();
        let mut room = 0;
        for (path, rows) in &self.by_path {
            let mut rows = rows.as_slice();
            while !rows.is_empty() {
                if room == 0 {
                    cut.push(Vec::new());
                    room = each;
                }
                let (run, rest) = rows.split_at(rows.len().min(room));
                if let Some(part) = cut.last_mut() {
                    part.push((path, run));
                }
                room -= run.len();
                rows = rest;
            }
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted() -> Sorted {
        let positions = [("/b", vec![4, 9]), ("/a", vec![0, 1, 2]), ("/c", vec![])];
        let positions = positions.map(|(path, rows)| (path.to_owned(), rows));
        Sorted::new(positions.into_iter().collect())
    }

    #[test]
    fn they_are_sorted_and_cut_evenly_across_files() {
        let sorted = sorted();
        assert_eq!(sorted.len(), 5);
        let (a, b): (&[u64], &[u64]) = (&[0, 1, 2], &[4, 9]);
        assert_eq!(sorted.even(0), [vec![("/a", a), ("/b", b)]]);
        let cut = [vec![("/a", a)], vec![("/b", b)]];
        assert_eq!(sorted.even(2), cut);
        assert_eq!(sorted.by_file(), cut);
        let three: [Part<'_>; 3] = [
            vec![("/a", &a[..2])],
            vec![("/a", &a[2..]), ("/b", &b[..1])],
            vec![("/b", &b[1..])],
        ];
        assert_eq!(sorted.even(3), three);
        assert_eq!(sorted.even(99).len(), 5);
        assert!(Sorted::new(Positions::new()).even(3).is_empty());
    }
}

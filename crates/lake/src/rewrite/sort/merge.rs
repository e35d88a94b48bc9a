//! Runs become one: a heap of the rows they are at.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;

use super::runs::{Row, Run};

/// Rows of several runs in order, those of equal keys in the order of the runs.
#[derive(Debug)]
pub(super) struct Merge {
    heap: BinaryHeap<Reverse<Head>>,
}

/// A run that has rows, and the first of them.
#[derive(Debug)]
struct Head {
    row: Row,
    number: usize,
    run: Run,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        let keys = self.row.key.cmp(&other.row.key);
        keys.then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl Merge {
    pub(super) fn new(runs: Vec<Run>) -> io::Result<Self> {
        let mut heap = BinaryHeap::with_capacity(runs.len());
        for (number, mut run) in runs.into_iter().enumerate() {
            let mut row = Row::default();
            if run.next(&mut row)? {
                heap.push(Reverse(Head { row, number, run }));
            }
        }
        Ok(Self { heap })
    }

    /// The row that comes next.
    pub(super) fn peek(&self) -> Option<&Row> {
        self.heap.peek().map(|Reverse(head)| &head.row)
    }

    /// Leaves it behind.
    pub(super) fn advance(&mut self) -> io::Result<()> {
        let Some(mut first) = self.heap.peek_mut() else {
            return Ok(());
        };
        let Reverse(head) = &mut *first;
        if !head.run.next(&mut head.row)? {
            PeekMut::pop(first);
        }
        Ok(())
    }
}

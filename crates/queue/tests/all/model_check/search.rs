//! Breadth-first search through every state that any schedule reaches.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use super::promises::{Promise, broken};
use super::state::{Action, Model, State};

/// What a search saw.
pub(super) struct Report {
    pub(super) states: usize,
    pub(super) steps: usize,
    /// The first promise found broken, with a shortest schedule that breaks it.
    pub(super) broken: Option<(Promise, Vec<Action>)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} states, {} steps", self.states, self.steps)?;
        let Some((promise, schedule)) = &self.broken else {
            return Ok(());
        };
        write!(f, "; {promise:?} is broken by")?;
        for (number, action) in (1..).zip(schedule) {
            write!(f, "\n  {number:2}. {action}")?;
        }
        Ok(())
    }
}

/// States are many and small: the hasher of the standard library would be most of the search.
#[derive(Default)]
pub(super) struct Folded(u64);

impl Folded {
    fn fold(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.fold(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.fold(u64::from(byte));
    }

    fn write_usize(&mut self, word: usize) {
        self.fold(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.fold(word as u64);
    }

    fn finish(&self) -> u64 {
        // The table looks at the upper bits, which the product leaves best mixed.
        self.0 ^ (self.0 >> 32)
    }
}

struct Graph {
    states: Vec<State>,
    numbers: HashMap<State, u32, BuildHasherDefault<Folded>>,
    /// How each state was first reached.
    from: Vec<(u32, Action)>,
    /// Steps that need neither luck nor help, as (from, to).
    healing: Vec<(u32, u32)>,
    steps: usize,
}

impl Graph {
    /// The number of a state, and whether it is new.
    fn number(&mut self, state: State, from: u32, action: Action) -> (u32, bool) {
        let next = self.states.len() as u32;
        let number = *self.numbers.entry(state).or_insert(next);
        if number == next {
            self.states.push(state);
            self.from.push((from, action));
        }
        (number, number == next)
    }

    fn schedule(&self, mut number: u32) -> Vec<Action> {
        let mut schedule = Vec::new();
        while number != 0 {
            let (from, action) = self.from[number as usize];
            schedule.push(action);
            number = from;
        }
        schedule.reverse();
        schedule
    }

    fn report(self, broken: Option<(Promise, u32)>) -> Report {
        Report {
            states: self.states.len(),
            steps: self.steps,
            broken: broken.map(|(promise, number)| (promise, self.schedule(number))),
        }
    }
}

/// Looks at every state, and stops at the first that breaks a promise.
pub(super) fn search(model: &Model) -> Report {
    let mut graph = Graph {
        states: Vec::new(),
        numbers: HashMap::default(),
        from: Vec::new(),
        healing: Vec::new(),
        steps: 0,
    };
    graph.number(State::new(model), 0, Action::default());
    let mut found = Vec::new();
    let mut at = 0;
    while at < graph.states.len() {
        let state = graph.states[at];
        model.steps(&state, &mut found);
        for (action, next) in found.drain(..) {
            graph.steps += 1;
            let (number, new) = graph.number(next, at as u32, action);
            if action.heals() {
                graph.healing.push((at as u32, number));
            }
            if new && let Some(promise) = broken(model, &next) {
                return graph.report(Some((promise, number)));
            }
        }
        at += 1;
    }
    let stuck = (0..model.scope.jobs).find_map(|job| stuck(&graph, job));
    graph.report(stuck.map(|number| (Promise::Ends, number)))
}

/// The first state from which `job`, which is live in it, can not end any more.
fn stuck(graph: &Graph, job: usize) -> Option<u32> {
    let count = graph.states.len();
    // The healing steps by where they lead, as one list with the place where each state's begin.
    let mut begin = vec![0_u32; count + 1];
    for (_, to) in &graph.healing {
        begin[*to as usize + 1] += 1;
    }
    for at in 0..count {
        begin[at + 1] += begin[at];
    }
    let mut back = vec![0_u32; graph.healing.len()];
    let mut free = begin.clone();
    for (from, to) in &graph.healing {
        back[free[*to as usize] as usize] = *from;
        free[*to as usize] += 1;
    }
    let mut ends: Vec<bool> = graph
        .states
        .iter()
        .map(|state| state.jobs[job].row.is_none())
        .collect();
    let mut open: Vec<usize> = (0..count).filter(|at| ends[*at]).collect();
    while let Some(at) = open.pop() {
        for from in &back[begin[at] as usize..begin[at + 1] as usize] {
            if !ends[*from as usize] {
                ends[*from as usize] = true;
                open.push(*from as usize);
            }
        }
    }
    ends.iter().position(|ends| !ends).map(|at| at as u32)
}

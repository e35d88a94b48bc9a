//! How a schedule's transactions begin, wait, end and are killed.

use std::collections::BTreeSet;
use std::sync::Arc;

use queue::{Error, Fence, Lease};

use super::reference::{Effect, Held, number};
use super::schedule::{Phase, Request, Schedule, Task};
use super::session::{Answer, Op, Order};

/// A transaction is left open for at most so many steps.
const OPEN_MAX: usize = 12;
/// Fences that are remembered, stale ones too.
const TASKS_MAX: usize = 24;

impl Schedule<'_> {
    /// Claims, renewals and sweeps are sent both ways.
    pub(super) async fn start_either(&mut self, op: Op) -> Result<(), String> {
        let alone = self.dice.below(3) > 0;
        self.start(op, alone).await
    }

    pub(super) async fn start(&mut self, op: Op, alone: bool) -> Result<(), String> {
        let free = self
            .phases
            .iter()
            .position(|phase| matches!(phase, Phase::Free));
        let Some(at) = free else {
            return self.end_some().await;
        };
        let op = Arc::new(op);
        self.note(op.kind(), &format!("session {at}, alone: {alone}: {op:?}"));
        let order = if alone {
            Order::Alone(op.clone())
        } else {
            Order::Open(op.clone())
        };
        let rows = op.waits_for(&self.reference);
        let answer = self.world.sessions[at].send(order);
        self.phases[at] = Phase::Waiting {
            op,
            alone,
            answer,
            waited: false,
            rows,
        };
        self.settle(at).await?;
        // Some requests are answered while the guard is held.
        let asked = matches!(&self.phases[at], Phase::Open { op, .. } if op.asks());
        if asked && self.dice.below(3) == 0 {
            self.land(self.requests.len() - 1).await?;
        }
        match self.phases[at] {
            Phase::Waiting { .. } => self.note("waited", &format!("session {at} waits")),
            // Half of the transactions end at once.
            Phase::Open { .. } if self.dice.below(2) == 0 => self.end(at, true).await?,
            Phase::Open { .. } | Phase::Free => {}
        }
        Ok(())
    }

    /// Until a session has answered or waits for a lock.
    async fn settle(&mut self, at: usize) -> Result<(), String> {
        let phase = std::mem::take(&mut self.phases[at]);
        let Phase::Waiting {
            op,
            alone,
            mut answer,
            waited,
            rows,
        } = phase
        else {
            self.phases[at] = phase;
            return Ok(());
        };
        let pid = self.world.sessions[at].pid;
        let answered = tokio::select! {
            biased;
            answered = &mut answer => Some(answered.map_err(|_| format!("{op:?} panicked"))?),
            () = testkit::until("an answer or a wait", async || self.world.waits(pid).await) => None,
        };
        let Some(answered) = answered else {
            self.phases[at] = Phase::Waiting {
                op,
                alone,
                answer,
                waited: true,
                rows,
            };
            return Ok(());
        };
        let held = self.held(Some(at));
        if let Answer::Failed(error) = &answered {
            // Who waits for long gives up.
            let patience = waited && lock_timeout(error);
            self.log
                .push(format!("     session {at} failed: {error:?}"));
            return if patience {
                Ok(())
            } else {
                Err(format!("{op:?}: {error:?}"))
            };
        }
        let effects = self.reference.judge(&op, &answered, &held)?;
        self.log
            .push(format!("     session {at}: {}", brief(&answered, &effects)));
        self.note_left(&effects, &held);
        let claimed = match answered {
            Answer::Claimed(claimed) => claimed
                .into_iter()
                .map(|claimed| (claimed.fence, claimed.lease))
                .collect(),
            Answer::Replaced => {
                self.note("refused", &format!("session {at} is refused"));
                return Ok(());
            }
            _ => Vec::new(),
        };
        self.ask(&op);
        if alone {
            self.take_effect(&effects, claimed)
        } else {
            self.phases[at] = Phase::Open {
                op,
                effects,
                claimed,
                waited,
                since: self.step,
            };
            Ok(())
        }
    }

    /// A claim leaves the lock of what it ends behind, if somebody is submitting for the key.
    fn note_left(&mut self, effects: &[Effect], held: &Held) {
        for effect in effects {
            if let Effect::Ended { job, .. } = effect {
                let key = &self.reference.jobs[job].key;
                let left = held.keys.contains(key).then(|| key.clone());
                self.reference.left.extend(left);
            }
        }
    }

    /// An open guard asks the catalog elsewhere.
    fn ask(&mut self, op: &Op) {
        if let Op::Guard {
            fence,
            key,
            base,
            inside: false,
            ..
        } = op
        {
            self.requests.push(Request {
                fence: fence.for_retry(),
                key: key.clone(),
                base: *base,
            });
        }
    }

    /// Until every session has answered or waits: each answer may let go of what others wait for.
    pub(super) async fn settle_all(&mut self) -> Result<(), String> {
        let waiting = |phases: &[Phase]| {
            let waits = |phase: &&Phase| matches!(phase, Phase::Waiting { .. });
            phases.iter().filter(waits).count()
        };
        loop {
            let before = waiting(&self.phases);
            for at in 0..self.phases.len() {
                self.settle(at).await?;
            }
            if waiting(&self.phases) == before {
                return Ok(());
            }
        }
    }

    fn take_effect(
        &mut self,
        effects: &[Effect],
        claimed: Vec<(Fence, Lease)>,
    ) -> Result<(), String> {
        for effect in effects {
            self.reference.apply(effect)?;
            *self.counts.entry(effect.kind()).or_default() += 1;
        }
        for (fence, lease) in claimed {
            self.tasks.push(Task {
                lease,
                fence,
                base: None,
                done: false,
            });
        }
        while self.tasks.len() > TASKS_MAX {
            self.tasks.remove(0);
        }
        Ok(())
    }

    /// What sessions other than `own` hold at this moment.
    pub(super) fn held(&self, own: Option<usize>) -> Held {
        let mut held = self.held_open(own);
        // Who waits has what comes before the row waited for: everything, if that is a lock's row.
        let open: Vec<u32> = held.shared.iter().chain(&held.taken).copied().collect();
        for phase in self.others(own) {
            let Phase::Waiting { op, rows, .. } = phase else {
                continue;
            };
            if let Op::Submit(item) = &**op {
                held.keys.extend(item.concurrency_key.clone());
            }
            let free = rows.iter().take_while(|job| !open.contains(job));
            held.taken.extend(free);
        }
        held
    }

    /// What transactions hold that were answered and are open.
    fn held_open(&self, own: Option<usize>) -> Held {
        let mut held = Held::default();
        for phase in self.others(own) {
            let Phase::Open { op, effects, .. } = phase else {
                continue;
            };
            match &**op {
                Op::Submit(item) => held.keys.extend(item.concurrency_key.clone()),
                Op::Guard {
                    fence,
                    guarded: true,
                    ..
                } => {
                    held.shared.insert(number(fence.job()));
                }
                _ => held.taken.extend(effects.iter().filter_map(Effect::job)),
            }
        }
        held
    }

    fn others(&self, own: Option<usize>) -> impl Iterator<Item = &Phase> {
        let all = self.phases.iter().enumerate();
        all.filter(move |(at, _)| Some(*at) != own)
            .map(|(_, phase)| phase)
    }

    pub(super) async fn end_some(&mut self) -> Result<(), String> {
        let open: Vec<usize> = (0..self.phases.len())
            .filter(|at| matches!(self.phases[*at], Phase::Open { .. }))
            .collect();
        if open.is_empty() {
            return Ok(());
        }
        let at = open[self.dice.below(open.len() as u32) as usize];
        match self.dice.below(8) {
            0 => self.end(at, false).await,
            1 => self.kill_in_commit(at).await,
            _ => self.end(at, true).await,
        }
    }

    /// Ends transactions that have been open for long, and what leaves it unknown who has which row.
    pub(super) async fn end_the_old(&mut self) -> Result<(), String> {
        // Each end may let another one answer.
        while let Some(at) = self.over() {
            self.end(at, true).await?;
        }
        Ok(())
    }

    /// An open transaction that has to end now. A row that was waited for stays locked although it
    /// turned out to be somebody else's, so refused ops that had waited end, and so does everything
    /// that somebody with such a row may wait for.
    fn over(&self) -> Option<usize> {
        let over = |phase: &Phase| match phase {
            Phase::Open {
                op,
                effects,
                waited,
                since,
                ..
            } => {
                let refused = matches!(&**op, Op::Finish(batch) if effects.len() < batch.len());
                (*waited && refused) || self.step >= since + OPEN_MAX
            }
            Phase::Free | Phase::Waiting { .. } => false,
        };
        let open = |phase: &Phase| matches!(phase, Phase::Open { .. });
        let first = self.phases.iter().position(over);
        first.or_else(|| {
            let unknown = self.unknown();
            self.phases.iter().position(open).filter(|_| unknown)
        })
    }

    /// Whether one who waits set out for a row that it has no right to any more, or for one that
    /// another one who waits may have.
    fn unknown(&self) -> bool {
        let open = self.held_open(None);
        let mut taken = BTreeSet::new();
        self.phases.iter().any(|phase| {
            let Phase::Waiting { op, rows, .. } = phase else {
                return false;
            };
            let mut free = rows.iter().take_while(|job| !open.passed_over(**job));
            op.waits_for(&self.reference) != *rows || free.any(|job| !taken.insert(*job))
        })
    }

    pub(super) async fn end(&mut self, at: usize, commit: bool) -> Result<(), String> {
        let phase = std::mem::take(&mut self.phases[at]);
        let Phase::Open {
            op,
            effects,
            claimed,
            ..
        } = phase
        else {
            self.phases[at] = phase;
            return Ok(());
        };
        let kind = if commit { "committed" } else { "rolled back" };
        self.note(kind, &format!("session {at} ends, commit: {commit}"));
        let answer = self.world.sessions[at].send(Order::End { commit });
        match answer.await.map_err(|_| "the session panicked")? {
            Answer::Committed if commit => self.take_effect(&effects, claimed)?,
            Answer::RolledBack if !commit => {}
            other => return Err(format!("commit: {commit}: {other:?}")),
        }
        if commit && let Op::Guard { fence, .. } = &*op {
            let swapped = effects
                .iter()
                .any(|effect| matches!(effect, Effect::Swapped { .. }));
            for task in self
                .tasks
                .iter_mut()
                .filter(|task| task.fence.attempt() == fence.attempt())
            {
                task.done |= swapped;
            }
        }
        self.settle_all().await
    }

    /// A connection is lost while it commits: nobody but the tables knows whether it did.
    async fn kill_in_commit(&mut self, at: usize) -> Result<(), String> {
        let Phase::Open {
            effects, claimed, ..
        } = std::mem::take(&mut self.phases[at])
        else {
            return Ok(());
        };
        self.note(
            "killed in commit",
            &format!("session {at} is killed while it commits"),
        );
        let answer = self.world.sessions[at].send(Order::End { commit: true });
        self.world.kill(at).await;
        let answer = answer.await.map_err(|_| "the session panicked")?;
        self.reconnect(at).await;
        let before = self.reference.clone();
        self.take_effect(&effects, claimed)?;
        if matches!(answer, Answer::Committed) {
            return self.settle_all().await;
        }
        if let Err(with) = self.compare().await {
            self.reference = before;
            self.compare()
                .await
                .map_err(|without| format!("I1: neither {with}\nnor {without}"))?;
            self.log.push("     it did not commit".to_owned());
        }
        self.settle_all().await
    }

    pub(super) async fn kill_some(&mut self) -> Result<(), String> {
        let at = self.dice.below(self.phases.len() as u32) as usize;
        self.note("killed", &format!("session {at} is killed"));
        self.world.kill(at).await;
        let answer = match std::mem::take(&mut self.phases[at]) {
            Phase::Free => None,
            Phase::Waiting { answer, .. } => Some(answer),
            Phase::Open { .. } => Some(self.world.sessions[at].send(Order::End { commit: true })),
        };
        if let Some(answer) = answer {
            let answer = answer.await.map_err(|_| "the session panicked")?;
            if !matches!(answer, Answer::Failed(_)) {
                return Err(format!("a killed connection answered {answer:?}"));
            }
        }
        self.reconnect(at).await;
        self.settle_all().await
    }

    async fn reconnect(&mut self, at: usize) {
        let answer = self.world.sessions[at].send(Order::Connect);
        if let Ok(Answer::Connected { pid }) = answer.await {
            self.world.sessions[at].pid = pid;
        }
    }
}

fn lock_timeout(error: &Error) -> bool {
    let Error::Database { source, .. } = error else {
        return false;
    };
    source.code() == Some(&tokio_postgres::error::SqlState::LOCK_NOT_AVAILABLE)
}

fn brief(answer: &Answer, effects: &[Effect]) -> String {
    match answer {
        Answer::Claimed(claimed) => {
            let fences: Vec<_> = claimed.iter().map(|claimed| claimed.fence.ids()).collect();
            format!("claimed {fences:?}, {effects:?}")
        }
        other => format!("{other:?}, {effects:?}"),
    }
}

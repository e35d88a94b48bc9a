//! The rules of the protocol. Each can be left out, and each left out must be found out.

use super::promises::Promise;
use super::search::search;
use super::state::{Catalog, Model, Scope};

/// What keeps the promises; `DESIGN.md` gives the reason for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// A finish names its attempt.
    FenceOnFinish,
    /// A hand-back names its attempt.
    FenceOnHandBack,
    /// A renewal names its attempt.
    FenceOnRenewal,
    /// A claim locks what it picks and passes over what others have locked.
    SkipLocked,
    /// A sweep resets only rows that it has locked and found expired.
    SweepRechecks,
    /// A claim resets expired rows itself.
    ClaimSeesExpired,
    /// Row, record and lock end in one commit.
    OneCommit,
    /// A swap needs a guard.
    GuardOnSwap,
    /// The guard keeps the row locked until its end.
    GuardHolds,
    /// The server throws out who falls silent inside a transaction.
    ServerThrowsOut,
    /// The catalog refuses a swap from another base.
    CompareAndSwap,
    /// Every plan looks first for what an earlier attempt of the job has committed.
    LooksForOwnWork,
    /// Trust in a lease counts from before the claim was sent.
    TrustFromSending,
    /// A lock's holder is judged after its row was locked.
    LockJudgedAfter,
    /// A lock is taken over only from a holder that is not live, not from one that is late.
    LockByLife,
    /// A file is listed in one step and deleted in another, a grace later.
    TwoSteps,
    /// Only files of attempts that are over are listed.
    ListsOnlyTheDead,
    /// A purge looks again at what the catalog refers to.
    PurgeLooksAgain,
}

/// The smallest search that finds out each rule's absence.
#[track_caller]
fn caught(without: Rule, scope: Scope, want: Promise) {
    let model = Model {
        scope,
        without: Some(without),
    };
    let report = search(&model);
    println!("without {without:?}: {report}");
    let broken = report.broken.as_ref().map(|(promise, _)| *promise);
    assert_eq!(broken, Some(want), "without {without:?}");
}

/// One job, two workers, no catalog.
const ONE: Scope = Scope {
    jobs: 1,
    catalog: None,
    files: false,
    ..Scope::TWO_BY_TWO
};

/// The same with a catalog that Postgres does not see.
const OUTSIDE: Scope = Scope {
    catalog: Some(Catalog::Outside),
    ..ONE
};

const FILES: Scope = Scope {
    files: true,
    ..OUTSIDE
};

#[test]
fn q66_i2_a_finish_without_its_fence_is_caught() {
    caught(Rule::FenceOnFinish, ONE, Promise::I2);
}

#[test]
fn q66_i2_a_hand_back_without_its_fence_is_caught() {
    caught(Rule::FenceOnHandBack, ONE, Promise::I2);
}

#[test]
fn q66_i2_a_renewal_without_its_fence_is_caught() {
    caught(Rule::FenceOnRenewal, ONE, Promise::I2);
}

#[test]
fn q66_i4_a_claim_by_plain_update_is_caught() {
    caught(Rule::SkipLocked, ONE, Promise::I4);
}

#[test]
fn q66_i4_a_sweep_that_does_not_look_again_is_caught() {
    // A worker that renews between the two steps is all it takes.
    caught(Rule::SweepRechecks, ONE, Promise::I4);
}

#[test]
fn q66_i4_a_claim_that_leaves_expired_leases_to_a_sweeper_is_caught() {
    caught(Rule::ClaimSeesExpired, ONE, Promise::Ends);
}

#[test]
fn q66_i1_an_end_in_two_commits_is_caught() {
    caught(Rule::OneCommit, ONE, Promise::I1);
}

#[test]
fn q66_i10_a_swap_without_a_guard_is_caught() {
    let inside = Scope {
        catalog: Some(Catalog::Inside),
        ..ONE
    };
    caught(Rule::GuardOnSwap, inside, Promise::I10);
}

#[test]
fn q66_i10_a_guard_that_looks_and_does_not_lock_is_caught() {
    let inside = Scope {
        catalog: Some(Catalog::Inside),
        ..ONE
    };
    caught(Rule::GuardHolds, inside, Promise::I10);
}

#[test]
fn q66_a_server_that_waits_for_frozen_workers_is_caught() {
    caught(Rule::ServerThrowsOut, OUTSIDE, Promise::Ends);
}

#[test]
fn q66_i10_a_catalog_that_takes_a_swap_from_any_base_is_caught() {
    caught(Rule::CompareAndSwap, OUTSIDE, Promise::I10);
}

#[test]
fn q66_i10_an_attempt_that_does_not_look_for_its_jobs_work_is_caught() {
    caught(Rule::LooksForOwnWork, OUTSIDE, Promise::I10);
}

#[test]
fn q66_i5_trust_that_counts_from_the_answer_is_caught() {
    caught(Rule::TrustFromSending, ONE, Promise::I5);
}

#[test]
fn q66_i3_a_lock_judged_by_an_older_snapshot_is_caught() {
    caught(Rule::LockJudgedAfter, Scope { jobs: 2, ..ONE }, Promise::I3);
}

#[test]
fn q66_i3_a_lock_taken_over_from_a_late_holder_is_caught() {
    caught(Rule::LockByLife, Scope { jobs: 2, ..ONE }, Promise::I3);
}

#[test]
fn q66_i7_deletion_at_once_is_caught() {
    caught(Rule::TwoSteps, FILES, Promise::I7);
}

#[test]
fn q66_i7_listing_a_live_attempts_files_is_caught() {
    caught(Rule::ListsOnlyTheDead, FILES, Promise::I7);
}

#[test]
fn q66_i7_a_purge_that_does_not_look_again_is_caught() {
    caught(Rule::PurgeLooksAgain, FILES, Promise::I7);
}

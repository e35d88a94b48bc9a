//! Case 66, as a model: every schedule of a few workers and jobs, looked at one by one.
//!
//! The model has what the promises depend on and nothing else: row, record, lock, lease by the
//! database's clock and trust by the worker's, the guard, a catalog here or elsewhere, the ledger's
//! files. Each step is one that anybody could take next, so every race of the real thing is some
//! schedule here. `rules.rs` leaves out one rule at a time, as a test of this test.

mod promises;
mod rules;
mod search;
mod state;
mod steps;

use self::search::search;
use self::state::{Catalog, Model, Scope};

#[track_caller]
fn kept(scope: Scope) {
    let model = Model {
        scope,
        without: None,
    };
    let report = search(&model);
    println!("{report}");
    assert!(report.broken.is_none(), "{scope:?}: {report}");
}

#[test]
fn q66_i1_i2_i3_i4_i5_hold_for_two_workers_and_two_jobs_of_one_table() {
    kept(Scope {
        attempts_max: 3,
        ..Scope::TWO_BY_TWO
    });
}

#[test]
fn q66_i1_i2_i3_i4_i5_hold_for_two_workers_and_two_jobs_of_two_tables() {
    kept(Scope {
        tables: 2,
        ..Scope::TWO_BY_TWO
    });
}

#[test]
fn q66_i1_i2_i3_i4_i5_hold_for_three_workers_and_one_job() {
    kept(Scope {
        workers: 3,
        jobs: 1,
        attempts_max: 3,
        ..Scope::TWO_BY_TWO
    });
}

#[test]
fn q66_i2_i10_hold_around_a_catalog_in_the_same_database() {
    kept(Scope {
        catalog: Some(Catalog::Inside),
        stranger: true,
        ..Scope::TWO_BY_TWO
    });
}

#[test]
fn q66_i10_holds_around_a_catalog_elsewhere_whose_requests_are_late() {
    kept(Scope {
        catalog: Some(Catalog::Outside),
        hand_backs: false,
        ..Scope::TWO_BY_TWO
    });
}

#[test]
fn q66_i10_holds_for_three_workers_around_a_catalog_elsewhere() {
    kept(Scope {
        workers: 3,
        jobs: 1,
        attempts_max: 3,
        catalog: Some(Catalog::Outside),
        ..Scope::TWO_BY_TWO
    });
}

#[test]
fn q66_i7_i10_hold_for_the_files_of_attempts_whose_requests_are_late() {
    kept(Scope {
        jobs: 1,
        catalog: Some(Catalog::Outside),
        stranger: true,
        hand_backs: false,
        files: true,
        ..Scope::TWO_BY_TWO
    });
}

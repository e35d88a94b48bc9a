//! The real statements without one of their rules: the schedules must find out.

use queue::{IdType, lane_migration};

use super::one;
use super::world::World;
use crate::lane::Lane;

/// Within so many schedules; most are found out in the first few.
const SCHEDULES_MAX: u64 = 100;

/// The lane's function with parts of its text replaced.
fn replaced(function: &str, parts: &[(&str, &str)]) -> String {
    let lane = lane_migration("lane", IdType::Text, "jobs");
    let name = format!("create function \"lane\".{function}(");
    let from = lane.find(&name).unwrap();
    let to = from + lane[from..].find("\n$$;\n").unwrap();
    let mut text = lane[from..to].replacen("create function", "create or replace function", 1);
    for (right, wrong) in parts {
        assert!(text.contains(right), "{function} has no `{right}`");
        text = text.replacen(right, wrong, 1);
    }
    format!("{text}\n$$;")
}

/// What a schedule says when one of these does not hold; whatever else ends one, as a statement
/// that the server refuses, finds nothing out.
const INVARIANTS: &[&str] = &["I1: ", "I2: ", "I3: ", "I4: ", "I5: ", "I10: "];

async fn found_out(sql: &str, guarded: bool) {
    let lane = Lane::text().await;
    lane.run(sql).await;
    let mut world = World::new(lane, guarded).await;
    let first = testkit::seed();
    for number in 0..SCHEDULES_MAX {
        let (_, failed) = one(&mut world, first.wrapping_add(number)).await;
        if let Some(failed) = failed {
            let wrong = failed.lines().next().unwrap_or_default();
            if INVARIANTS.iter().any(|name| wrong.starts_with(name)) {
                println!("found out by schedule {}: {wrong}", number + 1);
                return;
            }
        }
    }
    panic!("{SCHEDULES_MAX} schedules did not find out: {sql}");
}

const SAME_ATTEMPT: &str = "q.job_id = asked.job_id and q.attempt_id = asked.attempt_id";
const SAME_JOB: &str = "q.job_id = asked.job_id";

#[tokio::test]
async fn q66_i2_a_finish_without_its_fence_is_found_out() {
    let parts = [
        (SAME_ATTEMPT, SAME_JOB),
        (
            "q.job_id, q.attempt_id, asked.status",
            "q.job_id, asked.attempt_id, asked.status",
        ),
    ];
    found_out(&replaced("finish_v1", &parts), true).await;
}

#[tokio::test]
async fn q66_i2_a_hand_back_without_its_fence_is_found_out() {
    let parts = [(
        "q.job_id = p_id and q.attempt_id = p_attempt",
        "q.job_id = p_id",
    )];
    found_out(&replaced("hand_back_v1", &parts), true).await;
}

#[tokio::test]
async fn q66_i2_a_renewal_without_its_fence_is_found_out() {
    let parts = [(SAME_ATTEMPT, SAME_JOB)];
    found_out(&replaced("renew_v1", &parts), true).await;
}

#[tokio::test]
async fn q66_i4_a_claim_that_does_not_lock_what_it_picks_is_found_out() {
    let parts = [("for update skip locked", "")];
    found_out(&replaced("claim_v1", &parts), true).await;
}

#[tokio::test]
async fn q66_i4_a_tick_that_resets_what_it_has_not_locked_is_found_out() {
    let parts = [("for update skip locked", "")];
    found_out(&replaced("tick_v1", &parts), true).await;
}

#[tokio::test]
async fn q66_i4_a_claim_that_does_not_see_expired_leases_is_found_out() {
    let parts = [("where q.claimed_at is not null and", "where false and")];
    found_out(&replaced("tick_v1", &parts), true).await;
}

#[tokio::test]
async fn q66_i1_a_reset_that_forgets_the_record_is_found_out() {
    let parts = [("perform \"lane\".record_reset(v_reset);", "")];
    found_out(&replaced("tick_v1", &parts), true).await;
}

#[tokio::test]
async fn q66_i2_a_cancel_that_ends_running_jobs_is_found_out() {
    let parts = [("if v_claimed then", "if false then")];
    found_out(&replaced("cancel_v1", &parts), true).await;
}

#[tokio::test]
async fn q66_i3_an_end_that_keeps_the_lock_is_found_out() {
    let parts = [("if v_keys is null then", "if true then")];
    found_out(&replaced("end_rows_v1", &parts), true).await;
}

#[tokio::test]
async fn q66_i2_an_attempt_id_that_comes_again_is_found_out() {
    let parts = [("gen_random_uuid()::text", "'attempt at ' || q.job_id")];
    found_out(&replaced("hand_out_v1", &parts), true).await;
}

#[tokio::test]
async fn q66_i5_a_claim_that_grants_less_than_was_asked_for_is_found_out() {
    let asked = "visible_at = statement_timestamp() + p_lease";
    let parts = [(asked, "visible_at = statement_timestamp() + p_lease / 2")];
    found_out(&replaced("hand_out_v1", &parts), true).await;
}

#[tokio::test]
async fn q66_i10_a_swap_without_a_guard_is_found_out() {
    found_out("", false).await;
}

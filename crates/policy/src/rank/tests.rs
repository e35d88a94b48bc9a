//! Who goes first, what each limit refuses, and that none starves.

use proptest::prelude::*;

use super::*;
use crate::fixtures::{HOUR, NOW_MS, sick};

fn wish(table: &str, benefit: f64, cost_gb_hours: f64) -> Wish {
    Wish {
        database: "db".to_owned(),
        table: table.to_owned(),
        benefit,
        cost_gb_hours,
        waiting_hours: 0.0,
        priority: 0,
    }
}

fn names<'a>(wishes: &'a [Wish], ranking: &Ranking) -> Vec<&'a str> {
    let granted = ranking.granted.iter();
    granted.map(|index| wishes[*index].table.as_str()).collect()
}

#[track_caller]
fn grants(wishes: &[Wish], budget: &Budget, want: &[&str]) {
    assert_eq!(names(wishes, &rank(wishes, budget, 0)), want);
}

const NO_LIMIT: Budget = Budget {
    jobs_max: None,
    jobs_per_database_max: None,
    running_max: None,
    gb_hours_max: None,
};

#[test]
fn what_heals_most_for_its_cost_goes_first() {
    let wishes = [
        wish("dear", 40.0, 10.0),
        wish("cheap", 40.0, 1.0),
        wish("sick", 80.0, 10.0),
    ];
    grants(&wishes, &NO_LIMIT, &["cheap", "sick", "dear"]);
}

#[test]
fn priority_goes_before_worth_and_a_day_of_waiting_is_one_step_of_it() {
    let mut wishes = [
        wish("worth", 90.0, 1.0),
        wish("urgent", 1.0, 9.0),
        wish("waited", 1.0, 9.0),
    ];
    wishes[1].priority = -1;
    wishes[2].waiting_hours = 23.9;
    grants(&wishes, &NO_LIMIT, &["urgent", "worth", "waited"]);
    wishes[2].waiting_hours = 48.0;
    grants(&wishes, &NO_LIMIT, &["waited", "urgent", "worth"]);
}

#[test]
fn equals_go_by_waiting_and_then_by_name() {
    let mut wishes = [
        wish("b", 1.0, 1.0),
        wish("c", 1.0, 1.0),
        wish("a", 1.0, 1.0),
    ];
    wishes[1].waiting_hours = 1.0;
    grants(&wishes, &NO_LIMIT, &["c", "a", "b"]);
}

#[track_caller]
fn refuses(budget: &Budget, live_jobs: u32, sentence: &str) {
    let wishes = [wish("first", 9.0, 1.0), wish("second", 8.0, 1.0)];
    let ranking = rank(&wishes, budget, live_jobs);
    let (index, why) = ranking.refused.last().unwrap();
    assert_eq!((*index, why.as_str()), (1, sentence));
}

#[test]
fn each_limit_refuses_in_a_sentence_with_its_numbers() {
    let jobs = Budget {
        jobs_max: Some(1),
        ..NO_LIMIT
    };
    refuses(&jobs, 0, "a run submits at most 1 jobs; place 2 of 2");
    let database = Budget {
        jobs_per_database_max: Some(1),
        ..NO_LIMIT
    };
    refuses(
        &database,
        0,
        "a run submits at most 1 jobs for database db; place 2 of 2",
    );
    let running = Budget {
        running_max: Some(4),
        ..NO_LIMIT
    };
    refuses(
        &running,
        3,
        "3 jobs wait or run already and 1 more were granted, at most 4 may; place 2 of 2",
    );
    refuses(
        &running,
        9,
        "9 jobs wait or run already and 0 more were granted, at most 4 may; place 2 of 2",
    );
    let gb_hours = Budget {
        gb_hours_max: Some(1.5),
        ..NO_LIMIT
    };
    refuses(
        &gb_hours,
        0,
        "predicted to cost 1.0000 GB-hours, 0.5000 of the run's 1.5 are left; place 2 of 2",
    );
}

#[test]
fn another_database_is_not_held_up() {
    let mut wishes = [
        wish("a", 9.0, 1.0),
        wish("b", 8.0, 1.0),
        wish("c", 7.0, 1.0),
    ];
    wishes[2].database = "other".to_owned();
    let budget = Budget {
        jobs_per_database_max: Some(1),
        ..NO_LIMIT
    };
    grants(&wishes, &budget, &["a", "c"]);
}

#[test]
fn a_smaller_wish_passes_one_that_does_not_fit_any_more() {
    let wishes = [
        wish("a", 90.0, 2.0),
        wish("b", 80.0, 2.0),
        wish("c", 1.0, 1.0),
    ];
    let budget = Budget {
        gb_hours_max: Some(3.0),
        ..NO_LIMIT
    };
    grants(&wishes, &budget, &["a", "c"]);
}

#[test]
fn a_wish_larger_than_a_whole_run_goes_alone_after_a_day() {
    let mut wishes = [wish("large", 90.0, 5.0), wish("small", 1.0, 1.0)];
    let budget = Budget {
        gb_hours_max: Some(3.0),
        ..NO_LIMIT
    };
    let ranking = rank(&wishes, &budget, 0);
    assert_eq!(names(&wishes, &ranking), ["small"]);
    assert_eq!(
        ranking.refused[0].1,
        "predicted to cost 5.0000 GB-hours, more than a whole run's 3: goes alone, when it is \
         first in line and has waited 24 h (waited 0 h); place 1 of 2"
    );
    wishes[0].waiting_hours = 24.0;
    let ranking = rank(&wishes, &budget, 0);
    assert_eq!(names(&wishes, &ranking), ["large"]);
    assert_eq!(
        ranking.refused[0].1,
        "this run is for db.large alone, predicted to cost more than a run's GB-hours; place 2 of 2"
    );
    let nothing = Budget {
        gb_hours_max: Some(0.0),
        ..NO_LIMIT
    };
    grants(&wishes, &nothing, &[]);
}

#[test]
fn a_wish_is_made_of_what_the_decision_looked_at() {
    let case = sick().table("snowpack.priority", "-2").history(|past| {
        past.put_off_since_ms = Some(NOW_MS - 30 * HOUR);
        past.due_deletion_count = 5;
    });
    let actions = match case.decide() {
        crate::Decision::Submit { actions, .. } => actions,
        skip @ crate::Decision::Skip { .. } => panic!("{skip:?}"),
    };
    let wish = case.with(|situation| super::wish("db", "t", situation, &actions));
    assert_eq!((wish.database.as_str(), wish.table.as_str()), ("db", "t"));
    assert_eq!(wish.priority, -2);
    assert!((wish.waiting_hours - 30.0).abs() < 1e-9, "{wish:?}");
    assert!(
        (wish.benefit - (30.0 + 8.6 + PURGE_BENEFIT)).abs() < 1e-9,
        "{wish:?}"
    );
    // 1 GB of small files and 100 snapshots.
    assert!((0.0033..0.005).contains(&wish.cost_gb_hours), "{wish:?}");
    let fresh = sick().with(|situation| super::wish("db", "t", situation, &actions[..1]));
    assert!(fresh.waiting_hours.abs() < 1e-9, "{fresh:?}");
    assert!((fresh.benefit - 8.6).abs() < 1e-9, "{fresh:?}");
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let odd = prop_oneof![
        8 => 0.0..100.0,
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300]),
    ];
    let one = (0..4_u8, odd.clone(), odd.clone(), odd, -3_i16..=3);
    let one = one.prop_map(|(database, benefit, cost, waiting, priority)| Wish {
        database: format!("db{database}"),
        benefit,
        cost_gb_hours: cost,
        waiting_hours: waiting,
        priority,
        ..wish("", 0.0, 0.0)
    });
    prop::collection::vec(one, 0..30).prop_map(|mut wishes| {
        for (number, wish) in wishes.iter_mut().enumerate() {
            wish.table = format!("t{number}");
        }
        wishes
    })
}

fn budgets() -> impl Strategy<Value = Budget> {
    let few = || prop::option::of(0_u32..12);
    (few(), few(), few(), prop::option::of(0.0..200.0)).prop_map(
        |(jobs_max, jobs_per_database_max, running_max, gb_hours_max)| Budget {
            jobs_max,
            jobs_per_database_max,
            running_max,
            gb_hours_max,
        },
    )
}

/// Runs it takes at most until a wish is granted: eight days of ageing, then one run for each
/// table that may be ahead.
fn runs_max(tables: usize, hours_between_runs: u32) -> u32 {
    8 * 24 / hours_between_runs + 1 + tables as u32
}

/// A budget under which the first in line can be granted.
fn admitting() -> impl Strategy<Value = Budget> {
    let few = || prop::option::of(1_u32..4);
    (few(), few(), few(), prop::option::of(0.1..60.0)).prop_map(
        |(jobs_max, jobs_per_database_max, running_max, gb_hours_max)| Budget {
            jobs_max,
            jobs_per_database_max,
            running_max,
            gb_hours_max,
        },
    )
}

proptest! {
    #[test]
    fn every_wish_is_granted_or_refused_once_and_no_limit_is_passed(
        wishes in wishes(), budget in budgets(), live_jobs in 0_u32..15,
    ) {
        let ranking = rank(&wishes, &budget, live_jobs);
        let refused = ranking.refused.iter().map(|(index, why)| {
            assert!(!why.is_empty());
            *index
        });
        let mut all: Vec<usize> = ranking.granted.iter().copied().chain(refused).collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..wishes.len()).collect::<Vec<_>>());

        let granted = ranking.granted.len() as u32;
        prop_assert!(budget.jobs_max.is_none_or(|max| granted <= max));
        let over = granted > 0 && budget.running_max.is_some_and(|max| live_jobs + granted > max);
        prop_assert!(!over);
        for database in ["db0", "db1", "db2", "db3"] {
            let of_it = ranking.granted.iter().filter(|index| wishes[**index].database == database);
            let count = of_it.count() as u32;
            prop_assert!(budget.jobs_per_database_max.is_none_or(|max| count <= max));
        }
        let cost: f64 = ranking.granted.iter().map(|index| wishes[*index].cost()).sum();
        if let Some(max) = budget.gb_hours_max {
            prop_assert!(cost <= max * (1.0 + 1e-9) || granted == 1, "{cost} of {max}");
        }
    }

    #[test]
    fn the_order_of_asking_changes_nothing(
        wishes in wishes(), budget in budgets(), seed in any::<prop::sample::Index>(),
    ) {
        let mut turned = wishes.clone();
        if !turned.is_empty() {
            turned.rotate_left(seed.index(wishes.len()));
        }
        let (one, other) = (rank(&wishes, &budget, 0), rank(&turned, &budget, 0));
        prop_assert_eq!(names(&wishes, &one), names(&turned, &other));
    }

    /// Every table wants its turn again at the very next run, with nothing waited.
    #[test]
    fn none_starves(
        mut wishes in wishes(), budget in admitting(), hours_between_runs in 1_u32..24,
    ) {
        for wish in &mut wishes {
            wish.waiting_hours = 0.0;
        }
        let limit = runs_max(wishes.len(), hours_between_runs);
        let mut waited = vec![0_u32; wishes.len()];
        for run in 0..2 * limit {
            let ranking = rank(&wishes, &budget, 0);
            for index in ranking.granted {
                waited[index] = 0;
                wishes[index].waiting_hours = 0.0;
            }
            for (index, _) in ranking.refused {
                waited[index] += 1;
                wishes[index].waiting_hours = f64::from(waited[index] * hours_between_runs);
                prop_assert!(
                    waited[index] <= limit,
                    "run {run}: {:?} waits for more than {limit} runs", wishes[index]
                );
            }
        }
    }

    #[test]
    fn waiting_longer_never_puts_a_wish_back(
        wishes in wishes(), which in any::<prop::sample::Index>(), more in 0.0..500.0,
    ) {
        if wishes.is_empty() {
            return Ok(());
        }
        let index = which.index(wishes.len());
        let place = |wishes: &[Wish]| {
            let granted = rank(wishes, &NO_LIMIT, 0).granted;
            granted.iter().position(|granted| *granted == index)
        };
        let before = place(&wishes);
        let mut later = wishes;
        later[index].waiting_hours = later[index].waited() + more;
        prop_assert!(place(&later) <= before);
    }
}

//! The tables that wait for health sync: the one that waited longest first, page by page.

use maintenance::health::{self, Stale};
use tokio_postgres::types::{Timestamp, Type};

use crate::lane::Lane;
use crate::plans::{Param, buffers, explain};

/// The whole list in pages of `limit`.
async fn all(lane: &Lane, limit: u32) -> Vec<String> {
    let now = health::now(&lane.client).await.unwrap();
    let (mut found, mut after): (Vec<String>, Option<Stale>) = (Vec::new(), None);
    loop {
        let page = health::stalest(&lane.client, now, after.as_ref(), limit).await;
        let page = page.unwrap();
        let names = page.iter().map(|stale| stale.table.clone().unwrap());
        found.extend(names.map(|table| table.key()));
        match page.last() {
            Some(last) if page.len() == limit as usize => after = Some(last.clone()),
            _ => return found,
        }
    }
}

#[tokio::test]
async fn m24_the_longest_wait_goes_first_also_in_the_hour_that_comes_twice() {
    let lane = Lane::new().await;
    // In Berlin the first look was at 2:30, the second, forty minutes later, at 2:10.
    let sql = "set timezone to 'Europe/Berlin'; \
               insert into snowpack.table_cache_entries \
               select 'db', name, null, '{}' from unnest('{early,late,never,new}'::text[]) name; \
               insert into snowpack.table_health (database_name, table_name, payload, checked_at) \
               values ('db', 'early', '{}', '2026-10-25 00:30:00+00'), \
               ('db', 'late', '{}', '2026-10-25 01:10:00+00'), \
               ('db', 'gone', '{}', '2026-01-01'), ('db', 'new', '{}', 'infinity')";
    lane.client.batch_execute(sql).await.unwrap();
    for limit in [1, 2, 3, 10] {
        let found = all(&lane, limit).await;
        assert_eq!(found, ["db.never", "db.early", "db.late"], "by {limit}");
    }
}

#[tokio::test]
async fn m24_a_page_of_the_stalest_costs_what_it_returns() {
    let lane = Lane::new().await;
    let sql = "insert into snowpack.table_cache_entries \
               select 'd' || n % 20, 't' || n, null, '{}' from generate_series(1, 50000) n; \
               insert into snowpack.table_health (database_name, table_name, payload, checked_at) \
               select 'd' || n % 20, 't' || n, '{}', now() - n * '1 s'::interval \
               from generate_series(1, 30000) n; analyze";
    lane.client.batch_execute(sql).await.unwrap();
    let now = health::now(&lane.client).await.unwrap();
    let sql = "select checked_at from snowpack.table_health where table_name = 't29000'";
    let row = lane.client.query_one(sql, &[]).await.unwrap();
    let looked_at: Timestamp<jiff::Timestamp> = row.get(0);
    for (at, database, table) in [
        (None, None, None),
        (Some(Timestamp::NegInfinity), Some("d7"), Some("t40007")),
        (Some(looked_at), Some("d0"), Some("t29000")),
    ] {
        let params: [Param<'_>; 5] = [
            (&now, Type::TIMESTAMPTZ),
            (&at, Type::TIMESTAMPTZ),
            (&database, Type::TEXT),
            (&table, Type::TEXT),
            (&100_i64, Type::INT8),
        ];
        let plan = explain(&lane, "health/stalest.sql", &params).await;
        let told = format!("after {at:?}, {database:?}, {table:?}:\n{plan}");
        assert!(!plan.contains("Seq Scan"), "{told}");
        assert!(buffers(&plan) < 2_000, "{told}");
    }
}

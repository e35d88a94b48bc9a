//! Whatever fails, and wherever: readers see one whole set, the old one or the new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use maintenance::inventory::Outcome;
use steward::inventory::sync;

use crate::inventory::{Rig, all};

#[tokio::test]
async fn m20_readers_never_see_half_a_set() {
    let rig = Rig::new(&[]).await;
    let put = |round: usize| {
        for table in 0..if round.is_multiple_of(2) { 120 } else { 200 } {
            let name = format!("d{}.t{table}", table % 3);
            rig.shelf
                .put(&name, &[("snowpack.priority", &round.to_string())]);
        }
        for table in (120..200).filter(|_| round.is_multiple_of(2)) {
            if round > 0 {
                rig.shelf.drop_table(&format!("d{}.t{table}", table % 3));
            }
        }
    };
    put(0);
    rig.sync().await;
    let over = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (over, reader) = (over.clone(), Rig::of(&rig.database).await);
        async move {
            let mut seen = std::collections::BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                let entries = reader.entries().await;
                let mut rounds: Vec<&String> = entries
                    .iter()
                    .map(|entry| &entry.content.properties["snowpack.priority"])
                    .collect();
                rounds.sort();
                rounds.dedup();
                assert_eq!(rounds.len(), 1, "two sets at once");
                let round: usize = rounds[0].parse().unwrap();
                let want = if round.is_multiple_of(2) { 120 } else { 200 };
                assert_eq!(entries.len(), want, "a part of set {round}");
                assert_eq!(entries[0].synced_at, entries[want - 1].synced_at);
                seen.insert(round);
            }
            seen.len()
        }
    });
    for round in 1..8 {
        put(round);
        assert_eq!(rig.sync().await.outcome, Some(Outcome::Synced));
    }
    over.store(true, Ordering::Relaxed);
    assert!(
        reader.await.unwrap() > 1,
        "the reader read while sets were swapped"
    );
}

/// A set with one table changed, one new, one gone; and what is there before.
async fn about_to_change() -> (Rig, Vec<maintenance::inventory::Entry>) {
    let rig = Rig::new(&["a.changed", "a.gone", "b.t", "c.t"]).await;
    rig.sync().await;
    let before = rig.entries().await;
    rig.shelf.put("a.changed", &[("snowpack.priority", "3")]);
    rig.shelf.put("a.a_new_one", &[]);
    rig.shelf.drop_table("a.gone");
    (rig, before)
}

#[tokio::test]
async fn m20_a_swap_killed_at_any_statement_leaves_the_old_set() {
    let blocks = [
        "select from snowpack.table_cache_meta for update",
        "select from snowpack.table_cache_entries where table_name = 'changed' for update",
        "select from snowpack.table_cache_entries where table_name = 'gone' for update",
        "lock table snowpack.table_cache_entries in share mode",
    ];
    for block in blocks {
        let (rig, before) = about_to_change().await;
        let mut blocker = rig.database.client().await;
        let tx = blocker.transaction().await.unwrap();
        tx.batch_execute(block).await.unwrap();
        let (pool, shelf) = (rig.pool.clone(), rig.shelf.clone());
        let syncing = tokio::spawn(async move { sync(&pool, &shelf, &all(), false).await });
        let kill = "select pg_terminate_backend(pid) from pg_stat_activity \
                    where datname = current_database() and wait_event_type = 'Lock'";
        testkit::until("the swap waits and is killed", async || {
            rig.client.execute(kill, &[]).await.unwrap() > 0
        })
        .await;
        let error = syncing.await.unwrap().unwrap_err();
        assert_eq!(error.advice(), model::Advice::RetryLater, "{error}");
        drop(tx);
        drop(blocker);
        assert_eq!(rig.entries().await, before, "{block}");
        // The old pool may still hand out the connection that was ended.
        let pool = rig.database.pool().await;
        let synced = sync(&pool, &rig.shelf, &all(), false).await.unwrap();
        assert_eq!(synced.outcome, Some(Outcome::Synced), "{block}");
        assert_eq!(
            rig.names().await,
            ["a.a_new_one", "a.changed", "b.t", "c.t"]
        );
        let left = "select count(*) from snowpack.table_cache_changes";
        assert_eq!(
            rig.count(left).await,
            0,
            "what the killed one staged is gone"
        );
    }
}

#[tokio::test]
async fn m20_a_pass_that_dies_anywhere_leaves_the_old_set() {
    // One more poll each time until it comes through: dropped at every point it ever waits at.
    let (rig, before) = about_to_change().await;
    let allow = all();
    let mut died = 0;
    for polls in 1..10_000 {
        let mut left = polls;
        let mut syncing = Box::pin(sync(&rig.pool, &rig.shelf, &allow, false));
        let ended = std::future::poll_fn(|context| {
            left -= 1;
            match syncing.as_mut().poll(context) {
                std::task::Poll::Ready(ended) => std::task::Poll::Ready(Some(ended)),
                std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(None),
                std::task::Poll::Pending => std::task::Poll::Pending,
            }
        })
        .await;
        drop(syncing);
        if let Some(synced) = ended {
            // The commit of the one before may have arrived although nobody heard of it.
            let outcome = synced.unwrap().outcome;
            assert_eq!(outcome, Some(Outcome::Synced));
            break;
        }
        died += 1;
        let entries = rig.entries().await;
        let whole = entries
            .iter()
            .any(|entry| entry.table.table() == "a_new_one");
        if !whole {
            assert_eq!(entries, before, "after {polls} polls");
        }
    }
    assert!(died > 10, "it died at {died} points only");
    assert_eq!(
        rig.names().await,
        ["a.a_new_one", "a.changed", "b.t", "c.t"]
    );
}

#[tokio::test]
async fn m20_two_passes_at_once_leave_one_whole_set() {
    let (rig, _) = about_to_change().await;
    let allow = all();
    let passes = (0..4).map(|_| sync(&rig.pool, &rig.shelf, &allow, false));
    let ended = futures::future::join_all(passes).await;
    let mut swapped = 0;
    for synced in ended {
        let synced = synced.unwrap();
        assert!(
            synced.superseded || synced.outcome == Some(Outcome::Synced),
            "{synced:?}"
        );
        swapped += u32::from(!synced.superseded);
    }
    assert!(swapped > 0);
    assert_eq!(
        rig.names().await,
        ["a.a_new_one", "a.changed", "b.t", "c.t"]
    );
    rig.sync().await;
    let left = "select count(*) from snowpack.table_cache_changes";
    assert_eq!(rig.count(left).await, 0);
}

#[tokio::test]
async fn m20_what_postgres_lost_is_not_taken_for_a_set() {
    let (rig, before) = about_to_change().await;
    let mut blocker = rig.database.client().await;
    let tx = blocker.transaction().await.unwrap();
    tx.batch_execute("select from snowpack.table_cache_meta for update")
        .await
        .unwrap();
    let (pool, shelf) = (rig.pool.clone(), rig.shelf.clone());
    let syncing = tokio::spawn(async move { sync(&pool, &shelf, &all(), false).await });
    let waiting = "select count(*) from pg_stat_activity \
                   where datname = current_database() and wait_event_type = 'Lock'";
    testkit::until("the swap waits", async || rig.count(waiting).await > 0).await;
    let crash = "delete from snowpack.table_cache_changes where table_name = 'changed'";
    assert_eq!(rig.client.execute(crash, &[]).await.unwrap(), 1);
    drop(tx);
    drop(blocker);
    let synced = syncing.await.unwrap().unwrap();
    assert_eq!(synced.outcome, Some(Outcome::Failed));
    assert_eq!(rig.entries().await, before);
    let status = rig.status().await;
    assert!(status.error.unwrap().contains("Postgres lost"));
    assert_eq!(rig.sync().await.outcome, Some(Outcome::Synced));
}

#[tokio::test]
async fn m20_a_sudden_loss_of_more_than_half_is_held_back_unless_forced() {
    let rig = Rig::new(&["a.t1", "a.t2", "b.t1", "b.t2"]).await;
    rig.sync().await;
    let before = (rig.entries().await, rig.status().await.last_synced_at);
    // Half is not more than half.
    rig.shelf.drop_table("a.t1");
    rig.shelf.drop_table("a.t2");
    rig.shelf.put("a.t3", &[]);
    let synced = rig.sync().await;
    assert_eq!((synced.outcome, synced.gone), (Some(Outcome::Synced), 2));
    rig.shelf.put("a.t1", &[]);
    rig.sync().await;
    assert_eq!(rig.names().await, ["a.t1", "a.t3", "b.t1", "b.t2"]);
    assert!(rig.status().await.last_synced_at > before.1);

    let before = rig.entries().await;
    rig.shelf.drop_namespace("b");
    rig.shelf.drop_table("a.t1");
    rig.shelf.put("a.t9", &[]);
    let synced = rig.sync().await;
    assert_eq!(
        (synced.outcome, synced.tables),
        (Some(Outcome::HeldBack), 4)
    );
    assert_eq!(rig.entries().await, before, "untouched, time and all");
    let status = rig.status().await;
    assert_eq!(status.outcome, Some(Outcome::HeldBack));
    let error = status.error.unwrap();
    assert!(error.contains("3 of 4 tables are gone"), "{error}");
    assert!(status.attempted_at > status.last_synced_at);

    let synced = sync(&rig.pool, &rig.shelf, &all(), true).await.unwrap();
    assert_eq!((synced.outcome, synced.gone), (Some(Outcome::Synced), 3));
    assert_eq!(rig.names().await, ["a.t3", "a.t9"]);
    assert_eq!(rig.status().await.error, None);
}

#[tokio::test]
async fn m20_an_empty_catalog_is_a_loss_and_an_empty_cache_loses_nothing() {
    let rig = Rig::new(&[]).await;
    let synced = rig.sync().await;
    assert_eq!((synced.outcome, synced.tables), (Some(Outcome::Synced), 0));
    rig.shelf.put("a.t", &[]);
    rig.sync().await;
    rig.shelf.drop_namespace("a");
    assert_eq!(rig.sync().await.outcome, Some(Outcome::HeldBack));
    assert_eq!(rig.names().await, ["a.t"]);
}

#[tokio::test]
async fn m20_a_namespace_that_cannot_be_listed_keeps_its_entries_and_is_named() {
    let rig = Rig::new(&["a.t", "b.t1", "b.t2", "b.t3"]).await;
    rig.sync().await;
    let first = rig.status().await.last_synced_at;
    rig.shelf.broken(&["b"]);
    rig.shelf.put("a.u", &[]);
    rig.shelf.drop_table("b.t1");
    for _ in 0..2 {
        let synced = rig.sync().await;
        assert_eq!(synced.outcome, Some(Outcome::Partial));
        assert_eq!(synced.failed_namespaces.len(), 1);
        assert_eq!(rig.names().await, ["a.t", "a.u", "b.t1", "b.t2", "b.t3"]);
    }
    let status = rig.status().await;
    let failed = &status.failed_namespaces[0];
    assert_eq!(failed.namespace, "b");
    assert!(
        failed.error.contains("list tables: told to fail"),
        "{}",
        failed.error
    );
    assert_eq!(failed.since, first, "when it was last seen");
    assert_eq!(Some(rig.entry("b.t1").await.synced_at), first);
    assert_eq!(
        Some(rig.entry("a.t").await.synced_at),
        status.last_synced_at
    );

    rig.shelf.broken(&[]);
    let synced = rig.sync().await;
    assert_eq!((synced.outcome, synced.gone), (Some(Outcome::Synced), 1));
    assert_eq!(rig.status().await.failed_namespaces, []);
    assert_eq!(rig.names().await, ["a.t", "a.u", "b.t2", "b.t3"]);
}

#[tokio::test]
async fn m20_a_catalog_that_is_down_changes_nothing_and_is_told() {
    let rig = Rig::new(&["a.t", "b.t"]).await;
    rig.sync().await;
    let (before, synced_at) = (rig.entries().await, rig.status().await.last_synced_at);
    let check = async |why: &str| {
        let synced = rig.sync().await;
        assert_eq!((synced.outcome, synced.tables), (Some(Outcome::Failed), 2));
        assert!(synced.error.as_ref().unwrap().contains(why), "{synced:?}");
        assert_eq!(rig.entries().await, before);
        let status = rig.status().await;
        assert_eq!(status.outcome, Some(Outcome::Failed));
        assert_eq!(status.last_synced_at, synced_at);
        assert!(status.attempted_at > synced_at);
        assert!(status.error.unwrap().contains(why));
    };
    rig.shelf.down(true);
    check("list namespaces: told to fail").await;
    rig.shelf.down(false);
    rig.shelf.broken(&["a", "b"]);
    check("no namespace could be listed").await;
    rig.shelf.broken(&[]);
    assert_eq!(rig.sync().await.outcome, Some(Outcome::Synced));
}

#[tokio::test]
async fn m20_a_table_that_cannot_be_read_keeps_what_is_known_of_it_and_says_why() {
    let rig = Rig::new(&["a.known", "a.other"]).await;
    rig.shelf.put("a.known", &[("snowpack.priority", "2")]);
    rig.sync().await;
    let known = rig.entry("a.known").await.content;
    rig.shelf.put("a.known", &[("snowpack.priority", "3")]);
    rig.shelf.put("a.unknown", &[]);
    rig.shelf.unreadable(&["a.known", "a.unknown"]);
    for changed in [2, 0] {
        let synced = rig.sync().await;
        assert_eq!(synced.outcome, Some(Outcome::Synced));
        assert_eq!((synced.unreadable, synced.changed), (2, changed));
        assert_eq!(rig.status().await.unreadable_count, 2);
        let mut content = rig.entry("a.known").await.content;
        let error = content.error.take().unwrap();
        assert!(
            error.starts_with("read the metadata: told to fail"),
            "{error}"
        );
        assert_eq!(content, known, "the rest is from before");
        let unknown = rig.entry("a.unknown").await;
        assert_eq!(unknown.content.metadata_location, None);
        assert!(unknown.content.error.is_some());
    }
    rig.shelf.unreadable(&[]);
    let synced = rig.sync().await;
    assert_eq!((synced.unreadable, synced.changed), (0, 2));
    let content = rig.entry("a.known").await.content;
    assert_eq!(
        (content.error, &*content.properties["snowpack.priority"]),
        (None, "3")
    );
}

#[tokio::test]
async fn m20_a_table_dropped_while_it_is_looked_at_is_gone() {
    let rig = Rig::new(&["a.t", "a.u", "a.v"]).await;
    rig.sync().await;
    rig.shelf.put("a.t", &[]);
    rig.shelf.put("a.w", &[]);
    rig.shelf.vanishing(&["a.t", "a.w"]);
    let synced = rig.sync().await;
    assert_eq!((synced.outcome, synced.gone), (Some(Outcome::Synced), 1));
    assert_eq!(rig.names().await, ["a.u", "a.v"]);
}

#[tokio::test]
async fn m20_a_row_nobody_can_read_is_replaced() {
    let rig = Rig::new(&["a.t", "a.u", "a.v"]).await;
    rig.sync().await;
    let spoil = "update snowpack.table_cache_entries set payload = '{\"properties\": 1}' \
                 where table_name = 't'; \
                 update snowpack.table_cache_entries set payload = null where table_name = 'u'; \
                 insert into snowpack.table_cache_entries values ('\"', 'x', null, '{}')";
    rig.client.batch_execute(spoil).await.unwrap();
    let error = rig.entry("a.t").await.content.error.unwrap();
    assert!(error.contains("cannot be read"), "{error}");
    let synced = rig.sync().await;
    assert_eq!((synced.changed, synced.gone), (2, 1));
    assert_eq!(rig.names().await, ["a.t", "a.u", "a.v"]);
}

//! Pool, migrations and LISTEN against a real Postgres.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::borrow::Cow;
use std::error::Error as _;

use model::Advice;
use pg::{Error, Heard, Migrated, Migration, Pool, State};
use testkit::Database;

fn migration(number: i32, sql: &'static str, oldest: i32) -> Migration {
    Migration {
        number,
        name: "made",
        sql: Cow::Borrowed(sql),
        oldest_binary_schema: oldest,
    }
}

fn two() -> Vec<Migration> {
    vec![
        migration(
            1,
            "create table lake.a (x int); insert into lake.a values (1)",
            1,
        ),
        migration(2, "alter table lake.a add y int", 1),
    ]
}

async fn applied(pool: &Pool) -> i64 {
    let client = pool.get().await.unwrap();
    let sql = "select count(*) from lake.schema_migrations";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn migrating_twice_changes_nothing() {
    let pool = Database::empty().await.pool().await;
    assert_eq!(pg::schema_state(&pool, "lake").await.unwrap(), None);
    let first = pg::migrate(&pool, "lake", &two()).await.unwrap();
    assert_eq!(
        first,
        Migrated {
            applied: vec![1, 2],
            version: 2
        }
    );
    let second = pg::migrate(&pool, "lake", &two()).await.unwrap();
    assert_eq!(
        second,
        Migrated {
            applied: vec![],
            version: 2
        }
    );
    let state = pg::schema_state(&pool, "lake").await.unwrap();
    assert_eq!(
        state,
        Some(State {
            version: 2,
            oldest_binary_schema: 1
        })
    );
    let client = pool.get().await.unwrap();
    let rows: i64 = client
        .query_one("select count(*) from lake.a", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn many_migrators_at_once_apply_each_migration_once() {
    let database = Database::empty().await;
    let pool = database.pool().await;
    let list = two();
    let all = futures::future::join_all((0..8).map(|_| pg::migrate(&pool, "lake", &list))).await;
    let mut numbers: Vec<i32> = all
        .into_iter()
        .flat_map(|done| done.unwrap().applied)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(applied(&pool).await, 2);
}

#[tokio::test]
async fn an_edited_migration_is_refused_and_a_broken_one_leaves_nothing() {
    let pool = Database::empty().await.pool().await;
    pg::migrate(&pool, "lake", &two()).await.unwrap();
    let mut edited = two();
    edited[0].sql = Cow::Borrowed("create table lake.a (x bigint)");
    let error = pg::migrate(&pool, "lake", &edited).await.unwrap_err();
    assert!(
        matches!(error, Error::ChangedMigration { number: 1, .. }),
        "{error}"
    );
    assert_eq!(error.advice(), Advice::GiveUp);
    let mut broken = two();
    broken.push(migration(3, "create table lake.b (x int); select 1 / 0", 1));
    let error = pg::migrate(&pool, "lake", &broken).await.unwrap_err();
    assert_eq!(error.to_string(), "migration 3 (made) of schema lake");
    assert_eq!(applied(&pool).await, 2);
    let client = pool.get().await.unwrap();
    let there = client
        .query_one("select to_regclass('lake.b') is null", &[])
        .await
        .unwrap();
    assert!(there.get::<_, bool>(0), "a failed migration leaves nothing");
    let gap = [migration(2, "select 1", 1)];
    let error = pg::migrate(&pool, "lake", &gap).await.unwrap_err();
    assert!(
        matches!(error, Error::MisnumberedMigration { number: 2, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_program_older_than_the_schema_allows_is_refused() {
    let pool = Database::empty().await.pool().await;
    let mut newer = two();
    newer.push(migration(3, "alter table lake.a drop y", 3));
    pg::migrate(&pool, "lake", &newer).await.unwrap();
    let state = pg::schema_state(&pool, "lake").await.unwrap();
    assert_eq!(
        state,
        Some(State {
            version: 3,
            oldest_binary_schema: 3
        })
    );
    let error = pg::migrate(&pool, "lake", &two()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "schema lake is at version 3 and needs a program that knows version 3 or later; \
         this one knows 2"
    );
}

#[tokio::test]
async fn an_older_program_may_work_with_a_schema_that_was_only_expanded() {
    let pool = Database::empty().await.pool().await;
    let mut expanded = two();
    expanded.push(migration(3, "alter table lake.a add z int", 1));
    pg::migrate(&pool, "lake", &expanded).await.unwrap();
    let older = pg::migrate(&pool, "lake", &two()).await.unwrap();
    assert_eq!(
        older,
        Migrated {
            applied: vec![],
            version: 3
        }
    );
}

#[tokio::test]
async fn an_absent_server_is_named_without_the_password() {
    let url = "postgres://ann:hunter2@127.0.0.1:1/lake";
    let error = Pool::connect(url, 2, "test").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "connect to Postgres at 127.0.0.1:1, database lake"
    );
    assert_eq!(error.advice(), Advice::RetryLater);
    assert!(!format!("{error:?} {:?}", error.source()).contains("hunter2"));
    let database = Database::empty().await;
    let url = database.url().replace(database.name(), "nowhere");
    let error = Pool::connect(&url, 2, "test").await.unwrap_err();
    assert!(error.to_string().ends_with("database nowhere"), "{error}");
    assert_eq!(error.advice(), Advice::GiveUp);
}

#[tokio::test]
async fn a_failed_statement_says_whether_trying_again_helps() {
    let database = Database::empty().await;
    let client = database.client().await;
    for (sql, want) in [
        (
            "do $$ begin raise exception using errcode = '40001'; end $$",
            Advice::RetryLater,
        ),
        (
            "do $$ begin raise exception using errcode = '40P01'; end $$",
            Advice::RetryLater,
        ),
        (
            "do $$ begin raise exception using errcode = '55P03'; end $$",
            Advice::RetryLater,
        ),
        (
            "do $$ begin raise exception using errcode = '53300'; end $$",
            Advice::RetryLater,
        ),
        (
            "do $$ begin raise exception using errcode = '57P03'; end $$",
            Advice::RetryLater,
        ),
        (
            "do $$ begin raise exception using errcode = '25006'; end $$",
            Advice::RetryLater,
        ),
        (
            "do $$ begin raise exception using errcode = '25P04'; end $$",
            Advice::RetryLater,
        ),
        (
            "do $$ begin raise exception using errcode = '58030'; end $$",
            Advice::RetryLater,
        ),
        (
            "do $$ begin raise exception using errcode = '58P01'; end $$",
            Advice::GiveUp,
        ),
        (
            "do $$ begin raise exception using errcode = '23505'; end $$",
            Advice::GiveUp,
        ),
        ("select nothing", Advice::GiveUp),
    ] {
        let error = client.batch_execute(sql).await.unwrap_err();
        assert_eq!(pg::advice(&error), want, "{sql}");
        let unknown = sql.contains("57P03") || sql.contains("25P04");
        assert_eq!(pg::outcome_unknown(&error), unknown, "{sql}");
    }
    let lost = client
        .batch_execute("select pg_terminate_backend(pg_backend_pid())")
        .await;
    let lost = lost.unwrap_err();
    assert!(pg::outcome_unknown(&lost), "{lost:?}");
    let closed = client.batch_execute("select 1").await.unwrap_err();
    assert_eq!(
        (pg::advice(&closed), pg::outcome_unknown(&closed)),
        (Advice::RetryLater, true)
    );
}

#[tokio::test]
async fn a_pool_replaces_connections_the_server_has_ended() {
    let database = Database::empty().await;
    let pool = Pool::connect(database.url(), 1, "test").await.unwrap();
    let client = pool.get().await.unwrap();
    client
        .batch_execute("select pg_terminate_backend(pg_backend_pid())")
        .await
        .unwrap_err();
    drop(client);
    testkit::until("a new connection works", async || {
        pool.get()
            .await
            .unwrap()
            .batch_execute("select 1")
            .await
            .is_ok()
    })
    .await;
}

async fn backend(client: &pg::Client) -> i32 {
    let row = client.query_one("select pg_backend_pid()", &[]).await;
    row.unwrap().get(0)
}

#[tokio::test]
async fn a_connection_whose_statement_was_given_up_is_not_handed_out_again() {
    let database = Database::empty().await;
    let pool = Pool::connect(database.url(), 1, "test").await.unwrap();
    let watcher = database.client().await;
    watcher
        .batch_execute("select pg_advisory_lock(1)")
        .await
        .unwrap();
    let waiting = "select count(*) from pg_locks where not granted and locktype = 'advisory' \
                   and database = (select oid from pg_database where datname = current_database())";
    let waiting = async || {
        let row = watcher.query_one(waiting, &[]).await.unwrap();
        row.get::<_, i64>(0)
    };
    for overdue in [false, true] {
        let client = pool.get().await.unwrap();
        let first = backend(&client).await;
        {
            let statement = client.batch_execute("select pg_advisory_xact_lock(1)");
            let waits = testkit::until("it waits", async || waiting().await == 1);
            tokio::select! {
                done = statement => panic!("{done:?}"),
                () = waits => {}
            }
        }
        if overdue {
            client.close();
        } else {
            drop(client);
        }
        let next = pool.get().await.unwrap();
        let answered = tokio::time::timeout(testkit::WAIT_MAX, backend(&next)).await;
        assert_ne!(answered.expect("the next one is free"), first);
        testkit::until("the server has given it up too", async || {
            waiting().await == 0
        })
        .await;
    }
}

#[tokio::test]
async fn a_connection_with_all_its_answers_is_handed_out_again() {
    let database = Database::empty().await;
    let pool = Pool::connect(database.url(), 1, "test").await.unwrap();
    let client = pool.get().await.unwrap();
    let first = backend(&client).await;
    drop(client);
    let mut client = pool.get().await.unwrap();
    assert_eq!(backend(&client).await, first);
    // Its rollback is still on the way.
    let tx = client.transaction().await.unwrap();
    tx.batch_execute("create table half (x int)").await.unwrap();
    drop(tx);
    drop(client);
    let client = pool.get().await.unwrap();
    assert_eq!(backend(&client).await, first);
    client.give_back();
    assert_eq!(backend(&pool.get().await.unwrap()).await, first);
}

#[tokio::test]
async fn a_listener_hears_its_channels_and_comes_back_after_a_loss() {
    let database = Database::empty().await;
    let pool = database.pool().await;
    let mut listener = pool.listen(&["work", "Odd \"name"]).await.unwrap();
    let client = database.client().await;
    let notify = "select pg_notify($1, $2)";
    client.query(notify, &[&"nobody's", &"x"]).await.unwrap();
    client
        .query(notify, &[&"Odd \"name", &"one"])
        .await
        .unwrap();
    let heard = |channel: &str, payload: &str| Heard::Notified {
        channel: channel.to_owned(),
        payload: payload.to_owned(),
    };
    assert_eq!(listener.next().await, heard("Odd \"name", "one"));
    let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                where datname = current_database() and query like 'listen %'";
    assert_eq!(
        client.query_one(kill, &[]).await.unwrap().get::<_, i64>(0),
        1
    );
    assert_eq!(listener.next().await, Heard::Reconnected);
    client.query(notify, &[&"work", &"two"]).await.unwrap();
    assert_eq!(listener.next().await, heard("work", "two"));
}

#[tokio::test]
async fn q55_a_pool_listens_where_it_is_told_to_or_not_at_all() {
    let (pooled, direct) = (Database::empty().await, Database::empty().await);
    let at = |url: &str| pg::ListenArgs {
        listen_url: Some(url.to_owned()),
    };
    let pool = pooled.pool().await;
    let elsewhere = pool.clone().listening(&at(direct.url()), "test").unwrap();
    let mut listener = elsewhere.listen(&["work"]).await.unwrap();
    let notify = "select pg_notify('work', current_database())";
    for database in [&pooled, &direct] {
        database.client().await.query(notify, &[]).await.unwrap();
    }
    let heard = Heard::Notified {
        channel: "work".to_owned(),
        payload: direct.name().to_owned(),
    };
    assert_eq!(listener.next().await, heard);

    let mut deaf = pool.clone().listening(&at("off"), "test").unwrap();
    let mut off = deaf.listen(&["work"]).await.unwrap();
    pooled.client().await.query(notify, &[]).await.unwrap();
    assert_eq!(futures::FutureExt::now_or_never(off.next()), None);
    deaf = deaf.listening(&pg::ListenArgs::default(), "test").unwrap();
    let mut again = deaf.listen(&["work"]).await.unwrap();
    pooled.client().await.query(notify, &[]).await.unwrap();
    assert!(matches!(again.next().await, Heard::Notified { .. }));

    let error = pool
        .listening(&at("mysql://u:secret@h"), "test")
        .unwrap_err();
    assert!(error.to_string().contains("`off`"), "{error}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn every_statement_prepares() {
    let database = Database::empty().await;
    let pool = database.pool().await;
    pg::migrate(&pool, "lake", &two()).await.unwrap();
    let client = database.client().await;
    for (name, text) in pg::statements("lake") {
        let prepared = client.prepare(&text).await;
        assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
    }
}

//! What breaks in a pass: a table, the catalog, Postgres. The others go on, or the outcome is clear.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use maintenance::loops::Outcome;
use pg::Pool;
use steward::health::Cut;
use testkit::Database;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::watched::{Watched, down};
use crate::world::{World, syncing};

#[tokio::test(flavor = "multi_thread")]
async fn m24_a_corrupt_table_is_reported_and_the_others_go_on() {
    let world = World::new().await;
    let tables = world.tables(5).await;
    let sick = &tables[2];
    let path = world.metadata(sick).await;
    let sound = std::fs::read(&path).unwrap();
    std::fs::write(&path, b"{\"format-version\": 2").unwrap();
    for failures in 1..=2 {
        let synced = world.sync(&world.watched(), &syncing(3)).await;
        assert_eq!((synced.assessed(), synced.failed), (4, 1), "{synced:?}");
        assert_eq!(synced.outcome(), Outcome::Partial);
        assert_eq!(synced.failures[0].0, sick.key());
        let latest = world.latest(sick).await.unwrap();
        assert_eq!(latest.failure_count, failures);
        assert!(latest.error.unwrap().contains("table metadata"));
        assert_eq!((latest.score, latest.payload), (None, None));
    }
    std::fs::write(&path, &sound).unwrap();
    let synced = world.sync(&world.watched(), &syncing(3)).await;
    assert_eq!(synced.outcome(), Outcome::Done);
    let latest = world.latest(sick).await.unwrap();
    assert_eq!((latest.error, latest.failure_count), (None, 0));
    assert!(latest.payload.is_some());

    std::fs::write(&path, b"").unwrap();
    world.sync(&world.watched(), &syncing(3)).await;
    let latest = world.latest(sick).await.unwrap();
    assert!(
        latest.payload.is_some(),
        "what was known stays beside the error"
    );
    assert_eq!(latest.failure_count, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn m24_a_table_that_takes_too_long_fails_alone() {
    let world = World::new().await;
    let tables = world.tables(4).await;
    let slow = tables[1].clone();
    let stuck = slow.clone();
    let watched = Watched::new(&world.catalog, move |_, table| {
        let stuck = table == stuck;
        async move {
            if stuck {
                std::future::pending::<()>().await;
            }
            Ok(())
        }
        .boxed()
    });
    let mut brief = syncing(2);
    brief.table_timeout = Duration::from_secs(1);
    let synced = world.sync(&watched, &brief).await;
    assert_eq!((synced.changed, synced.failed), (3, 1), "{synced:?}");
    let error = world.latest(&slow).await.unwrap().error.unwrap();
    assert_eq!(error, "not assessed within 1 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn m24_a_catalog_that_goes_down_ends_the_pass_and_the_next_goes_on() {
    let world = World::new().await;
    let tables = world.tables(60).await;
    let gone = Watched::new(&world.catalog, |before, _| {
        async move { if before < 5 { Ok(()) } else { Err(down()) } }.boxed()
    });
    let synced = world.sync(&gone, &syncing(1)).await;
    let Some(Cut::Lost(why)) = &synced.cut else {
        panic!("{synced:?}")
    };
    assert!(why.contains("connection refused"), "{why}");
    assert_eq!((synced.changed, synced.outcome()), (5, Outcome::Partial));
    assert!(synced.failed < 20, "the other tables are left alone");
    let untouched = world.latest(&tables[59]).await;
    assert_eq!(untouched, None);

    let watched = world.watched();
    let next = world.sync(&watched, &syncing(1)).await;
    assert_eq!((next.failed, next.outcome()), (0, Outcome::Done));
    let first_left = 5 + usize::try_from(synced.failed).unwrap();
    assert_eq!(watched.loads()[0], tables[first_left]);

    let down = Watched::new(&world.catalog, |_, _| async { Err(down()) }.boxed());
    let nothing = world.sync(&down, &syncing(1)).await;
    assert_eq!(
        (nothing.assessed(), nothing.outcome()),
        (0, Outcome::Failed)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn m24_killed_backends_cost_no_table_its_look() {
    let database = Database::new().await;
    let pool = Pool::connect(database.url(), 8, "victim").await.unwrap();
    let world = World::on(database, pool).await;
    world.tables(20).await;
    let other = Arc::new(world.database.client().await);
    let watched = Watched::new(&world.catalog, move |before, _| {
        let other = Arc::clone(&other);
        async move {
            if before == 7 {
                let kill = "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity \
                            where application_name = 'victim' and datname = current_database()";
                let killed: i64 = other.query_one(kill, &[]).await.unwrap().get(0);
                assert!(killed > 0);
            }
            Ok(())
        }
        .boxed()
    });
    let synced = world.sync(&watched, &syncing(4)).await;
    assert_eq!((synced.changed, synced.failed), (20, 0), "{synced:?}");
    assert_eq!(synced.outcome(), Outcome::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn m24_a_postgres_that_is_gone_in_the_middle_ends_the_pass() {
    let database = Database::new().await;
    let wire = Wire::to(database.url()).await;
    let pool = Pool::connect(&wire.url, 8, "test").await.unwrap();
    let world = World::on(database, pool).await;
    world.tables(60).await;
    let cut = Arc::clone(&wire.cut);
    let once = AtomicBool::new(false);
    let watched = Watched::new(&world.catalog, move |before, _| {
        if before >= 9 && !once.swap(true, Ordering::SeqCst) {
            cut.notify_waiters();
        }
        async { Ok(()) }.boxed()
    });
    let synced = world.sync(&watched, &syncing(1)).await;
    assert!(matches!(synced.cut, Some(Cut::Lost(_))), "{synced:?}");
    assert_eq!(synced.outcome(), Outcome::Partial);
    assert!((8..=9).contains(&synced.changed), "{synced:?}");
    let client = world.database.client().await;
    let sql = "select count(*) from snowpack.table_health where error is null";
    let stored: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(
        stored.unsigned_abs(),
        synced.changed,
        "what was said is there"
    );
}

/// The way to Postgres, which a test can cut.
struct Wire {
    url: String,
    cut: Arc<Notify>,
}

impl Wire {
    async fn to(url: &str) -> Self {
        let config: tokio_postgres::Config = url.parse().unwrap();
        let port = config.get_ports()[0];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap().port();
        let cut = Arc::new(Notify::new());
        let end = Arc::clone(&cut);
        tokio::spawn(async move {
            let accept = async {
                let mut lines = tokio::task::JoinSet::new();
                loop {
                    let (mut client, _) = listener.accept().await.unwrap();
                    lines.spawn(async move {
                        let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                        // Ends with either side.
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    });
                }
            };
            // Dropping it ends every line and closes the port.
            tokio::select! {
                () = accept => {}
                () = end.notified() => {}
            }
        });
        Self {
            url: url.replace(&format!(":{port}/"), &format!(":{here}/")),
            cut,
        }
    }
}

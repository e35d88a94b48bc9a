//! The program: exit codes, what it says, signals.

use testkit::Process;

use crate::world::World;

const PROGRAM: &str = env!("CARGO_BIN_EXE_snowpack-health-sync");

fn start(world: &World, more: &[(&str, &str)], arguments: &[&str]) -> Process {
    let warehouse = world.warehouse();
    let mut variables = vec![
        ("SNOWPACK_DATABASE_URL", world.database.url()),
        ("SNOWPACK_WAREHOUSE", &warehouse),
    ];
    variables.extend(more);
    Process::start(PROGRAM, &variables, arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn m24_the_exit_code_tells_all_some_and_none_apart() {
    let world = World::new().await;
    let tables = world.tables(3).await;
    let all = start(&world, &[], &[]);
    all.ended_with(0, &[]).await;
    let said = all
        .logged("health sync finished: 3 assessed (3 changed), 0 failed")
        .await;
    assert_eq!(said["event"], "health_sync_finished");
    assert_eq!(said["outcome"], "done");

    std::fs::write(world.metadata(&tables[0]).await, b"").unwrap();
    start(&world, &[], &[])
        .ended_with(1, &["not assessed"])
        .await;
    for table in &tables[1..] {
        std::fs::write(world.metadata(table).await, b"").unwrap();
    }
    start(&world, &[], &[])
        .ended_with(2, &["not assessed"])
        .await;
    start(&world, &[], &["--deadline=0"])
        .ended_with(1, &[])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn m24_who_cannot_begin_says_why_and_ends_with_2() {
    let world = World::new().await;
    let not_migrated = testkit::Database::empty().await;
    let url = [
        ("SNOWPACK_DATABASE_URL", not_migrated.url()),
        ("SNOWPACK_START_SECONDS", "0"),
    ];
    let process = start(&world, &url, &[]);
    process.ended_with(2, &["did not begin"]).await;
    assert!(
        process.log().contains("snowpack migrate"),
        "{}",
        process.log()
    );

    let process = start(&world, &[("SNOWPACK_HEALTH_CONCURRENCY", "0")], &[]);
    process.ended().await;
    let log = process.log();
    assert!(
        log.contains("SNOWPACK_HEALTH_CONCURRENCY = `0`: allowed"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn m24_a_signal_ends_it_with_what_was_done() {
    let world = World::new().await;
    world.tables(4).await;
    let mut holder = world.database.client().await;
    let hold = holder.transaction().await.unwrap();
    hold.batch_execute("lock table snowpack.table_health in access exclusive mode")
        .await
        .unwrap();
    let process = start(&world, &[("SNOWPACK_GRACE_SECONDS", "0")], &[]);
    testkit::until("the pass waits", async || {
        let waiting = "select count(*) from pg_locks where not granted and database = \
                       (select oid from pg_database where datname = current_database())";
        world.count(waiting).await > 0
    })
    .await;
    process.signal("TERM");
    // The connection it waited on is busy for as long as the lock is held.
    process
        .ended_with(1, &["the pass's end was not noted"])
        .await;
    hold.rollback().await.unwrap();
    let said = process
        .logged("health sync finished: 0 assessed (0 changed), 0 failed; stopped by a signal");
    assert_eq!(said.await["outcome"], "partial");
}

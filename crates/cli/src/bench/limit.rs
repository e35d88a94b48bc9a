//! What the queue's statements allow: the lane's own claim and finish in batches, on plain
//! connections, by `pgbench` where it is installed and by tokio-postgres where it is not.

use std::path::Path;

use ::queue::IdType;
use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use pg::Pool;
use tokio::task::JoinSet;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::ended::ended;
use super::lane::{self, CONNECTIONS};
use crate::demo::child::{Child, Start};
use crate::demo::postgres;

/// Jobs of one claim, and of one finish.
const BATCH: u32 = 100;
const LEASE_SECONDS: f64 = 60.0;
const THREADS: u32 = 2;

/// Claims and finishes all `jobs` that are due. Gives the name of what did it.
pub(super) async fn drive(
    pool: &Pool,
    url: &str,
    jobs: u32,
    folder: &Path,
) -> Result<&'static str> {
    let settings = url.parse().ok().and_then(|config| settings(&config));
    let (Some(pgbench), Some(settings)) = (postgres::program("pgbench"), settings) else {
        plain(pool).await?;
        return Ok("tokio-postgres");
    };
    let script = folder.join("limit.sql");
    std::fs::write(&script, scripted()?)?;
    let mut arguments = vec!["--no-vacuum".to_owned(), "--protocol=prepared".to_owned()];
    arguments.extend([
        format!("--client={CONNECTIONS}"),
        format!("--jobs={THREADS}"),
        format!("--transactions={}", calls(jobs)),
        format!("--file={}", script.display()),
    ]);
    let mut child = Child::start(Start {
        program: &pgbench,
        arguments,
        stop_signal: "TERM",
        environment: settings,
        account: None,
        log: folder.join("pgbench.log"),
        output: None,
    })
    .with_context(|| format!("start {}", pgbench.display()))?;
    let (status, _) = ended(&mut child).await?;
    if !status.success() {
        bail!("pgbench failed ({status}); it ends\n{}", child.last_words());
    }
    Ok("pgbench")
}

/// Of each connection: half as many again as an even share, for claims that come back short or a
/// connection that is slower. One that finds nothing costs nothing that is measured.
fn calls(jobs: u32) -> u32 {
    let even = jobs.div_ceil(BATCH * CONNECTIONS);
    even + even / 2 + CONNECTIONS
}

/// One claim, and the finish of what it took; null would be no array to pgbench.
fn scripted() -> Result<String> {
    let batch = BATCH.to_string();
    let lease = LEASE_SECONDS.to_string();
    let pools = "array['default']";
    let floors = "array[null]::timestamptz[]";
    let claim = filled("claim", [&batch, &lease, "'pgbench'", pools, floors])?;
    let many = |what: &str| format!("array_fill({what}::text, array[cardinality(:jobs::text[])])");
    let (done, none) = (many("'completed'"), many("null"));
    let finish = filled("finish", [":jobs", ":attempts", &done, &none, &none])?;
    Ok(format!(
        "select coalesce(array_agg(job_id), '{{}}') as jobs,\n\
             coalesce(array_agg(attempt_id), '{{}}') as attempts\n\
         from (\n{claim}\n) as taken \\gset\n{finish};\n"
    ))
}

/// A statement of the queue with these in place of its parameters.
fn filled(name: &str, values: [&str; 5]) -> Result<String> {
    let mut text = statement(name)?;
    for (number, value) in (1..).zip(values) {
        text = text.replace(&format!("${number}"), value);
    }
    Ok(text)
}

/// The queue's own text of it.
fn statement(name: &str) -> Result<String> {
    let all = ::queue::statements(maintenance::SCHEMA, IdType::Text);
    let named = all.into_iter().find(|(own, _)| *own == name);
    let (_, text) = named.with_context(|| format!("the queue has no statement `{name}`"))?;
    Ok(text)
}

/// The connection as Postgres' own programs read it from their environment, where no list of
/// processes shows its password. `None`: it has no host they know.
fn settings(config: &Config) -> Option<Vec<(String, String)>> {
    let host = match config.get_hosts().first()? {
        Host::Tcp(name) => name.clone(),
        Host::Unix(folder) => folder.to_str()?.to_owned(),
    };
    let tls = match config.get_ssl_mode() {
        SslMode::Disable => "disable",
        SslMode::Require => "require",
        _ => "prefer",
    };
    let mut settings = vec![("PGHOST", host), ("PGSSLMODE", tls.to_owned())];
    let port = config.get_ports().first();
    settings.extend(port.map(|port| ("PGPORT", port.to_string())));
    settings.extend(config.get_user().map(|user| ("PGUSER", user.to_owned())));
    let password = config.get_password();
    let password = password.map(|word| String::from_utf8_lossy(word).into_owned());
    settings.extend(password.map(|word| ("PGPASSWORD", word)));
    let name = config.get_dbname();
    settings.extend(name.map(|name| ("PGDATABASE", name.to_owned())));
    let named = settings.into_iter();
    Some(named.map(|(key, value)| (key.to_owned(), value)).collect())
}

async fn plain(pool: &Pool) -> Result<()> {
    let mut working = JoinSet::new();
    for number in 0..CONNECTIONS {
        let pool = pool.clone();
        working.spawn(async move { claim_and_finish(&pool, &format!("plain-{number}")).await });
    }
    lane::all(working).await
}

async fn claim_and_finish(pool: &Pool, worker: &str) -> Result<()> {
    let client = pool.get().await?;
    let claim = client.prepare(&statement("claim")?).await?;
    let finish = client.prepare(&statement("finish")?).await?;
    let (batch, pools, floors) = (BATCH as i32, ["default"], [None::<Timestamp>]);
    let (pools, floors) = (&pools[..], &floors[..]);
    loop {
        let taken = client
            .query(&claim, &[&batch, &LEASE_SECONDS, &worker, &pools, &floors])
            .await?;
        if taken.is_empty() {
            return Ok(());
        }
        let text = |name| -> Vec<String> { taken.iter().map(|row| row.get(name)).collect() };
        let (jobs, attempts) = (text("job_id"), text("attempt_id"));
        let statuses = vec!["completed"; jobs.len()];
        let none = vec![None::<&str>; jobs.len()];
        let ended = client
            .query(&finish, &[&jobs, &attempts, &statuses, &none, &none])
            .await?;
        ensure!(ended.len() == jobs.len(), "a finish was refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pgbench_is_told_the_connection_and_the_statements() {
        let config: Config = "postgres://u:p%20w@h:5433/d?sslmode=disable"
            .parse()
            .unwrap();
        let settings = settings(&config).unwrap();
        let told = |name| {
            let found = settings.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        let names = ["PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"];
        let want = ["h", "5433", "u", "p w", "d"].map(Some);
        assert_eq!(names.map(told), want);
        assert_eq!(told("PGSSLMODE"), Some("disable"));
        let script = scripted().unwrap();
        assert!(!script.contains('$'), "{script}");
        assert!(
            script.contains("claim_v1") && script.contains("finish_v1"),
            "{script}"
        );
    }

    #[test]
    fn every_job_has_its_call() {
        for jobs in [1, 100, 20_000, 10_000_000] {
            assert!(jobs <= calls(jobs) * CONNECTIONS * BATCH, "{jobs}");
        }
    }
}

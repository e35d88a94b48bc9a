//! A lane with records of its own: what any face brings, in the smallest form.

use std::time::Duration;

use model::JobId;
use queue::{Ask, Claimed, Claimer, End, Enqueue, Fence, IdType, Queue, lane_migration};
use testkit::Database;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, NoTls};

pub(crate) const LEASE: Duration = Duration::from_mins(1);

/// The record counts how often it began and ended, so that a second end shows.
const RECORDS: &str = "
create schema lane;
create table lane.jobs (
    job_id ID primary key,
    status text not null default 'pending',
    reason text,
    error text,
    attempt_id text,
    begin_count int not null default 0,
    end_count int not null default 0
) with (fillfactor = 50);
create function lane.record_claimed(ids ID[], attempt_ids text[]) returns void language sql as $$
    update lane.jobs
    set status = 'running', attempt_id = c.attempt_id, begin_count = begin_count + 1
    from unnest(ids, attempt_ids) as c (job_id, attempt_id)
    where jobs.job_id = c.job_id
$$;
create function lane.record_reset(ids ID[]) returns void language sql as $$
    update lane.jobs set status = 'pending', attempt_id = null where job_id = any (ids)
$$;
create function lane.record_ended(ids ID[], statuses text[], reasons text[], errors text[])
returns void language sql as $$
    update lane.jobs
    set status = e.status, reason = e.reason, error = e.error, end_count = end_count + 1
    from unnest(ids, statuses, reasons, errors) as e (job_id, status, reason, error)
    where jobs.job_id = e.job_id
$$;
create function lane.record_live(ids ID[]) returns setof ID language sql stable as $$
    select job_id from lane.jobs
    where job_id = any (ids) and status in ('pending', 'running')
$$;
";

pub(crate) struct Lane {
    pub(crate) database: Database,
    pub(crate) queue: Queue,
    pub(crate) client: Client,
    id: IdType,
}

/// A queue row as it lies there.
#[derive(Debug, PartialEq)]
pub(crate) struct RowNow {
    pub(crate) claimed_by: Option<String>,
    pub(crate) attempt: Option<String>,
    pub(crate) attempt_count: i32,
    pub(crate) hand_back_count: i32,
    pub(crate) scheduled: bool,
    /// Until due or until the lease ends.
    pub(crate) seconds: f64,
    pub(crate) sort_key: String,
    pub(crate) cancel_requested: bool,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) attempt: Option<String>,
    pub(crate) begin_count: i32,
    pub(crate) end_count: i32,
}

impl Lane {
    pub(crate) async fn new(id: IdType) -> Self {
        Self::on(Database::empty().await, id).await
    }

    /// In a database with nothing in it.
    pub(crate) async fn on(database: Database, id: IdType) -> Self {
        let client = database.client().await;
        client
            .batch_execute(&RECORDS.replace("ID", id.as_str()))
            .await
            .unwrap();
        client
            .batch_execute(&lane_migration("lane", id, "jobs"))
            .await
            .unwrap();
        Self {
            database,
            queue: Queue::in_lane("lane", id),
            client,
            id,
        }
    }

    pub(crate) async fn text() -> Self {
        Self::new(IdType::Text).await
    }

    pub(crate) async fn both() -> [Self; 2] {
        [Self::new(IdType::Text).await, Self::new(IdType::Uuid).await]
    }

    /// The lane's nth job; ids sort by number.
    pub(crate) fn id(&self, number: u32) -> JobId {
        JobId::new(match self.id {
            IdType::Text => format!("job-{number:06}"),
            IdType::Uuid => format!("00000000-0000-7000-8000-{number:012}"),
        })
    }

    pub(crate) fn id_type(&self) -> IdType {
        self.id
    }

    pub(crate) fn item(&self, number: u32) -> Enqueue {
        Enqueue::new(self.id(number))
    }

    /// Commits records and queue rows, and locks where items name a key.
    pub(crate) async fn add(&self, items: &[Enqueue]) {
        let mut client = self.database.client().await;
        let tx = client.transaction().await.unwrap();
        self.add_in(&tx, items).await;
        tx.commit().await.unwrap();
    }

    pub(crate) async fn add_in(&self, tx: &tokio_postgres::Transaction<'_>, items: &[Enqueue]) {
        for item in items {
            if let Some(key) = &item.concurrency_key {
                let taken = self.queue.lock(tx, key, &item.job).await.unwrap();
                assert_eq!(taken, queue::Lock::Taken, "{key}");
            }
        }
        self.records(tx, items).await;
        self.queue.enqueue(tx, items).await.unwrap();
    }

    pub(crate) async fn records(&self, tx: &tokio_postgres::Transaction<'_>, items: &[Enqueue]) {
        let jobs: Vec<&str> = items.iter().map(|item| item.job.as_str()).collect();
        let id = self.id.as_str();
        let insert = format!("insert into lane.jobs (job_id) select unnest($1::text[])::{id}");
        let jobs = [(&jobs as _, Type::TEXT_ARRAY)];
        tx.execute_typed(&insert, &jobs).await.unwrap();
    }

    /// Jobs 1 to `count`, due and without locks.
    pub(crate) async fn add_many(&self, count: u32) {
        let items: Vec<Enqueue> = (1..=count).map(|number| self.item(number)).collect();
        self.add(&items).await;
    }

    pub(crate) fn claimer(&self, worker: &str) -> Claimer {
        self.claimer_of(worker, &["default"])
    }

    pub(crate) fn claimer_of(&self, worker: &str, pools: &[&str]) -> Claimer {
        let pools = pools.iter().map(ToString::to_string).collect();
        Claimer::new(
            self.queue.clone(),
            Ask {
                lease: LEASE,
                worker: worker.to_owned(),
                pools,
            },
        )
    }

    /// Claims by a new worker, whose first claim always looks after expired rows.
    pub(crate) async fn claim(&self, count: u32) -> Vec<Claimed> {
        self.claimer("worker")
            .claim(&self.client, count)
            .await
            .unwrap()
    }

    pub(crate) async fn claim_only(&self) -> Claimed {
        let mut claimed = self.claim(1).await;
        assert_eq!(claimed.len(), 1);
        claimed.pop().unwrap()
    }

    /// Lets the leases of all claimed jobs run out.
    pub(crate) async fn expire_all(&self) {
        self.run(
            "update lane.job_queue set visible_at = now() - interval '1 second'
                  where claimed_at is not null",
        )
        .await;
    }

    /// Lets the delay of all waiting jobs pass.
    pub(crate) async fn delays_pass(&self) {
        self.run(
            "update lane.job_queue set visible_at = now() - interval '1 second' where scheduled",
        )
        .await;
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    pub(crate) async fn count(&self, from: &str) -> i64 {
        let sql = format!("select count(*) from lane.{from}");
        self.client.query_one(&sql, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn row(&self, job: &JobId) -> Option<RowNow> {
        let row = self
            .client
            .query_opt(
                "select claimed_by, attempt_id, attempt_count, hand_back_count, scheduled,
                        extract(epoch from visible_at - now())::float8, sort_key::text,
                        cancel_requested_at is not null
                 from lane.job_queue where job_id::text = $1",
                &[&job.as_str()],
            )
            .await
            .unwrap()?;
        Some(RowNow {
            claimed_by: row.get(0),
            attempt: row.get(1),
            attempt_count: row.get(2),
            hand_back_count: row.get(3),
            scheduled: row.get(4),
            seconds: row.get(5),
            sort_key: row.get(6),
            cancel_requested: row.get(7),
        })
    }

    pub(crate) async fn record(&self, job: &JobId) -> Record {
        let row = self
            .client
            .query_one(
                "select status, reason, error, attempt_id, begin_count, end_count
                 from lane.jobs where job_id::text = $1",
                &[&job.as_str()],
            )
            .await
            .unwrap();
        Record {
            status: row.get(0),
            reason: row.get(1),
            error: row.get(2),
            attempt: row.get(3),
            begin_count: row.get(4),
            end_count: row.get(5),
        }
    }

    /// Buffers of one call.
    pub(crate) async fn buffers(&self, call: &str) -> i64 {
        let sql = format!("explain (analyze, buffers, format json) {call}");
        let row = self.client.query_one(&sql, &[]).await.unwrap();
        let plan: serde_json::Value = row.get(0);
        let plan = &plan[0]["Plan"];
        ["Shared Hit Blocks", "Shared Read Blocks"]
            .iter()
            .map(|k| plan[k].as_i64().unwrap())
            .sum()
    }

    /// The same once the session knows the catalogs, which first calls read too.
    pub(crate) async fn warm_buffers(&self, call: &str) -> i64 {
        for _ in 0..2 {
            self.buffers(call).await;
        }
        self.buffers(call).await
    }

    /// The plans of every statement inside the function called.
    pub(crate) async fn plans(&self, call: &str) -> String {
        let (client, mut connection) = tokio_postgres::connect(self.database.url(), NoTls)
            .await
            .unwrap();
        let (sender, mut notices) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) =
                futures::future::poll_fn(|cx| connection.poll_message(cx)).await
            {
                if let AsyncMessage::Notice(notice) = message {
                    sender.send(notice.message().to_owned()).unwrap();
                }
            }
        });
        let explain = "load 'auto_explain';
            set auto_explain.log_min_duration = 0;
            set auto_explain.log_nested_statements = on;
            set client_min_messages = log;";
        client.batch_execute(explain).await.unwrap();
        client.batch_execute(call).await.unwrap();
        drop(client);
        let mut text = String::new();
        while let Some(notice) = notices.recv().await {
            text.push_str(&notice);
            text.push('\n');
        }
        text
    }

    /// Ends a claimed job well.
    pub(crate) async fn complete(&self, fence: Fence) -> Result<(), queue::Error> {
        let mut client = self.database.client().await;
        let tx = client.transaction().await.unwrap();
        self.queue.finish(&tx, fence, &End::completed()).await?;
        tx.commit().await.unwrap();
        Ok(())
    }

    /// Who holds `key`.
    pub(crate) async fn holder(&self, key: &str) -> Option<String> {
        let sql = "select holder::text from lane.table_locks where table_key = $1";
        self.client
            .query_opt(sql, &[&key])
            .await
            .unwrap()
            .map(|row| row.get(0))
    }
}

/// A claim of ten by whoever serves the pool `default`.
pub(crate) const CLAIM: &str = "select * from lane.claim_v1(10, '60 s', 'w', '{default}')";

/// Everything one process counted under a metric and some of its labels.
pub(crate) fn counted(name: &str, labels: &[(&str, &str)]) -> f64 {
    let registry = prometheus::Registry::new();
    queue::metrics::register(&registry).unwrap();
    registry
        .gather()
        .iter()
        .filter(|family| family.name() == name)
        .flat_map(|family| family.get_metric().to_vec())
        .filter(|metric| {
            labels.iter().all(|(label, value)| {
                metric
                    .get_label()
                    .iter()
                    .any(|l| l.name() == *label && l.value() == *value)
            })
        })
        .map(|metric| metric.get_counter().get_value())
        .sum()
}

/// What the server does with a transaction that falls silent.
pub(crate) async fn idle_max(tx: &tokio_postgres::Transaction<'_>) -> String {
    let sql = "select current_setting('idle_in_transaction_session_timeout')";
    tx.query_one(sql, &[]).await.unwrap().get(0)
}

//! The steps of a job at which it can break, each with a name: what the worker says to Postgres
//! and to S3.
//!
//! A killed process leaves nothing but what it sent, so before and after each thing it sends are
//! all the places where a kill makes a difference. They are seen from outside, by the two proxies,
//! and the program is the released one: nothing is compiled into it for tests.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use testkit::{CommitFate, Fate, PostgresProxy, Proxy, S3};

/// One step, as its wire shows it.
#[derive(Debug)]
pub(crate) struct Point {
    pub(crate) name: &'static str,
    wire: Wire,
    /// Counted from one.
    turn: usize,
}

#[derive(Debug)]
enum Wire {
    /// A commit whose statements hold all of these.
    Postgres(&'static [&'static str]),
    /// A request of this method for an object with this in its name.
    S3(&'static str, &'static str),
}

const fn commit(name: &'static str, turn: usize, parts: &'static [&'static str]) -> Point {
    let wire = Wire::Postgres(parts);
    Point { name, wire, turn }
}

const fn request(
    name: &'static str,
    turn: usize,
    method: &'static str,
    key: &'static str,
) -> Point {
    let wire = Wire::S3(method, key);
    Point { name, wire, turn }
}

/// Every step of a job that expires, rewrites and purges, in order.
pub(crate) const POINTS: &[Point] = &[
    commit("the claim", 1, &["claim_v1"]),
    request("reading the table", 1, "GET", ".metadata.json"),
    request("reading a manifest list", 1, "GET", "snap-"),
    commit("the expiry's plan", 1, PLAN),
    commit("the intent", 1, &["insert into snowpack.expiry_intents"]),
    commit("reserving the expiry's files", 1, RESERVE),
    request("the expiry's metadata file", 1, "PUT", ".metadata.json"),
    commit("the expiry's swap", 1, SWAP),
    commit("listing what the expiry freed", 1, LIST),
    commit(
        "settling the intent",
        1,
        &["update snowpack.expiry_intents"],
    ),
    commit("the rewrite's plan", 2, PLAN),
    request("reading a data file", 1, "GET", ".parquet"),
    commit("reserving the rewrite's data files", 2, RESERVE),
    request("a data file", 1, "PUT", ".parquet"),
    commit("reserving the rewrite's other files", 3, RESERVE),
    request("a manifest", 1, "PUT", "-m"),
    request("the manifest list", 1, "PUT", "snap-"),
    request("the rewrite's metadata file", 2, "PUT", ".metadata.json"),
    commit("the rewrite's swap and result row", 2, SWAP),
    commit(
        "sweeping the ledger",
        1,
        &["delete from snowpack.attempt_files"],
    ),
    commit("the purge's plan", 3, PLAN),
    request("a bulk delete", 1, "POST", "?delete"),
    commit(
        "what was deleted",
        1,
        &["update snowpack.pending_deletions"],
    ),
    commit("the purge's result row", 3, RESULT),
    commit("the terminal write", 1, &["finish_v1"]),
];

/// What differs when the catalog lies in another database than the queue.
pub(crate) const ELSEWHERE: &[Point] = &[
    commit("the expiry's swap", 1, SWAP),
    commit(
        "the marks of the expiry",
        1,
        &["update snowpack.attempt_files"],
    ),
    commit("the rewrite's swap", 2, SWAP),
    commit("the rewrite's result row", 2, RESULT),
];

/// What is written when the store refuses everything.
pub(crate) const GIVEN_UP: &[Point] = &[
    commit("the failed action's row", 1, RESULT),
    commit("the hand-back", 1, &["hand_back_v1"]),
];

/// How often in a row a busy server refuses a commit.
const BUSY_TRIES: usize = 3;

const PLAN: &[&str] = &["update snowpack.jobs", "set plan ="];
const RESERVE: &[&str] = &["insert into snowpack.attempt_files"];
const SWAP: &[&str] = &["update iceberg_tables"];
const LIST: &[&str] = &["insert into snowpack.pending_deletions", "do update"];
const RESULT: &[&str] = &["insert into snowpack.job_actions"];

/// What a worker writes beside its jobs.
const BESIDE: &[&str] = &["tick_v1", "sweep_v1", "renew_v1", "notify"];

/// A function that only reads.
const READS: &str = "claimed_jobs_v1(";

/// What was seen, is a write, and has no name.
pub(crate) fn nameless(seen: &[String]) -> Vec<&String> {
    const WRITES: &[&str] = &["insert ", "update ", "delete ", "_v1(", "put /", "post /"];
    let named = |what: &str| {
        let points = POINTS.iter().chain(ELSEWHERE).chain(GIVEN_UP);
        points
            .into_iter()
            .any(|point| point.is_commit(what) || point.is_request(what))
    };
    let writes = |what: &str| {
        let what = what.to_lowercase().replace(READS, "");
        WRITES.iter().any(|word| what.contains(word))
    };
    let beside = |what: &str| BESIDE.iter().any(|word| what.contains(word));
    let open = seen.iter().filter(|what| writes(what) && !beside(what));
    open.filter(|what| !named(what)).collect()
}

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL before it is sent.
    KilledBefore,
    /// SIGKILL when it is done and the answer is on its way.
    KilledAfter,
    /// The connection breaks before it is sent.
    LostBefore,
    /// It is done; the connection breaks before the answer.
    LostAfter,
    /// Refused for a reason that passes: a commit on a few tries, a request on every one of this
    /// attempt.
    Busy,
    /// Refused for a reason that does not pass.
    Denied,
}

impl Fault {
    pub(crate) fn kills(self) -> bool {
        matches!(self, Self::KilledBefore | Self::KilledAfter)
    }

    fn of_commit(self) -> CommitFate {
        match self {
            Self::KilledBefore => CommitFate::Hold,
            Self::KilledAfter => CommitFate::Keep,
            Self::LostBefore => CommitFate::Drop,
            Self::LostAfter => CommitFate::Lose,
            // Deadlock found; permission denied.
            Self::Busy => CommitFate::Refuse("40P01"),
            Self::Denied => CommitFate::Refuse("42501"),
        }
    }

    fn of_request(self) -> Fate {
        match self {
            Self::KilledBefore => Fate::Hold,
            Self::KilledAfter => Fate::Keep,
            Self::LostBefore => Fate::Drop,
            Self::LostAfter => Fate::Lose,
            Self::Busy => Fate::Refuse(503, "SlowDown"),
            Self::Denied => Fate::Refuse(403, "AccessDenied"),
        }
    }
}

impl Point {
    /// What can happen here and makes a difference.
    pub(crate) fn faults(&self) -> &'static [Fault] {
        use Fault::{Busy, Denied, KilledAfter, KilledBefore, LostAfter, LostBefore};
        match self.wire {
            // After a read nothing has changed.
            Wire::S3("GET", _) => &[KilledBefore, LostBefore, Busy, Denied],
            _ => &[
                KilledBefore,
                KilledAfter,
                LostBefore,
                LostAfter,
                Busy,
                Denied,
            ],
        }
    }

    fn is_commit(&self, statements: &str) -> bool {
        matches!(self.wire, Wire::Postgres(parts) if parts.iter().all(|part| statements.contains(part)))
    }

    fn is_request(&self, request: &str) -> bool {
        matches!(self.wire, Wire::S3(method, key)
            if request.starts_with(method) && request.contains(key))
    }
}

/// What breaks, and what has been seen.
#[derive(Debug, Default)]
struct Watch {
    planned: Option<(&'static Point, Fault)>,
    /// S3 refuses everything, for a reason that passes.
    storm: bool,
    turns: usize,
    keys: BTreeSet<String>,
    /// The request of the point, once it was met.
    met: Option<String>,
    commits: Vec<String>,
    requests: Vec<String>,
}

impl Watch {
    fn commit(&mut self, statements: &str) -> CommitFate {
        self.commits.push(statements.to_owned());
        let Some((point, fault)) = self
            .planned
            .filter(|(point, _)| point.is_commit(statements))
        else {
            return CommitFate::Forward;
        };
        self.turns += 1;
        let turns = match fault {
            Fault::Busy => point.turn..point.turn + BUSY_TRIES,
            _ => point.turn..point.turn + 1,
        };
        if !turns.contains(&self.turns) {
            return CommitFate::Forward;
        }
        self.met = Some(statements.to_owned());
        fault.of_commit()
    }

    fn request(&mut self, request: &str) -> Fate {
        self.requests.push(request.to_owned());
        if self.storm {
            return Fault::Busy.of_request();
        }
        let Some((point, fault)) = self.planned.filter(|(point, _)| point.is_request(request))
        else {
            return Fate::Forward;
        };
        let first = self.keys.insert(request.to_owned());
        if first && self.keys.len() == point.turn {
            self.met = Some(request.to_owned());
            return fault.of_request();
        }
        // What is lost is lost once; who refuses goes on refusing.
        let again = self.met.as_deref() == Some(request);
        match fault {
            Fault::Busy | Fault::Denied if again => fault.of_request(),
            _ => Fate::Forward,
        }
    }
}

/// The wires of one worker.
pub(crate) struct Wires {
    watch: Arc<Mutex<Watch>>,
    database: PostgresProxy,
    catalog: PostgresProxy,
    s3: Proxy,
}

impl Wires {
    /// Wires on which this goes wrong, and S3 too where it is one of [`GIVEN_UP`].
    pub(crate) async fn new(
        database: &str,
        catalog: &str,
        server: &S3,
        planned: Option<(&'static Point, Fault)>,
    ) -> Self {
        let storm = planned
            .is_some_and(|(point, _)| GIVEN_UP.iter().any(|given_up| given_up.name == point.name));
        let watch = Arc::new(Mutex::new(Watch {
            planned,
            storm,
            ..Watch::default()
        }));
        let commits = |watch: &Arc<Mutex<Watch>>| {
            let watch = Arc::clone(watch);
            move |statements: &str| watch.lock().unwrap().commit(statements)
        };
        let requests = Arc::clone(&watch);
        let s3 = Proxy::start(server.address(), move |request| {
            requests.lock().unwrap().request(request)
        });
        Self {
            database: PostgresProxy::start(database, commits(&watch)).await,
            catalog: PostgresProxy::start(catalog, commits(&watch)).await,
            s3: s3.await,
            watch,
        }
    }

    /// What leads a worker over them.
    pub(crate) fn settings(&self, elsewhere: bool) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("SNOWPACK_DATABASE_URL", self.database.url().to_owned()),
            ("SNOWPACK_S3_ENDPOINT", self.s3.endpoint()),
        ];
        if elsewhere {
            settings.push(("SNOWPACK_CATALOG_URI", self.catalog.url().to_owned()));
        }
        settings
    }

    /// Something is held, so that its sender can be killed.
    pub(crate) fn held(&self) -> bool {
        self.database.held() + self.catalog.held() + self.s3.held() > 0
    }

    pub(crate) fn met(&self) -> bool {
        self.watch.lock().unwrap().met.is_some()
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        let watch = self.watch.lock().unwrap();
        [watch.commits.clone(), watch.requests.clone()].concat()
    }
}

//! The programs of a round: workers and an API that come back when they end, and runs of the
//! orchestrator and the health sync that come and go.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use testkit::{Process, Tunnel, binary};

use crate::house::{CATALOG, House, Whose};

const WORKER: &str = "snowpack-worker";
const API: &str = "snowpack-api";
const ORCHESTRATOR: &str = "snowpack-orchestrator";
const HEALTH_SYNC: &str = "snowpack-health-sync";

const CATALOG_URI: &str = "SNOWPACK_CATALOG_URI";

type Settings = Vec<(&'static str, String)>;

/// A program that is started again whenever it has ended.
pub(crate) struct Member {
    pub(crate) name: String,
    program: PathBuf,
    settings: Settings,
    log: PathBuf,
    /// What was in the log before it began.
    logged_bytes: u64,
    process: Process,
    /// Its way to Postgres.
    tunnel: Tunnel,
    /// Its way to the catalog's own.
    elsewhere: Option<Tunnel>,
    pub(crate) frozen: bool,
    /// Its end was our doing.
    pub(crate) struck: bool,
}

impl Member {
    async fn start(house: &House, name: String, program: &str, own: Settings) -> Result<Self> {
        let tunnel = Tunnel::open(house.way(Whose::Queue)?).await;
        let mut settings = common(house, house.by(Whose::Queue, tunnel.address())?);
        settings.extend(own);
        let mut elsewhere = None;
        if house.places.elsewhere() {
            let tunnel = Tunnel::open(house.way(Whose::Catalog)?).await;
            let url = house.by(Whose::Catalog, tunnel.address())?;
            settings.push((CATALOG_URI, url));
            elsewhere = Some(tunnel);
        }
        let (program, log) = (binary(program), house.log(&name));
        let process = begin(&program, &settings, &log);
        Ok(Self {
            logged_bytes: 0,
            name,
            program,
            settings,
            log,
            process,
            tunnel,
            elsewhere,
            frozen: false,
            struck: false,
        })
    }

    pub(crate) fn running(&self) -> bool {
        self.process.running()
    }

    pub(crate) fn tunnel(&self, whose: Whose) -> &Tunnel {
        match (whose, &self.elsewhere) {
            (Whose::Catalog, Some(tunnel)) => tunnel,
            _ => &self.tunnel,
        }
    }

    /// As `kill -s` names it.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// How it ended, once it has.
    pub(crate) async fn ended(&self) -> std::process::ExitStatus {
        self.process.ended().await
    }

    /// It has said nothing yet: SIGTERM ends it outright, as it ends a program that has not begun.
    pub(crate) fn silent(&self) -> bool {
        length(&self.log) == self.logged_bytes
    }

    /// Starts it anew in the place of one that has ended.
    pub(crate) fn again(&mut self) {
        self.logged_bytes = length(&self.log);
        self.process = begin(&self.program, &self.settings, &self.log);
        (self.frozen, self.struck) = (false, false);
    }
}

/// A program that ends by itself.
pub(crate) struct Run {
    pub(crate) name: String,
    process: Process,
    /// A run of the orchestrator, not of the health sync.
    pub(crate) orchestrates: bool,
    pub(crate) struck: bool,
}

impl Run {
    pub(crate) fn running(&self) -> bool {
        self.process.running()
    }

    pub(crate) fn kill(&mut self) {
        self.struck = true;
        self.process.signal("KILL");
    }

    /// The exit code of one that has ended by itself.
    pub(crate) async fn code(&self) -> Option<i32> {
        self.process.ended().await.code()
    }
}

pub(crate) struct Fleet {
    house: Arc<House>,
    /// The workers, and the API behind them.
    pub(crate) members: Vec<Member>,
    pub(crate) workers: usize,
    pub(crate) runs: Vec<Run>,
    begun: usize,
}

impl Fleet {
    pub(crate) async fn start(house: &Arc<House>, workers: usize) -> Result<Self> {
        let mut members = Vec::new();
        for number in 0..workers {
            let name = format!("worker-{number}");
            members.push(Member::start(house, name.clone(), WORKER, worker(house, name)).await?);
        }
        members.push(Member::start(house, "api".to_owned(), API, api(house)).await?);
        Ok(Self {
            house: Arc::clone(house),
            members,
            workers,
            runs: Vec::new(),
            begun: 0,
        })
    }

    pub(crate) fn orchestrate(&mut self) {
        let own = [
            ("SNOWPACK_ENROLMENT", "opt-out"),
            ("SNOWPACK_CADENCE_HOURS", "0"),
            ("SNOWPACK_JOBS_MAX_PER_RUN", "6"),
        ];
        self.begin(ORCHESTRATOR, &own);
    }

    pub(crate) fn assess(&mut self) {
        self.begin(HEALTH_SYNC, &[]);
    }

    fn begin(&mut self, program: &str, own: &[(&'static str, &str)]) {
        self.begun += 1;
        let name = format!("{program}-{}", self.begun);
        let own = own.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let mut settings = common(&self.house, self.house.database_url.clone());
        settings.extend(own);
        if self.house.places.elsewhere() {
            settings.push((CATALOG_URI, self.house.catalog_url.clone()));
        }
        let log = self.house.log(&name);
        let process = begin(&binary(program), &settings, &log);
        self.runs.push(Run {
            name,
            process,
            orchestrates: program == ORCHESTRATOR,
            struck: false,
        });
    }
}

fn length(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |log| log.len())
}

fn begin(program: &Path, settings: &Settings, log: &Path) -> Process {
    let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
    let settings: Vec<(&str, &str)> = settings.collect();
    Process::start_with_log(program, &settings, &[], log)
}

fn common(house: &House, database: String) -> Settings {
    let mut common = vec![
        ("SNOWPACK_DATABASE_URL", database),
        ("SNOWPACK_CATALOG_NAME", CATALOG.to_owned()),
        ("SNOWPACK_WAREHOUSE", house.warehouse.clone()),
        ("SNOWPACK_START_SECONDS", "120".to_owned()),
        ("SNOWPACK_LOG", "info".to_owned()),
    ];
    common.extend(house.s3_settings());
    common
}

fn worker(house: &House, name: String) -> Settings {
    vec![
        ("SNOWPACK_WORKER_NAME", name),
        ("SNOWPACK_ADMIN_ADDR", "127.0.0.1:0".to_owned()),
        ("SNOWPACK_MEMORY_BYTES", (128 << 20).to_string()),
        ("SNOWPACK_LEASE_SECONDS", house.lease.as_secs().to_string()),
        ("SNOWPACK_STALL_SECONDS", "30".to_owned()),
        ("SNOWPACK_GRACE_SECONDS", (house.seed % 3).to_string()),
    ]
}

fn api(house: &House) -> Settings {
    vec![
        ("SNOWPACK_AUTH", "none".to_owned()),
        ("SNOWPACK_API_ADDR", house.api.to_string()),
        ("SNOWPACK_API_LINGER_SECONDS", "0".to_owned()),
        ("SNOWPACK_CACHE_SYNC_SECONDS", "2".to_owned()),
        // A sync that is kept from the catalog for a while is no reason to refuse.
        ("SNOWPACK_CACHE_AGE_MAX_SECONDS", "600".to_owned()),
        ("SNOWPACK_RATE_PER_SECOND", "10000".to_owned()),
    ]
}

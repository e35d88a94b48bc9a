//! Our steps: maintenance, alone, beside another writer, or ended by a crash and done again.

use std::collections::{BTreeMap, HashSet};

use model::{Action, Advice, AttemptId, JobId};
use planner::{Attempt, Engine, EngineError, Plan, Reason, Report, Task, Unwatched};
use storage::Location;

use super::ID;
use super::table::History;
use crate::deletions::{Death, Step};
use crate::ledger::Break;
use crate::manifests::tracked;
use crate::world::{World, chain};

const MEMORY_BYTES: u64 = 64 << 20;
const HOUR_MS: i64 = 3_600_000;
const ATTEMPTS_MAX: usize = 5;

type Options = BTreeMap<String, String>;

/// Who else was at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nobody,
    Writer,
}

impl History {
    pub(super) async fn step(&mut self) {
        match self.number(0, 13) {
            0..=4 => self.write().await,
            5 | 6 => self.change().await,
            7 | 8 => self.rewrite().await,
            9 => self.rewrite_manifests().await,
            10 => {
                let none = Options::new();
                self.maintain(Action::RemoveDanglingDeletes, &none).await;
            }
            11 => {
                let mut options = Options::from([("min-input-files".to_owned(), "2".to_owned())]);
                if self.chance(0.3) {
                    options.insert("rewrite-all".to_owned(), "true".to_owned());
                }
                let action = Action::RewritePositionDeleteFiles;
                self.maintain(action, &options).await;
            }
            12 => self.remove_orphans().await,
            _ => self.expire().await,
        }
    }

    async fn expire(&mut self) {
        let table = self.table().await;
        let soon = self.world.now_ms().await + HOUR_MS;
        let snapshots = table.metadata.snapshots().iter();
        let mut cutoffs: Vec<i64> = snapshots.map(|snapshot| snapshot.timestamp_ms).collect();
        cutoffs.extend([soon, soon]);
        let mut options = Options::new();
        let mut set = |key: &str, value: String| drop(options.insert(key.to_owned(), value));
        set("older_than", self.one(&cutoffs).to_string());
        if self.chance(0.5) {
            set("retain_last", self.number(1, 3).to_string());
        }
        if self.chance(0.3) {
            set("clean_expired_metadata", "true".to_owned());
        }
        if self.chance(0.4) {
            let all = [
                Death::Before(Step::Intend),
                Death::After(Step::Intend),
                Death::Before(Step::Swap),
                Death::After(Step::Swap),
                Death::Before(Step::List),
                Death::After(Step::List),
                Death::Before(Step::Settle),
                Death::After(Step::Settle),
            ];
            let death = self.one(&all);
            self.say(&format!("death {death:?}"));
            self.world.ledger.deletions.die(death);
        }
        self.run(Action::ExpireSnapshots, &options, None).await;
        if !self.world.ledger.deletions.died() {
            self.world.ledger.deletions.live();
        }
        let table = self.table().await;
        self.states
            .retain(|id, _| table.metadata.snapshot(*id).is_some());
        self.purge().await;
        self.check_all().await;
    }

    /// What nobody knows of is listed, also when the listing breaks off and is done again. That nothing
    /// else is, the next purge looks at.
    async fn remove_orphans(&mut self) {
        let location = self.table().await.metadata.location().to_owned();
        let mut strays = Vec::new();
        for _ in 0..self.number(0, 3) {
            self.strays += 1;
            let folder = self.one(&["data", "metadata", "data/region=eu", "import"]);
            let stray = format!("{location}/{folder}/stray-{}.parquet", self.strays);
            let path = std::path::Path::new(stray.trim_start_matches("file://")).to_owned();
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "stray").unwrap();
            strays.push(stray);
        }
        if self.chance(0.4) {
            let death = self.one(&[Death::Before(Step::List), Death::After(Step::List)]);
            self.say(&format!("death {death:?}"));
            self.world.ledger.deletions.die(death);
        }
        let soon = self.world.now_ms().await + HOUR_MS;
        let options = [
            ("older_than", soon.to_string()),
            ("force", "true".to_owned()),
        ];
        let options = Options::from(options.map(|(key, value)| (key.to_owned(), value)));
        self.run(Action::RemoveOrphanFiles, &options, None).await;
        if !self.world.ledger.deletions.died() {
            self.world.ledger.deletions.live();
        }
        let listed = self.listed();
        let missed = strays.iter().filter(|stray| !listed.contains(stray));
        let missed: Vec<_> = missed.collect();
        assert!(missed.is_empty(), "not found: {missed:#?}");
    }

    /// A purge of all that waits, what no attempt landed included. Nothing the table reaches goes,
    /// also when it is listed by mistake; nothing else is left.
    async fn purge(&mut self) {
        self.list_waiting().await;
        let broken = self.chance(0.2).then_some(Break::Before);
        self.run(Action::PurgePending, &Options::new(), broken)
            .await;
        let unreached = self.check_files();
        let (ledger, table) = (&self.world.ledger, self.table().await);
        let due = ledger.waiting.due(table.metadata.uuid(), None, usize::MAX);
        let kept = |path: &String| {
            due.iter().any(|due| due.path == *path) || ledger.deletions.open_count() > 0
        };
        let left: Vec<_> = unreached.iter().filter(|path| !kept(path)).collect();
        assert!(left.is_empty(), "nobody deletes {left:#?}");
    }

    /// What the ledger lists, in one spelling.
    fn listed(&self) -> Vec<String> {
        let listed = self.world.ledger.deletions.listed().into_iter();
        let normal = |path: String| Location::parse(&path).expect("a location").to_string();
        listed.map(normal).collect()
    }

    async fn list_waiting(&mut self) {
        let table = self.table().await;
        let unreached = self.check_files();
        let live = self.world.live().await.data;
        let by_mistake = if live.is_empty() || self.chance(0.5) {
            None
        } else {
            Some(self.one(&live).file.file_path)
        };
        let ledger = &self.world.ledger;
        let listed = self.listed();
        for path in listed.iter().filter(|path| exists(path)) {
            assert!(unreached.contains(path), "{path} is listed and in use");
        }
        let reserved = ledger.reserved.lock().unwrap();
        let landed = ledger.landed.lock().unwrap();
        let lost = reserved.iter().filter(|path| !landed.contains(*path));
        let known: HashSet<&String> = lost.clone().chain(&listed).collect();
        if ledger.deletions.open_count() == 0 {
            let forgotten: Vec<_> = unreached
                .iter()
                .filter(|path| !known.contains(path))
                .collect();
            assert!(forgotten.is_empty(), "nobody knows of {forgotten:#?}");
        }
        let uuid = table.metadata.uuid();
        let expired = listed.iter().chain(&by_mistake);
        for path in expired.filter(|path| exists(path)) {
            ledger.waiting.add(uuid, path, Reason::Expired);
        }
        for path in lost.filter(|path| exists(path)) {
            ledger.waiting.add(uuid, path, Reason::Attempt);
        }
    }

    async fn rewrite(&mut self) {
        let options = self.rewrite_options().await;
        self.maintain(Action::RewriteDataFiles, &options).await;
    }

    /// Every live file is tracked as before, whatever program wrote its entry.
    async fn rewrite_manifests(&mut self) {
        let mut options = Options::new();
        let mut set =
            |key: &str, value: &str| drop(options.insert(key.to_owned(), value.to_owned()));
        if self.chance(0.4) {
            set("rewrite-all", "true");
        }
        if self.chance(0.4) {
            set("target-size-bytes", "2000");
        }
        let before = tracked(&self.world.live().await);
        let swapped = self.maintain(Action::RewriteManifests, &options).await;
        if swapped == Beside::Nobody {
            assert_eq!(tracked(&self.world.live().await), before);
        }
    }

    /// Beside a writer, ended by a crash and done again, or in peace.
    async fn maintain(&mut self, action: Action, options: &Options) -> Beside {
        let how = self.number(0, 9);
        let beside = if how < 3 {
            self.run_beside_a_writer(action, options).await;
            Beside::Writer
        } else {
            let broken = (how < 6).then(|| {
                let all = [
                    Break::Before,
                    Break::After,
                    Break::LostAnswer,
                    Break::LostRequest,
                ];
                self.one(&all)
            });
            self.run(action, options, broken).await;
            Beside::Nobody
        };
        let state = (*self.now).clone();
        self.note(state, true).await;
        beside
    }

    async fn rewrite_options(&mut self) -> Options {
        let specs: Vec<i32> = self
            .table()
            .await
            .metadata
            .specs()
            .iter()
            .map(|spec| spec.spec_id)
            .collect();
        let spec = self.one(&specs).to_string();
        let all: [(&str, &str, f64); 9] = [
            ("rewrite-all", "true", 0.6),
            ("min-input-files", "2", 0.5),
            ("target-file-size-bytes", "6000", 0.3),
            ("delete-file-threshold", "1", 0.3),
            ("remove-dangling-deletes", "true", 0.5),
            ("partial-progress.enabled", "true", 0.2),
            ("use-starting-sequence-number", "false", 0.1),
            ("max-file-group-input-files", "3", 0.2),
            ("output-spec-id", &spec, 0.15),
        ];
        let mut options = Options::new();
        for (key, value, chance) in all {
            if self.chance(chance) {
                options.insert(key.to_owned(), value.to_owned());
            }
        }
        if self.chance(0.1) {
            options.insert("where".to_owned(), "id < 12".to_owned());
        }
        if self.chance(0.35) {
            self.sort_options(&mut options).await;
        }
        options
    }

    /// Rows in the order of one or two columns, or of both at once.
    async fn sort_options(&mut self, options: &mut Options) {
        let table = self.table().await;
        let fields = table.metadata.current_schema().root.fields.iter();
        let columns: Vec<String> = fields
            .filter(|field| field.ty.primitive().is_some() && field.id != ID)
            .map(|field| format!("`{}`", field.name))
            .collect();
        let id = table.metadata.current_schema().name_of(ID).expect("an id");
        let zorder = self.chance(0.3);
        let mut order = if zorder { vec![id] } else { Vec::new() };
        if !columns.is_empty() {
            order.push(self.one(&columns));
        }
        let (strategy, key) = if zorder {
            ("zorder", "zorder-columns")
        } else {
            let all = [
                "id",
                "bucket(3, id), id",
                "id desc",
                "truncate(id, 2) desc nulls first",
            ];
            order.push(self.one(&all).to_owned());
            let way = self.one(&["", " desc", " nulls last", " desc nulls first"]);
            if order.len() > 1 {
                order[0].push_str(way);
            }
            ("sort", "sort-order")
        };
        options.insert("strategy".to_owned(), strategy.to_owned());
        options.insert(key.to_owned(), order.join(", "));
        self.count(strategy);
    }

    async fn run_beside_a_writer(&mut self, action: Action, options: &Options) {
        self.say(&format!("{action} {options:?} beside a writer"));
        let task = Task::parse(action, options).expect("good options");
        let Some(plan) = self.plan(&task).await else {
            return;
        };
        if plan.nothing().is_some() {
            return;
        }
        let (job, _) = self.job();
        let world = self.world.clone();
        world.ledger.pause(1);
        let mut executed = std::pin::pin!(execute(&world, &job, &plan, 1));
        let ended = tokio::select! {
            ended = &mut executed => ended,
            () = world.ledger.paused() => {
                self.write_meanwhile().await;
                world.ledger.resume();
                executed.await
            }
        };
        world.ledger.pause(0);
        match ended {
            Ok(_) => self.count(&format!("{action} beside a writer")),
            Err(error) => self.tolerate(&error, "beside a writer"),
        }
    }

    /// Until it succeeds, as a worker would.
    async fn run(&mut self, action: Action, options: &Options, broken: Option<Break>) {
        self.say(&format!("{action} {options:?}, broken: {broken:?}"));
        let task = Task::parse(action, options).expect("good options");
        let (job, id) = self.job();
        if let Some(how) = broken {
            self.world.ledger.break_next(how);
        }
        for attempt in 1..=ATTEMPTS_MAX {
            let name = &self.world.name;
            if attempt > 1
                && let Some(_) = self
                    .world
                    .engine
                    .committed(name, &task, &id)
                    .await
                    .expect("the engine looks")
            {
                self.count(&format!("{action} found again"));
                return;
            }
            let Some(plan) = self.plan(&task).await else {
                break;
            };
            if plan.nothing().is_some() {
                self.count(&format!("{action}: nothing to do"));
                break;
            }
            match execute(&self.world, &job, &plan, attempt).await {
                Ok(_) => {
                    self.count(&action.to_string());
                    break;
                }
                Err(error) => self.tolerate(&error, &action.to_string()),
            }
        }
        self.world.ledger.forget_breaks();
    }

    async fn plan(&mut self, task: &Task) -> Option<Plan> {
        let (engine, ledger) = (&self.world.engine, &self.world.ledger);
        match engine
            .plan(&self.world.name, task, ledger, &Unwatched)
            .await
        {
            Ok(plan) => Some(plan),
            Err(error) => {
                self.tolerate(&error, "plan");
                None
            }
        }
    }

    fn job(&mut self) -> (String, JobId) {
        self.jobs += 1;
        let job = format!("job-{}", self.jobs);
        (job.clone(), JobId::new(&job))
    }

    /// An end that asks for another try is no failure of a history; nothing in it is refused.
    fn tolerate(&mut self, error: &EngineError, doing: &str) {
        let why = chain(error);
        self.say(&format!("  {doing}: {why}"));
        match error.advice() {
            Advice::GiveUp => panic!("{doing}: {why}"),
            _ => self.count(&format!("{doing} failed and may be tried again")),
        }
    }
}

fn exists(path: &str) -> bool {
    std::path::Path::new(path.trim_start_matches("file://")).exists()
}

async fn execute(
    world: &World,
    job: &str,
    plan: &Plan,
    attempt: usize,
) -> Result<Report, EngineError> {
    let (job, id) = (JobId::new(job), AttemptId::new(format!("{job}-{attempt}")));
    let attempt = Attempt {
        job: &job,
        attempt: &id,
        ledger: &world.ledger,
        progress: &world.progress,
        signals: &world.signals,
        memory_bytes: MEMORY_BYTES,
    };
    world.ledger.deletions.works(&job, &id);
    world.engine.execute(plan, &attempt).await
}

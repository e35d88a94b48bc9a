//! Jobs that are at work for as long as a test wants.

use model::JobId;
use testkit::SmallTable;

use crate::lakehouse::Hold;
use crate::release::Release;

/// Long jobs, each held where it looks at its table.
#[derive(Debug)]
pub(crate) struct Long {
    hold: Hold,
    jobs: Vec<JobId>,
    tables: Vec<(String, SmallTable)>,
}

impl Long {
    /// Submits jobs and waits until a worker is at each.
    pub(crate) async fn begin(release: &Release, count: usize) -> Self {
        let mut tables = Vec::new();
        for number in 0..count {
            let name = format!("long{number}");
            let look = release.house.table(&name).await;
            tables.push((name, look));
        }
        let hold = release.house.hold_loads().await;
        let names: Vec<_> = tables.iter().map(|(name, _)| name.clone()).collect();
        let (jobs, _) = release.house.submit(&names).await;
        hold.holds(i64::try_from(count).expect("a small number"))
            .await;
        Self { hold, jobs, tables }
    }

    /// Lets them end: each commits once, whoever does it.
    pub(crate) async fn end(self, release: &Release) {
        self.hold.release().await;
        release.house.completed_once(&self.jobs).await;
        for (name, before) in &self.tables {
            release.house.rewritten_once(name, before).await;
        }
    }
}

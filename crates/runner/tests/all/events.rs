//! The log of an attempt: one event for each thing that became of it.

use std::io::Write;
use std::sync::{Arc, Mutex};

use model::Advice;
use serde_json::Value;

use crate::engine::Step;
use crate::rig::{REWRITE, Rig};

#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Level and event of every line that has one; each names its job and attempt.
    fn events(&self) -> Vec<(String, String)> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let with_event = lines.filter(|line| line["fields"]["event"].is_string());
        with_event
            .map(|line| {
                assert!(line["fields"]["job"].is_string(), "{line}");
                assert!(line["fields"]["attempt"].is_string(), "{line}");
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                (text(&line["level"]), text(&line["fields"]["event"]))
            })
            .collect()
    }
}

// One thread: the subscriber is the thread's own.
#[tokio::test(flavor = "current_thread")]
async fn an_attempts_log_tells_what_became_of_it() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_writer(move || writer.clone())
        .finish();
    // While only one subscriber lives, a line that another test's thread meets first is judged by
    // that thread's, which is none, and stays silent for everybody.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _logging = tracing::subscriber::set_default(subscriber);
    let script = [
        Step::Commit,
        Step::Fail(Advice::RetryLater),
        Step::Fail(Advice::GiveUp),
        Step::HoldThenCommit,
    ];
    let mut rig = Rig::new(&script).await;
    let begins = [("INFO", "job_claimed"), ("INFO", "job_started")];
    let check = |last: (&str, &str)| {
        let want: Vec<(String, String)> = begins
            .iter()
            .chain([&last])
            .map(|(l, e)| ((*l).to_owned(), (*e).to_owned()))
            .collect();
        assert_eq!(log.events(), want);
    };

    let (_, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    rig.run(claimed).await;
    check(("INFO", "job_completed"));

    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    rig.run(claimed).await;
    check(("INFO", "job_handed_back"));

    rig.make_due(&job).await;
    rig.attempt(&job).await;
    check(("WARN", "job_failed"));

    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let stale = rig.start(claimed);
    for _ in 0..script.len() {
        rig.engine.reached().await;
    }
    rig.expire(&job).await;
    rig.claim(&job).await;
    rig.engine.go_on.notify_one();
    stale.await.unwrap();
    check(("WARN", "lease_lost"));
}

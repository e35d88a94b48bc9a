//! What a trigger asks for, read from the metadata KEDA sends with every question.
//!
//! KEDA sends what stands in the trigger, its own keys included, and puts the value of a variable
//! of the scaled container in place of its name where a key ends in `FromEnv`.

use std::collections::HashMap;

use keda::Status;
use queue::Depth;

use crate::pool::Pools;
use crate::token::Token;

/// Keys of KEDA's own; it sends them along.
const KEDAS: [&str; 3] = ["scalerAddress", "enableTLS", "unsafeSsl"];
pub(crate) const JOBS_PER_WORKER: &str = "jobsPerWorker";
const ALLOWED: &str = "lane, pool, jobsPerWorker, mode, token, tokenFromEnv";
/// More than is ever counted.
const JOBS_PER_WORKER_MAX: i64 = 10_000;

/// One trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trigger {
    pub(crate) pools: Pools,
    pub(crate) mode: Mode,
    /// What one replica is meant to take.
    pub(crate) jobs_per_worker: i64,
}

/// Which number is the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Ready and running: for a ScaledObject, whose replicas go on with what they have.
    Demand,
    /// Ready only: for a ScaledJob, which subtracts what runs by itself.
    Ready,
}

impl Mode {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Demand => "demand",
            Self::Ready => "ready",
        }
    }
}

impl Trigger {
    /// The number that is the answer.
    pub(crate) fn value(&self, depth: &Depth) -> i64 {
        match self.mode {
            Mode::Demand => depth.demand_on(self.jobs_per_worker),
            Mode::Ready => depth.ready,
        }
    }

    /// Reads the metadata of a trigger for `lane`; the token first, so that a stranger learns
    /// nothing else.
    pub(crate) fn read(
        metadata: &HashMap<String, String>,
        lane: &str,
        token: &Token,
    ) -> Result<Self, Status> {
        let get = |key: &str| metadata.get(key).map(String::as_str);
        let shown = get("token").or(get("tokenFromEnv"));
        if !token.admits(shown.map(str::as_bytes)) {
            return Err(Status::unauthenticated(
                "wrong or missing token: set metadata `tokenFromEnv` to the variable of the scaled \
                 container that holds it, or `token` to the token itself",
            ));
        }
        let known = |key: &str| KEDAS.contains(&key) || ALLOWED.split(", ").any(|one| one == key);
        // The first by name, so that the same mistake is told in the same words.
        if let Some(key) = metadata.keys().filter(|key| !known(key)).min() {
            return Err(Status::invalid_argument(format!(
                "metadata `{key}` is unknown: allowed are {ALLOWED}"
            )));
        }
        let asked = get("lane").unwrap_or(lane);
        if asked != lane {
            return Err(Status::not_found(format!(
                "metadata `lane` = `{asked}`: no such lane; there is {lane}"
            )));
        }
        let pools = Pools::read(get("pool").unwrap_or_default())
            .map_err(|why| Status::invalid_argument(format!("metadata {why}")))?;
        Ok(Self {
            pools,
            mode: mode(get("mode"))?,
            jobs_per_worker: match get(JOBS_PER_WORKER) {
                None => 1,
                Some(text) => jobs_per_worker(text)
                    .map_err(|why| Status::invalid_argument(format!("metadata {why}")))?,
            },
        })
    }
}

fn mode(text: Option<&str>) -> Result<Mode, Status> {
    match text {
        None | Some("demand") => Ok(Mode::Demand),
        Some("ready") => Ok(Mode::Ready),
        Some(other) => Err(Status::invalid_argument(format!(
            "metadata `mode` = `{other}`: allowed are demand, ready"
        ))),
    }
}

/// Reads what one worker is meant to take, wherever it is asked with.
pub(crate) fn jobs_per_worker(text: &str) -> Result<i64, String> {
    let number = text.parse().ok();
    let allowed = number.filter(|number| (1..=JOBS_PER_WORKER_MAX).contains(number));
    allowed.ok_or_else(|| {
        format!(
            "`{JOBS_PER_WORKER}` = `{text}`: allowed is a whole number from 1 to \
             {JOBS_PER_WORKER_MAX}"
        )
    })
}

#[cfg(test)]
mod tests {
    use keda::Code;

    use super::*;

    fn read(metadata: &[(&str, &str)], token: Option<&str>) -> Result<Trigger, Status> {
        let owned = metadata
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()));
        let token = Token::new(token.map(str::to_owned));
        Trigger::read(&owned.collect(), "snowpack", &token)
    }

    #[track_caller]
    fn check(metadata: &[(&str, &str)], pools: &str, mode: Mode, jobs_per_worker: i64) {
        let want = Trigger {
            pools: Pools::read(pools).unwrap(),
            mode,
            jobs_per_worker,
        };
        assert_eq!(read(metadata, None).unwrap(), want, "for {metadata:?}");
    }

    #[track_caller]
    fn refused(metadata: &[(&str, &str)], code: Code, words: &str) {
        let status = read(metadata, None).unwrap_err();
        assert_eq!(status.code(), code, "for {metadata:?}: {status}");
        assert_eq!(status.message(), words, "for {metadata:?}");
    }

    #[test]
    fn m33_a_trigger_says_what_to_count_and_what_one_worker_takes() {
        check(&[], "", Mode::Demand, 1);
        check(&[("pool", "")], "", Mode::Demand, 1);
        let whole = [
            ("scalerAddress", "snowpack-scaler:9092"),
            ("enableTLS", "true"),
            ("unsafeSsl", "false"),
            ("lane", "snowpack"),
            ("pool", "l,default"),
            ("jobsPerWorker", "4"),
            ("mode", "ready"),
        ];
        check(&whole, "default,l", Mode::Ready, 4);
    }

    #[test]
    fn m33_what_a_trigger_may_not_say_is_named_with_what_it_may() {
        use Code::{InvalidArgument, NotFound};
        let numbers = "allowed is a whole number from 1 to 10000";
        for number in [
            "0",
            "-1",
            "1.5",
            "",
            "many",
            "10001",
            "99999999999999999999",
        ] {
            let words = format!("metadata `jobsPerWorker` = `{number}`: {numbers}");
            refused(&[("jobsPerWorker", number)], InvalidArgument, &words);
        }
        refused(
            &[("mode", "Ready")],
            InvalidArgument,
            "metadata `mode` = `Ready`: allowed are demand, ready",
        );
        refused(
            &[("pool", "a b")],
            InvalidArgument,
            "metadata pool `a b`: allowed are up to 16 names between commas, each of 1 to 63 \
             letters, digits, `_`, `-`, `.`",
        );
        refused(
            &[("jobs", "4"), ("Pool", "l")],
            InvalidArgument,
            "metadata `Pool` is unknown: allowed are lane, pool, jobsPerWorker, mode, token, \
             tokenFromEnv",
        );
        refused(
            &[("lane", "other")],
            NotFound,
            "metadata `lane` = `other`: no such lane; there is snowpack",
        );
    }

    #[test]
    fn readme_lists_every_key_of_a_trigger() {
        let readme = include_str!("../../../README.md");
        let (_, after) = readme.split_once("<!-- scaler-metadata -->").unwrap();
        let (table, _) = after.split_once("<!-- /scaler-metadata -->").unwrap();
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
        let keys: Vec<_> = rows
            .filter_map(|row| Some(row.split_once('`')?.0))
            .collect();
        assert_eq!(keys.join(", "), ALLOWED);
    }

    #[test]
    fn a_stranger_learns_nothing_but_that() {
        for metadata in [
            &[("lane", "other")][..],
            &[("token", "wrong"), ("mode", "x")],
            &[("tokenFromEnv", "")],
        ] {
            let status = read(metadata, Some("s3cret")).unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "for {metadata:?}");
        }
        for key in ["token", "tokenFromEnv"] {
            assert!(read(&[(key, "s3cret")], Some("s3cret")).is_ok(), "{key}");
            assert!(read(&[(key, "any")], None).is_ok(), "{key}");
        }
    }
}

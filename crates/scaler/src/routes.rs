//! What is answered to whom. Numbers are Postgres's or there is none: a made-up zero would
//! send every worker home.

use std::sync::Arc;

use futures::FutureExt;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use prometheus::Registry;
use queue::Depth;
use runtime::http::{self, Answer, Ask};
use runtime::{Admin, Ready};
use serde::Serialize;

use crate::counts::{Counts, NoCount};
use crate::metrics::Gauges;
use crate::pool::Pools;
use crate::token::Token;
use crate::trigger::{JOBS_PER_WORKER, jobs_per_worker};

#[derive(Debug)]
pub(crate) struct Routes {
    counts: Arc<Counts>,
    gauges: Gauges,
    admin: Admin,
    /// The one lane of this version.
    lane: String,
    token: Token,
}

/// `GET /ready-count`: the seed's query as an endpoint.
#[derive(Serialize)]
struct ReadyCount {
    ready: i64,
}

/// `GET /v1/lanes/{lane}/ready`; KEDA's `valueLocation` is `demand`.
#[derive(Serialize)]
struct LaneReady<'a> {
    lane: &'a str,
    /// Null: all pools.
    pool: Option<String>,
    ready: i64,
    running: i64,
    /// What a new pod could start plus what live leases still run; a busy worker counts with all of
    /// its jobs, so that no fewer workers are asked for than are busy.
    demand: i64,
    busy: i64,
    scheduled: i64,
    oldest_ready_seconds: f64,
}

/// RFC 9457.
#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
}

/// What `GET /v1/lanes/{lane}/ready` is asked with.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    pools: Pools,
    jobs_per_worker: i64,
}

enum Route {
    ReadyCount,
    LaneReady(Asked),
}

impl Routes {
    pub(crate) fn new(
        counts: Arc<Counts>,
        gauges: Gauges,
        registry: Registry,
        token: Token,
    ) -> Self {
        let asked = Arc::clone(&counts);
        let ready: Ready = Arc::new(move || {
            let counts = Arc::clone(&asked);
            async move {
                counts
                    .get(&Pools::default())
                    .await
                    .map(drop)
                    .map_err(|no| no.detail())
            }
            .boxed()
        });
        let lane = maintenance::queue().lane().to_owned();
        Self {
            counts,
            gauges,
            admin: Admin::new(registry, ready),
            lane,
            token,
        }
    }

    pub(crate) async fn answer(&self, ask: &Ask) -> Answer {
        let (method, path) = (ask.method(), ask.uri().path());
        if path == "/metrics" {
            self.gauges
                .set(&self.lane, self.counts.get(&Pools::default()).await.ok());
        }
        if let Some(answer) = self.admin.answer(method, path).await {
            return answer;
        }
        if !self.admits(ask.headers()) {
            return unauthorized();
        }
        let route = match self.route(path, ask.uri().query().unwrap_or("")) {
            Ok(route) => route,
            Err(refusal) => return *refusal,
        };
        if !http::reads(method) {
            return http::not_allowed();
        }
        match route {
            Route::ReadyCount => match self.counts.get(&Pools::default()).await {
                Ok(depth) => json(&ReadyCount { ready: depth.ready }),
                Err(no) => no.answer(),
            },
            Route::LaneReady(asked) => match self.counts.get(&asked.pools).await {
                Ok(depth) => json(&self.lane_ready(&asked, &depth)),
                Err(no) => no.answer(),
            },
        }
    }

    fn route(&self, path: &str, query: &str) -> Result<Route, Box<Answer>> {
        if path == "/ready-count" {
            return Ok(Route::ReadyCount);
        }
        let lane = path
            .strip_prefix("/v1/lanes/")
            .and_then(|rest| rest.strip_suffix("/ready"));
        match lane {
            Some(lane) if lane == self.lane => asked(query)
                .map(Route::LaneReady)
                .map_err(|why| Box::new(problem(StatusCode::BAD_REQUEST, "bad query", &why))),
            Some(_) => {
                let detail = format!("no such lane; there is {}", self.lane);
                Err(Box::new(problem(
                    StatusCode::NOT_FOUND,
                    "unknown lane",
                    &detail,
                )))
            }
            None => Err(Box::new(http::not_found())),
        }
    }

    fn lane_ready(&self, asked: &Asked, depth: &Depth) -> LaneReady<'_> {
        let pools = &asked.pools;
        LaneReady {
            lane: &self.lane,
            pool: (!pools.are_all()).then(|| pools.to_string()),
            ready: depth.ready,
            running: depth.running,
            demand: depth.demand_on(asked.jobs_per_worker),
            busy: depth.busy,
            scheduled: depth.scheduled,
            oldest_ready_seconds: depth.oldest_ready_seconds,
        }
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        self.token
            .admits(given.and_then(|given| given.strip_prefix(b"Bearer ")))
    }
}

/// Reads `pool=NAMES&jobsPerWorker=COUNT`; no pool is all pools, no count is 1.
fn asked(query: &str) -> Result<Asked, String> {
    let (mut pools, mut count) = (None, None);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let again = if key == "pool" {
            pools.replace(Pools::read(&value)?).is_some()
        } else if key == JOBS_PER_WORKER {
            count.replace(jobs_per_worker(&value)?).is_some()
        } else {
            return Err(format!(
                "`{key}` is unknown: allowed are pool=NAMES, {JOBS_PER_WORKER}=COUNT"
            ));
        };
        if again {
            return Err(format!(
                "{key} is given twice: allowed is once (pools are names between commas)"
            ));
        }
    }
    Ok(Asked {
        pools: pools.unwrap_or_default(),
        jobs_per_worker: count.unwrap_or(1),
    })
}

impl NoCount {
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Unreachable(why) => why.clone(),
            Self::TooManyPools => "too many different pools were asked about".to_owned(),
        }
    }

    fn answer(&self) -> Answer {
        match self {
            Self::Unreachable(why) => problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "Postgres gave no count",
                why,
            ),
            Self::TooManyPools => problem(
                StatusCode::TOO_MANY_REQUESTS,
                "too many pools",
                &self.detail(),
            ),
        }
    }
}

fn json(body: &impl Serialize) -> Answer {
    match serde_json::to_vec(body) {
        Ok(body) => http::with_type(StatusCode::OK, "application/json", body),
        Err(error) => {
            let detail = error.to_string();
            problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "answer cannot be written",
                &detail,
            )
        }
    }
}

fn problem(status: StatusCode, title: &str, detail: &str) -> Answer {
    let body = serde_json::to_vec(&Problem {
        title,
        status: status.as_u16(),
        detail,
    });
    http::with_type(status, "application/problem+json", body.unwrap_or_default())
}

fn unauthorized() -> Answer {
    let detail = "send `Authorization: Bearer TOKEN`";
    let mut answer = problem(StatusCode::UNAUTHORIZED, "wrong or missing token", detail);
    answer
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, want: Result<&str, &str>) {
        match (asked(query), want) {
            (Ok(got), Ok(want)) => assert_eq!(got.pools.to_string(), want, "for {query}"),
            (Err(got), Err(want)) => assert!(got.contains(want), "for {query}: {got}"),
            (got, want) => panic!("for {query}: {got:?} is not {want:?}"),
        }
    }

    #[test]
    fn a_query_names_pools_once() {
        check("", Ok(""));
        check("pool=", Ok(""));
        check("pool", Ok(""));
        check("pool=size-l.2_x&", Ok("size-l.2_x"));
        check("pool=m,default", Ok("default,m"));
        check("pool=m%2Cdefault", Ok("default,m"));
        check("pool=a%20b", Err("pool `a b`: allowed are up to 16"));
        check("pool=a&pool=b", Err("twice"));
        check("lane=a", Err("`lane` is unknown: allowed are pool=NAMES"));
        check("jobsPerWorker=2&jobsPerWorker=2", Err("twice"));
        check("jobsPerWorker=", Err("`jobsPerWorker` = ``: allowed is a"));
        assert_eq!(asked("pool=a").unwrap().jobs_per_worker, 1);
        assert_eq!(asked("jobsPerWorker=8&pool=a").unwrap().jobs_per_worker, 8);
    }
}

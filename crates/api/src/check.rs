//! `snowpack-api check`: asks a running API for a dry run, and reads it back.
//!
//! For `helm test`, whose image has no shell, and for whoever has just installed one. Knows no
//! more of the API than any caller.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};

use crate::args::Check;
use crate::auth::tls;

/// One request; a dry run reads the table's manifests meanwhile.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// Between two looks whether the API is ready.
const READY_EVERY: Duration = Duration::from_millis(500);

/// Succeeds when the API does what it is for; says what it did.
pub(crate) async fn run(args: Check) -> Result<()> {
    args.log.install()?;
    let api = Api::new(&args.url, args.token_file.as_deref())?;
    api.ready(args.within()).await?;
    let table = match args.table {
        Some(table) => Some((table.database(), table.table().to_owned())),
        None => api.first_table().await?,
    };
    let said = match table {
        Some((database, table)) => api.dry_run(&database, &table).await?,
        None => "the API is ready; the catalog holds no table to plan".to_owned(),
    };
    writeln!(std::io::stdout(), "{said}").context("write to standard output")
}

/// The API as its callers see it.
struct Api {
    url: Url,
    client: reqwest::Client,
    token: Option<String>,
}

impl Api {
    fn new(url: &Url, token_file: Option<&Path>) -> Result<Self> {
        let token = token_file.map(|file| {
            let read = std::fs::read_to_string(file);
            read.with_context(|| format!("read the token in {}", file.display()))
        });
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls().map_err(|why| anyhow!(why))?)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_WITHIN);
        Ok(Self {
            url: url.clone(),
            client: client.build()?,
            token: token.transpose()?.map(|token| token.trim().to_owned()),
        })
    }

    /// Waits until the API wants requests.
    async fn ready(&self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        let url = self.place(&["readyz"])?;
        loop {
            let why = match self.client.get(url.clone()).send().await {
                Ok(answer) if answer.status() == StatusCode::OK => return Ok(()),
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(error) => runtime::chain(&error),
            };
            if deadline <= Instant::now() {
                bail!("{url} was not ready within {} s: {why}", within.as_secs());
            }
            tokio::time::sleep(READY_EVERY).await;
        }
    }

    /// The first table of the table cache, by name.
    async fn first_table(&self) -> Result<Option<(String, String)>> {
        let mut url = self.place(&["tables"])?;
        url.set_query(Some("limit=1"));
        let page = self.ask(Method::GET, url, None).await?;
        let text = |key: &str| page["tables"][0][key].as_str().map(str::to_owned);
        Ok(text("database").zip(text("table")))
    }

    /// Submits a dry run and reads the job it became.
    async fn dry_run(&self, database: &str, table: &str) -> Result<String> {
        let url = self.place(&["tables", database, table, "maintenance"])?;
        let body = json!({"actions": ["rewrite_data_files"], "dry_run": true});
        let submitted = self.ask(Method::POST, url, Some(&body)).await?;
        let id = text(&submitted, "job_id")?;
        let job = self
            .ask(Method::GET, self.place(&["jobs", id])?, None)
            .await?;
        let (name, status) = (format!("{database}.{table}"), text(&job, "status")?);
        if text(&job, "job_id")? != id || job["dry_run"] != true {
            bail!("job {id} of {name} is read back as {job}");
        }
        if status != "completed" {
            bail!("the dry run {id} of {name} is {status}: {}", job["error"]);
        }
        Ok(format!(
            "the dry run {id} of {name} was planned and read back: {status}"
        ))
    }

    fn place(&self, parts: &[&str]) -> Result<Url> {
        let mut url = self.url.clone();
        let end = url.path_segments_mut();
        let mut end = end.map_err(|()| anyhow!("{} cannot have a path", self.url))?;
        end.pop_if_empty().extend(parts);
        drop(end);
        Ok(url)
    }

    /// One request with an answer of 2xx, or what the API said instead.
    async fn ask(&self, method: Method, url: Url, body: Option<&Value>) -> Result<Value> {
        let mut request = self.client.request(method.clone(), url.clone());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json");
            request = request.body(body.to_string());
        }
        let answer = request.send().await?;
        let status = answer.status();
        let said = answer.text().await?;
        let document: Value = serde_json::from_str(&said).unwrap_or_default();
        if status.is_success() {
            return Ok(document);
        }
        let detail = document["detail"].as_str().unwrap_or(&said);
        bail!("{method} {url} was answered {status}: {detail}")
    }
}

fn text<'a>(document: &'a Value, key: &str) -> Result<&'a str> {
    let value = document[key].as_str();
    value.with_context(|| format!("the answer has no {key}: {document}"))
}

/// For `value_parser`: where an API is.
pub(crate) fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| "allowed: http://HOST:PORT or https://HOST:PORT".to_owned())
}

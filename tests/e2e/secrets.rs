//! What is secret is nowhere to be read: every program is given passwords, keys and tokens, does
//! right and wrong things at the most talkative log level, and everything it said is searched.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use testkit::{Database, Process, S3, SmallTable, binary, get, request};

const DATABASE_PASSWORD: &str = "hunter2-of-the-database";
const CATALOG_PASSWORD: &str = "hunter2-of-the-catalog";
const API_TOKEN: &str = "hunter2-of-an-operator";
const WRONG_TOKEN: &str = "hunter2-of-nobody-at-all";
const SCALER_TOKEN: &str = "hunter2-of-keda";
const WRONG_KEY: &str = "hunter2-that-opens-no-bucket";
const SECRETS: [&str; 7] = [
    DATABASE_PASSWORD,
    CATALOG_PASSWORD,
    API_TOKEN,
    WRONG_TOKEN,
    SCALER_TOKEN,
    WRONG_KEY,
    S3::SECRET_ACCESS_KEY,
];
const TABLE: &str = "db.orders";

/// Everything that was said, by whom.
#[derive(Default)]
struct Said(Vec<(String, String)>);

impl Said {
    fn add(&mut self, who: &str, text: impl Into<String>) {
        self.0.push((who.to_owned(), text.into()));
    }

    #[track_caller]
    fn mentions(&self, words: &str) {
        let said = self.0.iter().any(|(_, text)| text.contains(words));
        assert!(said, "nobody said `{words}`");
    }

    /// Fails where a secret was said, with the line.
    #[track_caller]
    fn holds_no_secret(&self) {
        let mut found = String::new();
        for (who, text) in &self.0 {
            assert!(!text.is_empty(), "{who} said nothing");
            for line in text.lines() {
                if SECRETS.iter().any(|secret| line.contains(secret)) {
                    writeln!(found, "{who}: {line}").expect("a text grows");
                }
            }
        }
        assert!(found.is_empty(), "\n{found}");
    }
}

/// What is true of one lakehouse with secrets.
struct Place {
    database: Database,
    url: String,
    settings: Vec<(&'static str, String)>,
    folder: tempfile::TempDir,
    said: Said,
}

impl Place {
    async fn new(s3: &S3) -> Self {
        let database = Database::new().await;
        let url =
            database
                .url()
                .replacen("postgres@", &format!("postgres:{DATABASE_PASSWORD}@"), 1);
        assert!(url.contains(DATABASE_PASSWORD), "{}", database.url());
        let mut settings = s3.settings();
        settings.extend([
            ("SNOWPACK_DATABASE_URL", url.clone()),
            (
                "SNOWPACK_CATALOG_URI",
                url.replacen(DATABASE_PASSWORD, CATALOG_PASSWORD, 1),
            ),
            ("SNOWPACK_WAREHOUSE", warehouse(&database)),
            ("SNOWPACK_LOG", "trace".to_owned()),
            ("SNOWPACK_ADMIN_ADDR", "127.0.0.1:0".to_owned()),
        ]);
        Self {
            database,
            url,
            settings,
            folder: tempfile::tempdir().expect("a folder"),
            said: Said::default(),
        }
    }

    /// A table of small files, which a worker rewrites.
    async fn table(&self, s3: &S3) {
        SmallTable::ask(json!({
            "op": "create",
            "uri": self.database.url(),
            "catalog": "snowpack",
            "warehouse": warehouse(&self.database),
            "properties": {
                "s3.endpoint": s3.endpoint(),
                "s3.region": S3::REGION,
                "s3.access-key-id": S3::ACCESS_KEY_ID,
                "s3.secret-access-key": S3::SECRET_ACCESS_KEY,
            },
            "table": TABLE,
            "files": 6,
            "rows_per_file": 10,
        }))
        .await;
    }

    fn start(&self, program: &str, more: &[(&str, &str)], arguments: &[&str]) -> Process {
        let mut variables: Vec<(&str, &str)> = Vec::new();
        for (name, value) in &self.settings {
            if more.iter().all(|(other, _)| other != name) {
                variables.push((name, value));
            }
        }
        variables.extend(more);
        Process::start(binary(program), &variables, arguments)
    }

    /// Runs a program to its end and keeps all it says.
    async fn run(&mut self, program: &str, more: &[(&str, &str)], arguments: &[&str]) {
        let process = self.start(program, more, arguments);
        process.ended().await;
        let who = format!("{program} {arguments:?} {more:?}");
        self.said.add(&who, process.log());
    }

    /// What a program prints, on either stream.
    fn printed(&mut self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(binary(program));
        let settings = self.settings.iter().map(|(name, value)| (*name, value));
        command.envs(settings).args(arguments).stdin(Stdio::null());
        let output = command.output().expect("run it");
        let all = [output.stdout, output.stderr].concat();
        let all = String::from_utf8_lossy(&all).into_owned();
        self.said.add(&format!("{program} {arguments:?}"), all);
    }

    /// Every row of every table of ours, as text.
    async fn rows(&mut self) {
        let client = self.database.client().await;
        let tables = "select format('%I.%I', table_schema, table_name) \
                      from information_schema.tables \
                      where table_schema = 'snowpack' and table_type = 'BASE TABLE'";
        for table in client.query(tables, &[]).await.expect("list the tables") {
            let table: String = table.get(0);
            let rows = format!("select t::text from {table} t");
            for row in client.query(&rows, &[]).await.expect("read a table") {
                self.said.add(&table, row.get::<_, String>(0));
            }
        }
    }
}

fn warehouse(database: &Database) -> String {
    format!("s3://{}/{}", S3::BUCKET, database.name())
}

/// What `ps` would show of our programs that run. Others may be given what they like.
fn command_lines() -> String {
    let mut lines = String::new();
    for entry in fs::read_dir("/proc").expect("Linux has /proc").flatten() {
        // A process may end while we look.
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        if read("comm").starts_with(b"snowpack") {
            lines.push_str(&String::from_utf8_lossy(&read("cmdline")).replace('\0', " "));
            lines.push('\n');
        }
    }
    lines
}

/// A file that lets [`API_TOKEN`] in.
fn tokens(folder: &Path) -> String {
    let mut child = Command::new(binary("snowpack-api"))
        .arg("hash-token")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start snowpack-api");
    let mut input = child.stdin.take().expect("stdin is piped");
    writeln!(input, "{API_TOKEN}").expect("write the token");
    drop(input);
    let printed = child.wait_with_output().expect("wait for it").stdout;
    let hash = String::from_utf8(printed).expect("a hash is text");
    let file = folder.join("tokens.toml");
    let text = format!(
        "[[token]]\nname = \"ci\"\nrole = \"operator\"\nsha256 = \"{}\"\n",
        hash.trim()
    );
    fs::write(&file, text).expect("write the tokens");
    file.display().to_string()
}

/// The API is asked by one who may, by one who may not, and with nonsense.
async fn api(place: &mut Place) {
    let file = tokens(place.folder.path());
    let own = [
        ("SNOWPACK_AUTH", "tokens"),
        ("SNOWPACK_TOKENS_FILE", file.as_str()),
        ("SNOWPACK_API_ADDR", "127.0.0.1:0"),
        ("SNOWPACK_API_LINGER_SECONDS", "0"),
    ];
    let api = place.start("snowpack-api", &own, &[]);
    let address: SocketAddr = api.address("api listens").await;
    let path = format!("/tables/{}/maintenance", TABLE.replace('.', "/"));
    for (token, want) in [(API_TOKEN, 200), (WRONG_TOKEN, 401)] {
        let header = format!("authorization: Bearer {token}");
        let (status, body) = get(address, "/tables", &[&header]).await;
        assert_eq!(status, want, "{body}");
        place.said.add("the API's answer", body);
        // There is no body.
        let (status, refusal) = request(address, "POST", &path, &[&header]).await;
        assert!((400..500).contains(&status), "{status}: {refusal}");
        place.said.add("the API's refusal", refusal);
    }
    let (_, metrics) = get(address, "/metrics", &[]).await;
    place.said.add("the API's metrics", metrics);
    place.said.add("processes", command_lines());
    api.signal("TERM");
    api.ended().await;
    place.said.add("snowpack-api", api.log());
}

async fn scaler(place: &mut Place) {
    let own = [
        ("SNOWPACK_SCALER_ADDR", "127.0.0.1:0"),
        ("SNOWPACK_SCALER_GRPC_ADDR", "127.0.0.1:0"),
        ("SNOWPACK_SCALER_TOKEN", SCALER_TOKEN),
    ];
    let scaler = place.start("snowpack-scaler", &own, &[]);
    let address: SocketAddr = scaler.address("scaler listens").await;
    for (token, want) in [(SCALER_TOKEN, 200), (WRONG_TOKEN, 401)] {
        let header = format!("authorization: Bearer {token}");
        let (status, body) = get(address, "/ready-count", &[&header]).await;
        assert_eq!(status, want, "{body}");
        place.said.add("the scaler's answer", body);
    }
    let (_, metrics) = get(address, "/metrics", &[]).await;
    place.said.add("the scaler's metrics", metrics);
    scaler.signal("TERM");
    scaler.ended().await;
    place.said.add("snowpack-scaler", scaler.log());
}

async fn worker(place: &mut Place) {
    let worker = place.start("snowpack-worker", &[], &[]);
    let address: SocketAddr = worker.address("admin server listens").await;
    let (_, metrics) = get(address, "/metrics", &[]).await;
    place.said.add("the worker's metrics", metrics);
    place.said.add("processes", command_lines());
    worker.signal("TERM");
    worker.ended().await;
    place.said.add("snowpack-worker", worker.log());
}

#[tokio::test]
async fn no_secret_stands_in_a_log_an_error_a_metric_a_row_or_a_process_list() {
    let s3 = S3::start().await;
    let mut place = Place::new(&s3).await;
    place.table(&s3).await;
    api(&mut place).await;
    scaler(&mut place).await;
    worker(&mut place).await;
    place.run("snowpack-health-sync", &[], &[]).await;
    place.run("snowpack-orchestrator", &[], &[]).await;
    // Who is refused says more than who is let in.
    let refused = [("SNOWPACK_S3_SECRET_ACCESS_KEY", WRONG_KEY)];
    for variables in [&refused[..], &[]] {
        place.printed("snowpack", &["submit", TABLE, "rewrite_data_files"]);
        place
            .run("snowpack-worker", variables, &["--exit-when-idle"])
            .await;
    }
    // Nobody listens there, and there is no such database.
    for wrong in [
        format!("postgres://postgres:{DATABASE_PASSWORD}@127.0.0.1:1/lake"),
        format!("{}-not", place.url),
        format!("postgres://postgres:{DATABASE_PASSWORD}@127.0.0.1:port/lake"),
    ] {
        let wrong = [
            ("SNOWPACK_DATABASE_URL", wrong.as_str()),
            ("SNOWPACK_START_SECONDS", "1"),
        ];
        place.run("snowpack-worker", &wrong, &[]).await;
        place.run("snowpack-health-sync", &wrong, &[]).await;
        place.run("snowpack", &wrong, &["jobs"]).await;
    }
    for program in ["snowpack-worker", "snowpack-api", "snowpack-scaler"] {
        place.printed(program, &["--print-config"]);
    }
    place.printed("snowpack", &["maintain", TABLE]);
    place.rows().await;
    assert!(40 < place.said.0.len(), "too little was said");
    for done in ["refused the key", "job_completed"] {
        place.said.mentions(done);
    }
    place.said.holds_no_secret();
}

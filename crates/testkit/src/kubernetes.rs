//! A real Kubernetes control plane: etcd, the API server with RBAC and, where asked for, the
//! controllers of Jobs and CronJobs. No node and no root: pods stay pending until a test says how
//! they fared.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::until;

/// Another program may take a free port before the server does.
const STARTS_MAX: u32 = 5;
/// Anybody who shows it may do everything.
const ADMIN_TOKEN: &str = "admin-token";

/// Runs a program, and kills it when the standard input ends, which it does with the test's process
/// however that ends; then removes the folder `$0`, if one is named.
const GUARD: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
{ cat <&3 >/dev/null; kill -9 $child; } 2>/dev/null &
wait $child
[ -z "$0" ] || rm -rf "$0"
"#;

/// A running control plane. Ended when dropped, or with the test's process.
#[derive(Debug)]
pub struct Kubernetes {
    // In this order, so that etcd goes last.
    controllers: Mutex<Option<Guarded>>,
    server: Mutex<Option<Guarded>>,
    etcd: Mutex<Guarded>,
    bin: PathBuf,
    folder: PathBuf,
    port: u16,
    etcd_port: u16,
}

/// A program that ends with us.
#[derive(Debug)]
struct Guarded(Child);

impl Guarded {
    /// `leaves` is removed once it has ended.
    fn start(program: &Path, arguments: &[String], log: &Path, leaves: Option<&Path>) -> Self {
        let log = fs::File::create(log).expect("create a log file");
        let errors = log.try_clone().expect("share the log file");
        let child = Command::new("sh")
            .args(["-c", GUARD])
            .arg(leaves.unwrap_or(Path::new("")))
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", program.display()));
        Self(child)
    }

    fn ended(&mut self) -> bool {
        self.0.try_wait().expect("look at a process").is_some()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It ends by SIGKILL, so there is nothing to learn.
        let _ = self.0.wait();
    }
}

impl Kubernetes {
    /// The one of this test process, with controllers; tests keep to namespaces of their own.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Kubernetes> = OnceCell::const_new();
        SHARED
            .get_or_init(async || {
                let kubernetes = Self::start().await;
                kubernetes.start_controllers();
                kubernetes
            })
            .await
    }

    /// One of its own, for tests that break it; without controllers.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        let folder = std::env::var("SNOWPACK_TEST_KUBERNETES").expect(
            "SNOWPACK_TEST_KUBERNETES names the folder with bin/kube-apiserver, bin/etcd and \
             bin/kubectl; tests/run sets it",
        );
        let bin = Path::new(&folder).join("bin");
        let mut said = String::new();
        for _ in 0..STARTS_MAX {
            let folder = tempfile::tempdir().expect("a folder for a cluster").keep();
            let etcd_port = free_port();
            let etcd = etcd(&bin, &folder, etcd_port);
            let kubernetes = Self {
                controllers: Mutex::default(),
                server: Mutex::default(),
                etcd: Mutex::new(etcd),
                bin: bin.clone(),
                folder,
                port: free_port(),
                etcd_port,
            };
            kubernetes.credentials();
            kubernetes.start_server();
            if kubernetes.answers().await {
                return kubernetes;
            }
            said = kubernetes.last_words();
        }
        panic!("the API server of {} did not start: {said}", bin.display());
    }

    /// Starts the API server, again if need be, and does not wait for it.
    pub fn start_server(&self) {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let arguments = [
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.port),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            format!("--token-auth-file={}", path("tokens.csv")),
            format!("--tls-cert-file={}", path("server.crt")),
            format!("--tls-private-key-file={}", path("server.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", path("accounts.pub")),
            format!(
                "--service-account-signing-key-file={}",
                path("accounts.key")
            ),
        ];
        let program = self.bin.join("kube-apiserver");
        let log = self.folder.join("server.log");
        let server = Guarded::start(&program, &arguments, &log, None);
        *lock(&self.server) = Some(server);
    }

    /// Kills the API server.
    pub fn kill_server(&self) {
        lock(&self.server).take();
    }

    /// Waits until the API server answers; false when it has ended instead.
    pub async fn answers(&self) -> bool {
        let mut ready = false;
        until("the API server is ready", async || {
            let ended = lock(&self.server).as_mut().is_none_or(Guarded::ended);
            ready = self.run(&["get", "--raw", "/readyz"], "").is_ok();
            ready || ended || lock(&self.etcd).ended()
        })
        .await;
        ready
    }

    /// The ends of the logs of what should run.
    fn last_words(&self) -> String {
        ["etcd.log", "server.log"]
            .map(|name| {
                let log = fs::read_to_string(self.folder.join(name)).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(5).collect();
                let lines: Vec<&str> = lines.into_iter().rev().collect();
                format!("\n{name}:\n{}", lines.join("\n"))
            })
            .concat()
    }

    /// Starts the controllers of Jobs, CronJobs and service accounts.
    fn start_controllers(&self) {
        let kubeconfig = self.kubeconfig().display().to_string();
        let names = "cronjob-controller,job-controller,serviceaccount-controller";
        let arguments = [
            format!("--kubeconfig={kubeconfig}"),
            format!("--controllers={names}"),
            "--secure-port=0".to_owned(),
            "--leader-elect=false".to_owned(),
            "--use-service-account-credentials".to_owned(),
        ];
        let program = self.bin.join("kube-controller-manager");
        let log = self.folder.join("controllers.log");
        let controllers = Guarded::start(&program, &arguments, &log, None);
        *lock(&self.controllers) = Some(controllers);
    }

    /// For everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    /// A new namespace.
    pub fn namespace(&self) -> String {
        let name = format!("t-{:08x}", rand::random::<u32>());
        self.kubectl(&["create", "namespace", &name]);
        // The controllers may be faster.
        let _ = self.run(&["-n", &name, "create", "serviceaccount", "default"], "");
        name
    }

    /// A pod that waits for a node: its UID.
    pub fn pod(&self, namespace: &str, name: &str) -> String {
        let image = "--image=localhost/none:1";
        self.kubectl(&["-n", namespace, "run", name, image, "--restart=Never"]);
        self.value(namespace, &format!("pod/{name}"), "{.metadata.uid}")
    }

    /// Says that the pod of a Job has ended, as a kubelet would.
    pub async fn end_job(&self, namespace: &str, job: &str, phase: &str) {
        let label = format!("--selector=job-name={job}");
        let mut pod = String::new();
        until("the Job has a pod", async || {
            pod = self.kubectl(&["-n", namespace, "get", "pods", &label, "-o", "name"]);
            !pod.is_empty()
        })
        .await;
        let status = format!("{{\"status\":{{\"phase\":\"{phase}\"}}}}");
        let patch = ["--subresource=status", "--type=merge", "-p", &status];
        self.kubectl(&[&["-n", namespace, "patch", pod.trim()], &patch[..]].concat());
    }

    /// One value of an object, by a JSONPath.
    pub fn value(&self, namespace: &str, object: &str, path: &str) -> String {
        let path = format!("jsonpath={path}");
        self.kubectl(&["-n", namespace, "get", object, "-o", &path])
    }

    /// A service account that may do what `rules` say, as in `pods=get,patch`: its kubeconfig.
    pub async fn account(&self, namespace: &str, name: &str, rules: &[&str]) -> PathBuf {
        self.kubectl(&["-n", namespace, "create", "serviceaccount", name]);
        self.allow(namespace, name, rules).await;
        let token = self.kubectl(&["-n", namespace, "create", "token", name]);
        self.write_kubeconfig(&format!("{namespace}.{name}"), namespace, token.trim())
    }

    /// Gives a service account more rights.
    pub async fn allow(&self, namespace: &str, account: &str, rules: &[&str]) {
        for rule in rules {
            let (resource, verbs) = rule.split_once('=').expect("resource=verbs");
            let role = format!("{account}-{:08x}", rand::random::<u32>());
            let (verb, resources) = (format!("--verb={verbs}"), format!("--resource={resource}"));
            self.kubectl(&["-n", namespace, "create", "role", &role, &verb, &resources]);
            let to = format!("--serviceaccount={namespace}:{account}");
            let of = format!("--role={role}");
            self.kubectl(&["-n", namespace, "create", "rolebinding", &role, &of, &to]);
            let user = format!("--as=system:serviceaccount:{namespace}:{account}");
            let verb = verbs.split(',').next().expect("a verb");
            let ask = ["-n", namespace, "auth", "can-i", verb, resource, &user];
            until("the API server knows the new right", async || {
                self.run(&ask, "").is_ok()
            })
            .await;
        }
    }

    /// What kubectl, which may do everything, prints.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.run(arguments, "")
            .unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    /// What is in the cluster, as JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = self.kubectl(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    /// Makes objects of a manifest.
    #[track_caller]
    pub fn apply(&self, namespace: &str, manifest: &str) {
        let arguments = ["-n", namespace, "apply", "--validate=strict", "-f", "-"];
        self.run(&arguments, manifest)
            .unwrap_or_else(|error| panic!("apply: {error}\n{manifest}"));
    }

    fn run(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        use std::io::Write as _;
        let mut child = Command::new(self.bin.join("kubectl"))
            .env("KUBECONFIG", self.kubeconfig())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin
            .write_all(input.as_bytes())
            .map_err(|error| error.to_string())?;
        drop(stdin);
        let output = child
            .wait_with_output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn credentials(&self) {
        let write = |name: &str, text: &str| {
            fs::write(self.folder.join(name), text).expect("write a credential");
        };
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("make a certificate");
        write("server.crt", &made.cert.pem());
        write("server.key", &made.signing_key.serialize_pem());
        let accounts = rcgen::KeyPair::generate().expect("make a key");
        write("accounts.key", &accounts.serialize_pem());
        write("accounts.pub", &accounts.public_key_pem());
        let admin = format!("{ADMIN_TOKEN},admin,admin,\"system:masters\"\n");
        write("tokens.csv", &admin);
        self.write_kubeconfig("admin", "default", ADMIN_TOKEN);
    }

    fn write_kubeconfig(&self, name: &str, namespace: &str, token: &str) -> PathBuf {
        let path = self.folder.join(format!("{name}.kubeconfig"));
        let certificate = self.folder.join("server.crt").display().to_string();
        let mut text = String::from("apiVersion: v1\nkind: Config\ncurrent-context: c\n");
        let port = self.port;
        write!(
            text,
            "clusters: [{{name: c, cluster: {{server: \"https://127.0.0.1:{port}\", \
             certificate-authority: \"{certificate}\"}}}}]\n\
             users: [{{name: u, user: {{token: \"{token}\"}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u, namespace: {namespace}}}}}]\n"
        )
        .expect("a String takes everything");
        fs::write(&path, text).expect("write a kubeconfig");
        path
    }
}

fn etcd(bin: &Path, folder: &Path, port: u16) -> Guarded {
    let client = format!("http://127.0.0.1:{port}");
    let peer = format!("http://127.0.0.1:{}", free_port());
    let arguments = [
        format!("--data-dir={}", folder.join("etcd").display()),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
    ];
    let log = folder.join("etcd.log");
    Guarded::start(&bin.join("etcd"), &arguments, &log, Some(folder))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

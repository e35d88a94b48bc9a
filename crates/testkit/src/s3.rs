//! A real S3 server (versitygw) over a temporary folder, on a free port of this host.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{Process, until};

/// Another program may take a free port before the server does.
const STARTS_MAX: u32 = 5;

/// A running server with one bucket. Ended when dropped, its objects with it.
#[derive(Debug)]
pub struct S3 {
    // First, so that it has ended before its folder goes.
    _server: Process,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl S3 {
    pub const BUCKET: &str = "lake-test";
    pub const REGION: &str = "us-east-1";
    pub const ACCESS_KEY_ID: &str = "test-key-id";
    pub const SECRET_ACCESS_KEY: &str = "test-secret-hunter2";
    /// With path style off, `http://<bucket>.<domain>` is a bucket of whoever resolves it.
    pub const DOMAIN: &str = "s3.test";

    /// # Panics
    /// When the server does not start.
    pub async fn start() -> Self {
        let program = std::env::var("SNOWPACK_TEST_S3")
            .expect("SNOWPACK_TEST_S3 names the S3 server versitygw; tests/run sets it");
        let folder = tempfile::tempdir().expect("a folder for objects");
        for part in ["attributes", "buckets"] {
            fs::create_dir(folder.path().join(part)).expect("make a folder");
        }
        let path = |part: &str| folder.path().join(part).display().to_string();
        let (attributes, buckets) = (path("attributes"), path("buckets"));
        for _ in 0..STARTS_MAX {
            let address = free_address();
            let port = address.to_string();
            let server = Process::start(
                &program,
                &[
                    ("ROOT_ACCESS_KEY", Self::ACCESS_KEY_ID),
                    ("ROOT_SECRET_KEY", Self::SECRET_ACCESS_KEY),
                ],
                &[
                    "--port",
                    &port,
                    "--region",
                    Self::REGION,
                    "--quiet",
                    "--virtual-domain",
                    Self::DOMAIN,
                    "posix",
                    "--sidecar",
                    &attributes,
                    &buckets,
                ],
            );
            until("the S3 server listens", async || {
                !server.running() || TcpStream::connect(address).await.is_ok()
            })
            .await;
            if server.running() {
                let s3 = Self {
                    _server: server,
                    address,
                    folder,
                };
                s3.make_bucket(Self::BUCKET);
                return s3;
            }
        }
        panic!("{program} did not start");
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// # Panics
    /// When it exists.
    pub fn make_bucket(&self, name: &str) {
        fs::create_dir(self.buckets().join(name)).expect("make a bucket");
    }

    /// The settings of our programs that lead here.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SNOWPACK_S3_ENDPOINT", self.endpoint()),
            ("SNOWPACK_S3_REGION", Self::REGION.to_owned()),
            ("SNOWPACK_S3_ACCESS_KEY_ID", Self::ACCESS_KEY_ID.to_owned()),
            (
                "SNOWPACK_S3_SECRET_ACCESS_KEY",
                Self::SECRET_ACCESS_KEY.to_owned(),
            ),
        ]
    }

    /// What leads `PyIceberg` here.
    pub fn oracle_properties(&self) -> Value {
        json!({
            "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
            "s3.endpoint": self.endpoint(),
            "s3.region": Self::REGION,
            "s3.access-key-id": Self::ACCESS_KEY_ID,
            "s3.secret-access-key": Self::SECRET_ACCESS_KEY,
        })
    }

    /// Every file the server keeps of its bucket, objects and unfinished parts, below the
    /// bucket's folder.
    pub fn files(&self) -> Vec<PathBuf> {
        let root = self.buckets().join(Self::BUCKET);
        let mut open = vec![root.clone()];
        let mut files = Vec::new();
        while let Some(folder) = open.pop() {
            // A folder may go while we look.
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    open.push(entry.path());
                } else if let Ok(below) = entry.path().strip_prefix(&root) {
                    files.push(below.to_owned());
                }
            }
        }
        files.sort();
        files
    }

    fn buckets(&self) -> PathBuf {
        Path::new(self.folder.path()).join("buckets")
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address")
}

//! Arguments that say where objects lie.

/// Where tables are created, and how S3 is reached.
#[derive(clap::Args, Clone, Default)]
#[group(skip)]
pub struct Args {
    /// Where new tables are placed: an absolute path, or a file: or s3: location
    #[arg(long, env = "SNOWPACK_WAREHOUSE")]
    pub warehouse: Option<String>,

    /// What tables may consist of, as locations between commas; default: whatever the keys reach,
    /// and local files unless the warehouse lies in an object store, or a REST catalog has no warehouse set
    #[arg(long, env = "SNOWPACK_LOCATIONS")]
    pub locations: Option<String>,

    /// S3 server, as in https://minio.example:9000; default: AWS
    #[arg(long, env = "SNOWPACK_S3_ENDPOINT", hide_env_values = true)]
    pub s3_endpoint: Option<String>,

    /// S3 region; default: us-east-1
    #[arg(long, env = "SNOWPACK_S3_REGION")]
    pub s3_region: Option<String>,

    /// S3 access key; default: AWS_* variables, web identity, or the machine's role
    #[arg(long, env = "SNOWPACK_S3_ACCESS_KEY_ID", hide_env_values = true)]
    pub s3_access_key_id: Option<String>,

    /// S3 secret key
    #[arg(long, env = "SNOWPACK_S3_SECRET_ACCESS_KEY", hide_env_values = true)]
    pub s3_secret_access_key: Option<String>,

    /// S3 session token, for keys that have one
    #[arg(long, env = "SNOWPACK_S3_SESSION_TOKEN", hide_env_values = true)]
    pub s3_session_token: Option<String>,

    /// true: the bucket is part of the path; false: of the host. Default: true with an endpoint
    #[arg(long, env = "SNOWPACK_S3_PATH_STYLE")]
    pub s3_path_style: Option<String>,
}

impl Args {
    /// New tables below `warehouse`, all else as when nothing is said.
    pub fn at(warehouse: &str) -> Self {
        Self {
            warehouse: Some(warehouse.to_owned()),
            ..Self::default()
        }
    }
}

impl std::fmt::Debug for Args {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys never reach a log.
        f.debug_struct("Args")
            .field("warehouse", &self.warehouse)
            .field("locations", &self.locations)
            .finish_non_exhaustive()
    }
}

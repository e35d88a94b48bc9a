//! Arguments that say where objects lie.

use crate::Error;

/// Where tables are created, and (reserved) how S3 is reached.
#[derive(clap::Args, Clone, Default)]
#[group(skip)]
pub struct Args {
    /// Where new tables are placed: an absolute path or a file: location
    #[arg(long, env = "SNOWPACK_WAREHOUSE")]
    pub warehouse: Option<String>,

    /// Reserved: S3 endpoint
    #[arg(long, env = "SNOWPACK_S3_ENDPOINT", hide = true)]
    pub s3_endpoint: Option<String>,

    /// Reserved: S3 region
    #[arg(long, env = "SNOWPACK_S3_REGION", hide = true)]
    pub s3_region: Option<String>,

    /// Reserved: S3 access key
    #[arg(long, env = "SNOWPACK_S3_ACCESS_KEY_ID", hide = true)]
    pub s3_access_key_id: Option<String>,

    /// Reserved: S3 secret key
    #[arg(
        long,
        env = "SNOWPACK_S3_SECRET_ACCESS_KEY",
        hide = true,
        hide_env_values = true
    )]
    pub s3_secret_access_key: Option<String>,

    /// Reserved: S3 path style
    #[arg(long, env = "SNOWPACK_S3_PATH_STYLE", hide = true)]
    pub s3_path_style: Option<String>,
}

impl Args {
    /// Refuses what is reserved, naming it.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let reserved = [
            ("SNOWPACK_S3_ENDPOINT", &self.s3_endpoint),
            ("SNOWPACK_S3_REGION", &self.s3_region),
            ("SNOWPACK_S3_ACCESS_KEY_ID", &self.s3_access_key_id),
            ("SNOWPACK_S3_SECRET_ACCESS_KEY", &self.s3_secret_access_key),
            ("SNOWPACK_S3_PATH_STYLE", &self.s3_path_style),
        ];
        match reserved
            .iter()
            .find(|(_, value)| value.as_ref().is_some_and(|v| !v.is_empty()))
        {
            Some((name, _)) => Err(Error::Reserved { name }),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Args {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys never reach a log.
        f.debug_struct("Args")
            .field("warehouse", &self.warehouse)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_names_are_refused_with_the_reason_and_without_the_secret() {
        let args = Args {
            s3_secret_access_key: Some("hunter2".into()),
            ..Args::default()
        };
        let text = args.check().unwrap_err().to_string();
        assert!(text.contains("SNOWPACK_S3_SECRET_ACCESS_KEY"), "{text}");
        assert!(text.contains("not built"), "{text}");
        assert!(!format!("{args:?} {text}").contains("hunter2"));
    }

    #[test]
    fn an_empty_reserved_value_counts_as_unset() {
        let args = Args {
            s3_region: Some(String::new()),
            ..Args::default()
        };
        assert!(args.check().is_ok());
    }
}

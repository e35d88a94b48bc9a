//! Which pod this process runs in, as the downward API says.

/// This pod, as the downward API says; without its name nothing is asked of Kubernetes
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Kubernetes")]
pub struct PodArgs {
    /// Name of this pod (fieldRef metadata.name)
    #[arg(long, env = "SNOWPACK_POD_NAME", value_name = "NAME", value_parser = name)]
    pub pod_name: Option<String>,
    /// Namespace of this pod (fieldRef metadata.namespace) [default: its service account's]
    #[arg(long, env = "SNOWPACK_POD_NAMESPACE", value_name = "NAME", value_parser = name)]
    pub pod_namespace: Option<String>,
    /// UID of this pod (fieldRef metadata.uid): `kubectl describe pod` finds Events by it
    #[arg(long, env = "SNOWPACK_POD_UID", value_name = "UID", value_parser = name)]
    pub pod_uid: Option<String>,
}

/// A pod of the cluster's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    pub uid: Option<String>,
}

impl PodArgs {
    /// `None` outside a cluster, and where nobody said.
    pub fn pod(&self) -> Option<Pod> {
        let name = self.pod_name.clone()?;
        Some(Pod {
            name,
            uid: self.pod_uid.clone(),
        })
    }
}

/// For `value_parser`: the name of a Kubernetes object (RFC 1123 subdomain).
pub fn name(text: &str) -> Result<String, String> {
    let part = |part: &str| {
        let plain = part
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        plain && !part.is_empty() && !part.starts_with('-') && !part.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(part) {
        Ok(text.to_owned())
    } else {
        Err(
            "allowed: 1 to 253 lower-case letters, digits, `-` and `.`, as Kubernetes names \
             its objects"
                .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_kubernetes_takes() {
        let long = "a".repeat(253);
        for good in ["snowpack-worker-7d9c", "a", "a.b-c.d", "0", &long] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        let longer = "a".repeat(254);
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", ".", "a b", &longer] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_name_is_no_pod() {
        let args = PodArgs {
            pod_namespace: Some("ns".to_owned()),
            ..PodArgs::default()
        };
        assert_eq!(args.pod(), None);
    }
}

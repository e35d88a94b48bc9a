//! Whom Postgres runs as: it refuses to run as root, so root starts it as somebody else.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Tried in this order.
const NAMES: [&str; 2] = ["postgres", "nobody"];

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// `None` when we may run Postgres ourselves, else the user to run it as. `ours` is a file or
/// folder this process made: its owner is who we are.
pub(crate) fn other_than_root(ours: &Path) -> Result<Option<Account>> {
    if fs::metadata(ours)?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
    let Some(account) = NAMES.iter().find_map(|name| find(&users, name)) else {
        bail!(
            "Postgres does not run as root, and this machine has no user {} to run it as",
            NAMES.join(" or ")
        );
    };
    Ok(Some(account))
}

impl Account {
    /// Gives a file or folder to the user.
    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("give {} to the user {}", path.display(), self.name))
    }
}

/// True when everybody may pass through all folders down to `path` and read it.
pub(crate) fn open_to_all(path: &Path) -> bool {
    const PASS: u32 = 0o001;
    path.ancestors().skip(1).all(|folder| {
        folder.as_os_str().is_empty()
            || fs::metadata(folder).is_ok_and(|folder| folder.mode() & PASS != 0)
    })
}

fn find(users: &str, name: &str) -> Option<Account> {
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [found, _, uid, gid, ..] = fields[..] else {
            return None;
        };
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        (found == name && uid != 0).then(|| Account {
            name: name.to_owned(),
            uid,
            gid,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users = "root:x:0:0::/root:/bin/sh\npostgres2:x:7:7::/:\nbroken\npostgres:x:101:103:,,,:/var:/bin/bash\n";
        let want = Account {
            name: "postgres".to_owned(),
            uid: 101,
            gid: 103,
        };
        assert_eq!(find(users, "postgres"), Some(want));
        assert_eq!(find(users, "nobody"), None);
        assert_eq!(find(users, "root"), None);
    }
}

//! Static tokens: a file of names, roles and hashes. The tokens themselves are nowhere.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Caller, Refusal, Role};
use crate::cursor::{hex, unhex};

/// Between two looks at the file. It is read whole: a mounted secret changes by a symlink, and
/// not every file system tells times apart.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Shorter tokens can be guessed.
const TOKEN_BYTES_MIN: usize = 20;
const TOKEN_BYTES_MAX: usize = 1_000;

const HASH_BYTES: usize = 32;

/// The file as it was last read.
#[derive(Debug)]
pub(crate) struct Tokens {
    path: PathBuf,
    current: RwLock<Current>,
}

#[derive(Debug, Clone)]
struct Current {
    text: String,
    list: Arc<[Token]>,
}

/// One token of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    name: String,
    role: Role,
    hash: [u8; HASH_BYTES],
    expires: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    role: Role,
    sha256: String,
    expires: Option<String>,
}

impl Tokens {
    /// Reads the file; one that cannot be used ends the process.
    pub(crate) fn open(path: &Path) -> Result<Self, runtime::Error> {
        let current = load(path).map_err(|error| {
            let why = runtime::chain(error.as_ref());
            runtime::Error::Usage(format!("SNOWPACK_TOKENS_FILE={}: {why}", path.display()))
        })?;
        if current.list.is_empty() {
            warn!(file = %path.display(), "the tokens file lists no token: nobody may ask");
        }
        Ok(Self {
            path: path.to_owned(),
            current: RwLock::new(current),
        })
    }

    /// Reads the file again when it changes. One that cannot be used changes nothing.
    pub(crate) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut complained = None;
        let mut seen = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let path = self.path.clone();
            let read = tokio::task::spawn_blocking(move || load(&path)).await;
            match read {
                Ok(Ok(new)) => {
                    complained = None;
                    self.look(&mut seen, new);
                }
                Ok(Err(error)) => {
                    let why = runtime::chain(error.as_ref());
                    if complained.as_ref() != Some(&why) {
                        warn!(why, file = %self.path.display(), "the tokens file is not taken; those read before hold");
                        complained = Some(why);
                    }
                }
                // Only a process that ends drops its tasks.
                Err(_) => return,
            }
        }
    }

    /// Half a file may read well: what two looks agree on is all of it.
    fn look(&self, seen: &mut Option<String>, new: Current) {
        if seen.as_ref() == Some(&new.text) {
            self.replace(new);
        } else {
            *seen = Some(new.text);
        }
    }

    fn replace(&self, new: Current) {
        // A list is swapped whole.
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.text != new.text {
            info!(tokens = new.list.len(), "the tokens file was read again");
            *current = new;
        }
    }

    /// The caller whose token this is.
    pub(super) fn check(&self, token: &str) -> Result<Caller, Refusal> {
        if TOKEN_BYTES_MAX < token.len() {
            return Err(Refusal::Wrong("it is unknown"));
        }
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let list = Arc::clone(&current.list);
        drop(current);
        let hash: [u8; HASH_BYTES] = Sha256::digest(token.as_bytes()).into();
        let mut found = None;
        // Every entry is looked at, each whole: the time says nothing about what is in the list.
        for entry in &*list {
            if same(&entry.hash, &hash) {
                found = Some(entry);
            }
        }
        let Some(entry) = found else {
            return Err(Refusal::Wrong("it is unknown"));
        };
        if entry.expires.is_some_and(|end| end.as_second() <= now()) {
            return Err(Refusal::Wrong("it has expired"));
        }
        Ok(Caller {
            subject: entry.name.clone(),
            role: Some(entry.role),
        })
    }
}

fn same(one: &[u8; HASH_BYTES], other: &[u8; HASH_BYTES]) -> bool {
    let pairs = one.iter().zip(other);
    pairs.fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

/// The clock tokens expire by; see [`crate::auth`].
fn now() -> i64 {
    i64::try_from(jsonwebtoken::get_current_timestamp()).unwrap_or(i64::MAX)
}

fn load(path: &Path) -> Result<Current> {
    let file = std::fs::File::open(path).context("open")?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .context("read")?;
    if text.len() as u64 > FILE_BYTES_MAX {
        bail!("it is larger than {FILE_BYTES_MAX} bytes");
    }
    let list = parse(&text)?.into();
    Ok(Current { text, list })
}

fn parse(text: &str) -> Result<Vec<Token>> {
    // The parser's own message may quote the line; what is secret is not in the file.
    let file: File = toml::from_str(text)?;
    let mut tokens: Vec<Token> = Vec::new();
    for entry in file.token {
        let name = entry.name.clone();
        let token = read(entry).with_context(|| format!("token `{name}`"))?;
        if tokens.iter().any(|known| known.name == token.name) {
            bail!("token `{name}`: the name is used twice");
        }
        if tokens.iter().any(|known| known.hash == token.hash) {
            bail!("token `{name}`: its sha256 is used twice");
        }
        tokens.push(token);
    }
    Ok(tokens)
}

fn read(entry: Entry) -> Result<Token> {
    let name = entry.name;
    if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
        bail!("name: allowed are 1 to 100 bytes without control characters");
    }
    let hash = unhex(&entry.sha256.to_ascii_lowercase());
    let Some(hash) = hash.and_then(|bytes| bytes.try_into().ok()) else {
        bail!("sha256: allowed are 64 hexadecimal digits, as `snowpack-api hash-token` prints");
    };
    let expires = entry.expires.map(|text| {
        text.parse::<Timestamp>().with_context(|| {
            format!("expires = `{text}`: allowed is a time as in 2030-01-31T00:00:00Z")
        })
    });
    Ok(Token {
        name,
        role: entry.role,
        hash,
        expires: expires.transpose()?,
    })
}

/// Reads a token from stdin and prints what the file holds of it.
pub(crate) async fn hash_stdin() -> Result<()> {
    let mut text = String::new();
    std::io::stdin()
        .take(TOKEN_BYTES_MAX as u64 + 2)
        .read_to_string(&mut text)
        .context("read the token from stdin")?;
    let token = text.trim_end_matches(['\r', '\n']);
    let plain = token.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain || token.len() < TOKEN_BYTES_MIN || TOKEN_BYTES_MAX < token.len() {
        return Err(runtime::Error::Usage(format!(
            "the token on stdin: allowed are {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible ASCII \
             characters without spaces; `openssl rand -hex 32` makes a good one"
        ))
        .into());
    }
    println!("{}", hex(&Sha256::digest(token.as_bytes())));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[track_caller]
    fn check(text: &str, want: &str) {
        let text = text.replace("HASH", HASH);
        let got = match parse(&text) {
            Ok(tokens) => tokens
                .iter()
                .map(|token| format!("{} {}", token.name, token.role.as_str()))
                .collect::<Vec<_>>()
                .join(", "),
            Err(error) => runtime::chain(error.as_ref()),
        };
        assert!(got.contains(want), "{text}: {got}");
    }

    #[test]
    fn half_a_file_that_reads_well_is_not_taken() {
        let current = |text: &str| Current {
            text: text.to_owned(),
            list: parse(text).unwrap().into(),
        };
        let one = format!("[[token]]\nname = 'one'\nrole = 'admin'\nsha256 = '{HASH}'\n");
        let other = one.replace("one", "other");
        let tokens = Tokens {
            path: PathBuf::new(),
            current: RwLock::new(current(&one)),
        };
        let mut seen = None;
        let name = || {
            tokens
                .current
                .read()
                .unwrap()
                .list
                .first()
                .map(|t| t.name.clone())
        };
        for text in ["", &other, "", &one, &one, ""] {
            tokens.look(&mut seen, current(text));
            assert_eq!(name().as_deref(), Some("one"), "{text}");
        }
        tokens.look(&mut seen, current(&other));
        tokens.look(&mut seen, current(&other));
        assert_eq!(name().as_deref(), Some("other"));
        tokens.look(&mut seen, current(""));
        tokens.look(&mut seen, current(""));
        assert_eq!(name(), None, "an empty file lets nobody in");
    }

    #[test]
    fn a_file_lists_names_roles_and_hashes() {
        check("", "");
        check(
            "[[token]]\nname = 'ci'\nrole = 'operator'\nsha256 = 'HASH'\nexpires = '2030-01-31T00:00:00Z'",
            "ci operator",
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let entry = "[[token]]\nname = 'ci'\nrole = 'admin'\nsha256 = 'HASH'\n";
        check(&entry.replace("admin", "root"), "unknown variant `root`");
        check(&entry.replace("HASH", "abc"), "64 hexadecimal digits");
        check(&entry.replace("HASH", "éé"), "64 hexadecimal digits");
        check(&entry.replace("'ci'", "''"), "1 to 100 bytes");
        check(&format!("{entry}expires = 'soon'"), "expires = `soon`");
        check(&format!("{entry}token = 'x'"), "unknown field `token`");
        check(&format!("{entry}{entry}"), "name is used twice");
        check(
            &format!("{entry}{}", entry.replace("ci", "cd")),
            "sha256 is used twice",
        );
    }
}

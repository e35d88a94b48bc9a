//! Which jobs are counted: those of some pools, or of all.

use std::collections::BTreeSet;
use std::fmt;

/// Longest name, as the worker takes it.
const BYTES_MAX: usize = 63;
/// Most pools in one question.
const POOLS_MAX: usize = 16;

/// Pools of the lane, each once, in order of their names; none of them is all.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pools(BTreeSet<String>);

impl Pools {
    /// As a worker's `SNOWPACK_WORKER_POOLS`: names between commas. An empty text is all pools.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let names: BTreeSet<String> = text.split(',').map(str::to_owned).collect();
        if names.iter().all(|name| plain(name)) && names.len() <= POOLS_MAX {
            return Ok(Self(names));
        }
        Err(format!(
            "pool `{text}`: allowed are up to {POOLS_MAX} names between commas, each of 1 to \
             {BYTES_MAX} letters, digits, `_`, `-`, `.`"
        ))
    }

    pub(crate) fn are_all(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

impl fmt::Display for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(","))
    }
}

fn plain(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<&str>) {
        let got = Pools::read(text);
        match (&got, want) {
            (Ok(pools), Some(want)) => assert_eq!(pools.to_string(), want, "for {text}"),
            (Err(why), None) => {
                assert!(
                    why.starts_with(&format!("pool `{text}`: allowed are up to 16")),
                    "{why}"
                );
            }
            _ => panic!("for {text}: {got:?} is not {want:?}"),
        }
    }

    #[test]
    fn pools_are_plain_names_each_counted_once() {
        check("", Some(""));
        check("default", Some("default"));
        check("size-l.2_x", Some("size-l.2_x"));
        check("m,default", Some("default,m"));
        check("m,default,m", Some("default,m"));
        check(&"x".repeat(63), Some(&"x".repeat(63)));
        for bad in [
            "a b",
            "a;b",
            ",",
            "a,",
            ",a",
            "a,,b",
            "a, b",
            "\u{e4}",
            &"x".repeat(64),
        ] {
            check(bad, None);
        }
        let many = |count: u32| {
            let names: Vec<_> = (0..count).map(|number| format!("p{number:02}")).collect();
            names.join(",")
        };
        check(&many(16), Some(&many(16)));
        check(&many(17), None);
    }
}

//! Locations and their one normal form: two texts that name one object are equal.
//!
//! A path is taken literally, as Iceberg's own readers do: `%2F` is three characters and never
//! a slash, `%2e%2e` is a name and never a step up, and Unicode is compared as it was written.

use std::fmt;

use crate::Error;

/// The family of a location's scheme.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `file:/`, `file:///`, `file://localhost/` and plain absolute paths.
    File,
    /// `s3`, `s3a` and `s3n`.
    S3,
    /// Anything else, in lower case.
    Other(String),
}

/// Where an object lies, in normal form; [`fmt::Display`] writes that form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    scheme: Scheme,
    authority: String,
    /// Starts with a slash, does not end with one; `/` is the root.
    path: String,
}

impl Location {
    /// Reads an absolute location.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |why| Error::BadLocation {
            location: text.to_owned(),
            why,
        };
        if text.is_empty() {
            return Err(refuse("it is empty"));
        }
        if text.chars().any(char::is_control) {
            return Err(refuse("it holds a control character"));
        }
        let (scheme, authority, path) = split(text).map_err(refuse)?;
        let path = match scheme {
            Scheme::File => clean(path.split('/').filter(|part| !part.is_empty())),
            // In an object store `a//b` and `a/b` are two keys, and so are `/a` and `a`.
            Scheme::S3 | Scheme::Other(_) => {
                let key = path.strip_prefix('/').unwrap_or(path);
                clean(key.trim_end_matches('/').split('/'))
            }
        };
        Ok(Self {
            scheme,
            authority,
            path: path.map_err(refuse)?,
        })
    }

    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The bucket; empty for local files.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The path below the authority, with a leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The location of `relative` below this one; it cannot lead out of it.
    pub fn join(&self, relative: &str) -> Result<Self, Error> {
        let relative = relative.trim_matches('/');
        let base = if self.path == "/" { "" } else { &self.path };
        let joined = match self.scheme {
            Scheme::File => format!("{base}/{relative}"),
            _ => format!("{}{base}/{relative}", self.root()),
        };
        Self::parse(&joined)
    }

    /// The folder it lies in; none above the root.
    pub fn parent(&self) -> Option<Self> {
        let (folder, _) = self.path.rsplit_once('/')?;
        let path = if folder.is_empty() { "/" } else { folder };
        (self.path != "/").then(|| Self {
            scheme: self.scheme.clone(),
            authority: self.authority.clone(),
            path: path.to_owned(),
        })
    }

    /// The ways in which people and programs write it; its normal form is one of them.
    pub fn spellings(&self) -> Vec<String> {
        let path = &self.path;
        match &self.scheme {
            Scheme::File => vec![
                path.clone(),
                format!("file:{path}"),
                format!("file://{path}"),
            ],
            Scheme::S3 => ["s3", "s3a", "s3n"]
                .map(|scheme| format!("{scheme}://{}{path}", self.authority))
                .to_vec(),
            Scheme::Other(_) => vec![self.to_string()],
        }
    }

    /// Whether `other` is this location or lies below it.
    pub fn holds(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.authority == other.authority
            && (self.path == "/"
                || other
                    .path
                    .strip_prefix(&self.path)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }

    /// The scheme's name, as the normal form has it.
    pub(crate) fn scheme_name(&self) -> &str {
        match &self.scheme {
            Scheme::File => "file",
            Scheme::S3 => "s3",
            Scheme::Other(name) => name,
        }
    }

    fn root(&self) -> String {
        match &self.scheme {
            Scheme::File => "file://".to_owned(),
            Scheme::S3 => format!("s3://{}", self.authority),
            Scheme::Other(name) => format!("{name}://{}", self.authority),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.root(), self.path)
    }
}

/// Splits into scheme, authority and the rest.
fn split(text: &str) -> Result<(Scheme, String, &str), &'static str> {
    if text.starts_with('/') {
        return Ok((Scheme::File, String::new(), text));
    }
    let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| named(scheme)) else {
        return Err("it is not absolute: write a path from the root, or a scheme");
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme == "file" {
        let Some(after) = rest.strip_prefix("//") else {
            return if rest.starts_with('/') {
                Ok((Scheme::File, String::new(), rest))
            } else {
                Err("a file location must be absolute")
            };
        };
        let (host, path) = after.split_at(after.find('/').unwrap_or(after.len()));
        if !(host.is_empty() || host.eq_ignore_ascii_case("localhost")) {
            return Err("a file location names another host; write file:///path");
        }
        return Ok((Scheme::File, String::new(), path));
    }
    let Some(after) = rest.strip_prefix("//") else {
        return Err("a scheme must be followed by ://");
    };
    let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
    if authority.is_empty() {
        return Err("it names no bucket or host");
    }
    let scheme = match scheme.as_str() {
        "s3" | "s3a" | "s3n" => Scheme::S3,
        _ => Scheme::Other(scheme),
    };
    Ok((scheme, authority.to_owned(), path))
}

/// Whether a text can be a scheme (RFC 3986).
fn named(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn clean<'a>(parts: impl Iterator<Item = &'a str>) -> Result<String, &'static str> {
    let mut path = String::new();
    for part in parts {
        if part == "." || part == ".." {
            return Err("a path may not hold `.` or `..`");
        }
        path.push('/');
        path.push_str(part);
    }
    if path.is_empty() {
        path.push('/');
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, want: &str) {
        assert_eq!(
            Location::parse(text).unwrap().to_string(),
            want,
            "for {text}"
        );
    }

    #[test]
    fn one_object_has_one_form() {
        for text in [
            "/a/b",
            "file:/a/b",
            "file:///a/b",
            "FILE://localhost/a//b/",
            "file://///a/b",
        ] {
            check(text, "file:///a/b");
        }
        for text in ["s3://b/k/x", "s3a://b/k/x", "s3n://b/k/x/", "S3://b/k/x"] {
            check(text, "s3://b/k/x");
        }
        check("s3://b/k//x", "s3://b/k//x");
        check("s3a://b//k/x/", "s3://b//k/x");
        check("s3://b//", "s3://b/");
        check("gs://b/k", "gs://b/k");
        check("/", "file:///");
        check("s3://b", "s3://b/");
    }

    #[test]
    fn characters_are_kept_as_they_were_written() {
        check("/w/größe=1/a b", "file:///w/größe=1/a b");
        check("file:///w/r=a%2Fb/%2e%2e/x", "file:///w/r=a%2Fb/%2e%2e/x");
        check("/w/what?#1", "file:///w/what?#1");
        check("/w/a:b", "file:///w/a:b");
    }

    #[test]
    fn bad_locations_are_refused_with_the_reason() {
        for (text, why) in [
            ("", "empty"),
            ("a/b", "not absolute"),
            ("file:a/b", "must be absolute"),
            ("file://host/a", "another host"),
            ("s3:/b/k", "://"),
            ("s3:///k", "no bucket"),
            ("/a/../b", "`..`"),
            ("s3://b/./k", "`.`"),
            ("/a\0b", "control"),
        ] {
            let error = Location::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_sibling_with_the_same_prefix_is_not_below() {
        let at = |text| Location::parse(text).unwrap();
        assert!(at("/w/t").holds(&at("file:/w/t/data/a")));
        assert!(at("/").holds(&at("/w")));
        assert!(!at("/w/t").holds(&at("/w/t2/data/a")));
        assert!(!at("/w/t").holds(&at("s3://w/t/a")));
        assert!(at("s3://b/t").holds(&at("s3a://b/t/a")));
    }

    proptest! {
        #[test]
        fn the_normal_form_is_a_fixed_point(text in "(file://|file:|s3a://b|gs://h|)(/[a-zé%.+ ?#=]{0,4}){0,5}") {
            if let Ok(location) = Location::parse(&text) {
                let again = Location::parse(&location.to_string()).unwrap();
                prop_assert_eq!(&again, &location);
            }
        }

        #[test]
        fn names_that_differ_stay_apart(a in "[a-zé%2Ff+ ~]{1,8}", b in "[a-zé%2Ff+ ~]{1,8}") {
            let at = |name: &str| Location::parse(&format!("file:///w/{name}")).unwrap();
            prop_assert_eq!(a == b, at(&a) == at(&b));
        }

        #[test]
        fn joining_never_leads_out(relative in "[./a-z%]{0,12}") {
            for base in ["/w/t", "s3://b/t", "/"] {
                let base = Location::parse(base).unwrap();
                if let Ok(joined) = base.join(&relative) {
                    prop_assert!(base.holds(&joined), "{joined}");
                }
            }
        }

        #[test]
        fn nothing_makes_it_panic(text in ".{0,40}") {
            drop(Location::parse(&text));
        }
    }
}

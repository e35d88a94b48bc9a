//! The shared secret, if callers need one.

use std::fmt;

/// What a caller has to show; nothing, when none is set.
#[derive(Clone)]
pub(crate) struct Token(Option<String>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Token(..)"
        } else {
            "Token(none)"
        })
    }
}

impl Token {
    pub(crate) fn new(token: Option<String>) -> Self {
        Self(token)
    }

    /// Compares in the same time wherever the first difference lies.
    pub(crate) fn admits(&self, given: Option<&[u8]>) -> bool {
        let Some(token) = &self.0 else {
            return true;
        };
        let given = given.unwrap_or_default();
        let differing = given
            .iter()
            .zip(token.as_bytes())
            .fold(0, |sum, (a, b)| sum | (a ^ b));
        given.len() == token.len() && differing == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_is_admitted() {
        let token = Token::new(Some("s3cret".to_owned()));
        for (given, want) in [
            (Some("s3cret"), true),
            (Some("s3cre"), false),
            (Some("s3crets"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(token.admits(given.map(str::as_bytes)), want, "{given:?}");
        }
        assert!(Token::new(None).admits(None));
        assert!(!format!("{token:?}").contains("s3cret"));
    }
}

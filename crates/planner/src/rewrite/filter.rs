//! `where`: which files may hold a matching row.
//!
//! A file is only left out when its partition values, column bounds or null counts prove that no
//! row of it can match; a missing, unreadable or doubtful fact keeps the file. The rows that do not
//! match survive the rewrite, so a file too many costs time and never rows.
//!
//! Text becomes a tree ([`Filter::parse`]), the tree is bound to a schema ([`Filter::bind`]), the
//! bound tree is asked about files ([`Bound::may_match`]).

mod bind;
mod evaluate;
mod literal;
mod parse;
#[cfg(test)]
mod tests;

pub use bind::Bound;
pub(super) use bind::kind;
pub(super) use parse::Parser;

/// A parsed expression, not yet bound to a schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    text: String,
    node: Node,
}

impl Filter {
    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("is longer than {max} bytes")]
    TooLong { max: usize },
    #[error("nests deeper than {max} levels")]
    TooDeep { max: usize },
    /// `at` counts characters from 1.
    #[error("character {at}: {wanted} expected, found {found}")]
    Syntax {
        at: usize,
        wanted: &'static str,
        found: String,
    },
    #[error("unknown column `{column}`; the columns are {columns}")]
    UnknownColumn { column: String, columns: String },
    #[error("column `{column}` is {kind}: {why}")]
    Unusable {
        column: String,
        kind: String,
        why: &'static str,
    },
    #[error("column `{column}` is {kind}: `{value}` is no {wanted}")]
    Literal {
        column: String,
        kind: String,
        value: String,
        wanted: String,
    },
}

/// The tree of an expression.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Test { column: String, test: Test<Word> },
}

/// One test of one column, over literals as written (`Word`) or as values of the column's type.
#[derive(Debug, Clone, PartialEq)]
enum Test<L> {
    Compare(Comparison, L),
    In(Vec<L>),
    NotIn(Vec<L>),
    IsNull,
    NotNull,
    StartsWith(L),
    NotStartsWith(L),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Comparison {
    /// What is true of a value that is not null exactly when this is false.
    fn negated(self) -> Self {
        match self {
            Self::Eq => Self::Ne,
            Self::Ne => Self::Eq,
            Self::Lt => Self::Ge,
            Self::Le => Self::Gt,
            Self::Gt => Self::Le,
            Self::Ge => Self::Lt,
        }
    }
}

impl<L> Test<L> {
    /// The test that is true exactly when this one is false; both are unknown for the same rows.
    fn negated(self) -> Self {
        match self {
            Self::Compare(comparison, value) => Self::Compare(comparison.negated(), value),
            Self::In(values) => Self::NotIn(values),
            Self::NotIn(values) => Self::In(values),
            Self::IsNull => Self::NotNull,
            Self::NotNull => Self::IsNull,
            Self::StartsWith(prefix) => Self::NotStartsWith(prefix),
            Self::NotStartsWith(prefix) => Self::StartsWith(prefix),
        }
    }
}

/// A literal as written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Number(String),
    Text(String),
    Boolean(bool),
}

impl Word {
    fn as_written(&self) -> &str {
        match self {
            Self::Number(text) | Self::Text(text) => text,
            Self::Boolean(true) => "true",
            Self::Boolean(false) => "false",
        }
    }
}

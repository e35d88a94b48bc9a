//! From text to tree: a tokenizer and a recursive-descent parser, both bounded.

use super::{Comparison, Error, Filter, Node, Test, Word};

/// Longest expression, in bytes.
const TEXT_BYTES_MAX: usize = 10_000;
/// Deepest nesting of parentheses and `not`.
const DEPTH_MAX: usize = 50;

impl Filter {
    /// Reads an expression. Keywords are case-insensitive; columns are written as they are named,
    /// in double quotes or backticks when they are no plain words, nested ones with dots.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut parser = Parser::new(text)?;
        let node = parser.any()?;
        parser.end("`and`, `or` or the end")?;
        Ok(Self {
            text: text.to_owned(),
            node,
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// An unquoted word: keyword, literal or column.
    Word(String),
    /// A quoted column.
    Quoted(String),
    Text(String),
    Number(String),
    Symbol(&'static str),
    End,
}

const SYMBOLS: [&str; 11] = ["<=", ">=", "!=", "<>", "=", "<", ">", "(", ")", ",", "."];
const KEYWORDS: [&str; 9] = [
    "and", "or", "not", "in", "is", "null", "like", "true", "false",
];

/// Each token with the character it begins at, counted from 1.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Error> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let at = text[..text.len() - rest.len()].chars().count() + 1;
        let (token, length) = match rest.chars().next() {
            None => {
                found.push((at, Token::End));
                return Ok(found);
            }
            Some('\'') => quoted(rest, '\'', at).map(|(text, end)| (Token::Text(text), end))?,
            Some(quote @ ('"' | '`')) => {
                quoted(rest, quote, at).map(|(name, end)| (Token::Quoted(name), end))?
            }
            Some(first) if first.is_ascii_digit() || first == '-' || first == '+' => {
                number(rest, at)?
            }
            Some(first) if first.is_alphabetic() || first == '_' => {
                let is_part = |c: char| c.is_alphanumeric() || c == '_';
                let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                (Token::Word(rest[..end].to_owned()), end)
            }
            Some(first) => match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
                Some(symbol) => (Token::Symbol(symbol), symbol.len()),
                None => return Err(syntax(at, "a column, a literal or an operator", first)),
            },
        };
        found.push((at, token));
        rest = &rest[length..];
    }
}

/// A quoted text with doubled quotes inside, and how many bytes of `rest` it takes.
fn quoted(rest: &str, quote: char, at: usize) -> Result<(String, usize), Error> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((index, c)) = chars.next() {
        if c != quote {
            text.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            text.push(quote);
        } else {
            return Ok((text, index + quote.len_utf8()));
        }
    }
    Err(Error::Syntax {
        at,
        wanted: "a closing quote",
        found: "the end".to_owned(),
    })
}

fn number(rest: &str, at: usize) -> Result<(Token, usize), Error> {
    let mut end = 0;
    let mut previous = ' ';
    for (index, c) in rest.char_indices() {
        let sign = (c == '-' || c == '+') && (index == 0 || matches!(previous, 'e' | 'E'));
        if !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || sign) {
            break;
        }
        previous = c;
        end = index + c.len_utf8();
    }
    let text = &rest[..end];
    // `inf` and `nan` begin with letters and never come here, `-inf` does.
    let shape = text
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+'));
    if !shape || text.parse::<f64>().is_err() {
        return Err(syntax(at, "a number", text));
    }
    Ok((Token::Number(text.trim_start_matches('+').to_owned()), end))
}

fn syntax(at: usize, wanted: &'static str, found: impl std::fmt::Display) -> Error {
    Error::Syntax {
        at,
        wanted,
        found: format!("`{found}`"),
    }
}

/// Reads a text token by token.
pub(in crate::rewrite) struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

impl Parser {
    pub(in crate::rewrite) fn new(text: &str) -> Result<Self, Error> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::TooLong {
                max: TEXT_BYTES_MAX,
            });
        }
        Ok(Self {
            tokens: tokens(text)?,
            next: 0,
            depth: 0,
        })
    }

    pub(in crate::rewrite) fn end(&self, wanted: &'static str) -> Result<(), Error> {
        match self.peek() {
            Token::End => Ok(()),
            _ => Err(self.unexpected(wanted)),
        }
    }

    /// The next token, when it is a whole number of 32 bits above zero.
    pub(in crate::rewrite) fn count(&mut self) -> Option<u32> {
        let Token::Number(text) = self.peek() else {
            return None;
        };
        let count = text.parse().ok().filter(|count| *count > 0)?;
        self.next += 1;
        Some(count)
    }

    /// The last token is `End`, which is never passed.
    fn peek(&self) -> &Token {
        &self.tokens[self.next].1
    }

    pub(in crate::rewrite) fn unexpected(&self, wanted: &'static str) -> Error {
        let (at, token) = &self.tokens[self.next];
        match token {
            Token::End => Error::Syntax {
                at: *at,
                wanted,
                found: "the end".to_owned(),
            },
            Token::Word(text) | Token::Quoted(text) | Token::Text(text) | Token::Number(text) => {
                syntax(*at, wanted, text)
            }
            Token::Symbol(text) => syntax(*at, wanted, text),
        }
    }

    pub(in crate::rewrite) fn keyword(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case(keyword));
        self.next += usize::from(found);
        found
    }

    pub(in crate::rewrite) fn symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(next) if *next == symbol);
        self.next += usize::from(found);
        found
    }

    pub(in crate::rewrite) fn wanted(
        &mut self,
        found: bool,
        wanted: &'static str,
    ) -> Result<(), Error> {
        if found {
            Ok(())
        } else {
            Err(self.unexpected(wanted))
        }
    }

    fn any(&mut self) -> Result<Node, Error> {
        let mut nodes = vec![self.all()?];
        while self.keyword("or") {
            nodes.push(self.all()?);
        }
        Ok(Node::Any(nodes))
    }

    fn all(&mut self) -> Result<Node, Error> {
        let mut nodes = vec![self.one()?];
        while self.keyword("and") {
            nodes.push(self.one()?);
        }
        Ok(Node::All(nodes))
    }

    fn one(&mut self) -> Result<Node, Error> {
        if self.depth == DEPTH_MAX {
            return Err(Error::TooDeep { max: DEPTH_MAX });
        }
        self.depth += 1;
        let node = if self.keyword("not") {
            Node::Not(Box::new(self.one()?))
        } else if self.symbol("(") {
            let inner = self.any()?;
            let closed = self.symbol(")");
            self.wanted(closed, "`and`, `or` or `)`")?;
            inner
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(node)
    }

    fn test(&mut self) -> Result<Node, Error> {
        let column = self.column("a column, `not` or `(`")?;
        let test = if self.keyword("is") {
            let not = self.keyword("not");
            let null = self.keyword("null");
            self.wanted(null, "`null`")?;
            if not { Test::NotNull } else { Test::IsNull }
        } else {
            let not = self.keyword("not");
            let test = if self.keyword("in") {
                Test::In(self.list()?)
            } else if self.keyword("like") {
                Test::StartsWith(self.prefix()?)
            } else if not {
                return Err(self.unexpected("`in` or `like`"));
            } else {
                Test::Compare(self.comparison()?, self.literal()?)
            };
            if not { test.negated() } else { test }
        };
        Ok(Node::Test { column, test })
    }

    pub(in crate::rewrite) fn column(&mut self, wanted: &'static str) -> Result<String, Error> {
        let mut column = String::new();
        loop {
            match self.peek() {
                Token::Word(word) if !KEYWORDS.contains(&word.to_ascii_lowercase().as_str()) => {
                    column.push_str(word);
                }
                Token::Quoted(name) => column.push_str(name),
                _ => return Err(self.unexpected(wanted)),
            }
            self.next += 1;
            if !self.symbol(".") {
                return Ok(column);
            }
            column.push('.');
        }
    }

    fn comparison(&mut self) -> Result<Comparison, Error> {
        let comparison = match self.peek() {
            Token::Symbol("=") => Comparison::Eq,
            Token::Symbol("!=" | "<>") => Comparison::Ne,
            Token::Symbol("<") => Comparison::Lt,
            Token::Symbol("<=") => Comparison::Le,
            Token::Symbol(">") => Comparison::Gt,
            Token::Symbol(">=") => Comparison::Ge,
            _ => return Err(self.unexpected("a comparison, `in`, `is` or `like`")),
        };
        self.next += 1;
        Ok(comparison)
    }

    fn list(&mut self) -> Result<Vec<Word>, Error> {
        let open = self.symbol("(");
        self.wanted(open, "`(`")?;
        let mut values = vec![self.literal()?];
        while self.symbol(",") {
            values.push(self.literal()?);
        }
        let closed = self.symbol(")");
        self.wanted(closed, "`,` or `)`")?;
        Ok(values)
    }

    fn literal(&mut self) -> Result<Word, Error> {
        let word = match self.peek() {
            Token::Number(text) => Word::Number(text.clone()),
            Token::Text(text) => Word::Text(text.clone()),
            Token::Word(word) if word.eq_ignore_ascii_case("true") => Word::Boolean(true),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => Word::Boolean(false),
            _ => {
                return Err(
                    self.unexpected("a number, a 'text', true or false (for null write `is null`)")
                );
            }
        };
        self.next += 1;
        Ok(word)
    }

    /// The text before the one `%` at the end of a pattern.
    fn prefix(&mut self) -> Result<Word, Error> {
        const WANTED: &str = "a pattern of the form 'prefix%'";
        let Token::Text(pattern) = self.peek() else {
            return Err(self.unexpected(WANTED));
        };
        match pattern.strip_suffix('%') {
            Some(prefix) if !prefix.contains(['%', '_', '\\']) => {
                let prefix = Word::Text(prefix.to_owned());
                self.next += 1;
                Ok(prefix)
            }
            _ => Err(self.unexpected(WANTED)),
        }
    }
}

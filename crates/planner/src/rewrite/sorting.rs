//! `strategy=sort` and `strategy=zorder`: what the rows of a group are ordered by.
//!
//! [`SortOptions`] is what was asked; bound to a table it becomes a [`Sorting`], which the plan
//! carries and the executor follows without another look at the table.

use std::fmt;

use metadata::{Field, Primitive, Schema, SortField, SortOrder, TableMetadata, Transform, Type};
use serde::{Deserialize, Serialize};

use super::filter::{Error, Parser, kind};
use super::options::asked;
use crate::BadOption;
use crate::option::Asked;

/// Columns that rows are ordered by, at most.
const COLUMNS_MAX: usize = 32;
/// Bytes of a text or of bytes that a z-order value is made of, as in Spark's procedure.
const VAR_LENGTH_DEFAULT: usize = 8;
const VAR_LENGTH_MAX: usize = 1_024;
/// Digits of a decimal whose unscaled value fits into the eight bytes a z-order value has for it.
const ZORDER_DIGITS_MAX: u32 = 18;

/// How the rows of a group are arranged in its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// As they were.
    Binpack,
    Sort,
    Zorder,
}

impl Strategy {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Binpack, "binpack"),
        (Self::Sort, "sort"),
        (Self::Zorder, "zorder"),
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Binpack => "binpack",
            Self::Sort => "sort",
            Self::Zorder => "zorder",
        }
    }
}

/// What rows are ordered by, over a whole group and within each partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "strategy", rename_all = "snake_case")]
pub enum Sorting {
    Sort {
        keys: Vec<SortKey>,
        /// The table's sort order the outputs have; 0 when it is none of the table's.
        sort_order_id: i32,
    },
    Zorder {
        columns: Vec<ZorderColumn>,
        var_length_bytes: usize,
        /// Bytes of a z-order value that are compared; `None` = all.
        value_bytes_max: Option<usize>,
    },
}

/// One key, most significant first: a transform of a top-level column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SortKey {
    pub field_id: i32,
    /// As it was named when the plan was made.
    pub column: String,
    /// As the specification writes it: `identity`, `bucket[16]`.
    pub transform: String,
    pub descending: bool,
    pub nulls_first: bool,
}

/// One top-level column whose bits are interleaved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZorderColumn {
    pub field_id: i32,
    /// As it was named when the plan was made.
    pub column: String,
}

impl Sorting {
    /// The table's sort order the outputs have; 0 is none.
    pub fn order_id(&self) -> i32 {
        match self {
            Self::Sort { sort_order_id, .. } => *sort_order_id,
            Self::Zorder { .. } => 0,
        }
    }
}

impl fmt::Display for Sorting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sort { keys, .. } => {
                let keys: Vec<String> = keys.iter().map(SortKey::to_string).collect();
                f.write_str(&keys.join(", "))
            }
            Self::Zorder { columns, .. } => {
                let columns = columns.iter().map(|column| column.column.as_str());
                write!(f, "zorder({})", columns.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl fmt::Display for SortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transform.as_str() {
            "identity" => f.write_str(&self.column)?,
            transform => write!(f, "{transform}({})", self.column)?,
        }
        let direction = if self.descending { "desc" } else { "asc" };
        let nulls = if self.nulls_first { "first" } else { "last" };
        write!(f, " {direction} nulls {nulls}")
    }
}

/// One key as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    column: String,
    transform: Transform,
    descending: bool,
    nulls_first: bool,
}

/// What was asked of the order of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct SortOptions {
    pub strategy: Strategy,
    /// `None` = the table's.
    order: Option<(String, Vec<Term>)>,
    columns: Option<(String, Vec<String>)>,
    var_length_bytes: Option<usize>,
    value_bytes_max: Option<usize>,
    /// Expected bytes after a rewrite, per byte before it; `None` = as earlier rewrites showed.
    pub(super) compression_factor: Option<f64>,
}

impl Default for SortOptions {
    fn default() -> Self {
        Self {
            strategy: Strategy::Binpack,
            order: None,
            columns: None,
            var_length_bytes: None,
            value_bytes_max: None,
            compression_factor: None,
        }
    }
}

impl SortOptions {
    /// Takes one option, unless it is none of these.
    pub(super) fn set(&mut self, option: Asked<'_>) -> Result<bool, BadOption> {
        let bytes_max = i32::MAX as usize;
        match option.key {
            "strategy" => self.strategy = option.one_of(&Strategy::ALL)?,
            "sort-order" => {
                let terms = terms(option.value).map_err(|why| option.refuse(why))?;
                self.order = Some((option.value.to_owned(), terms));
            }
            "zorder-columns" => {
                let columns = names(option.value).map_err(|why| option.refuse(why))?;
                self.columns = Some((option.value.to_owned(), columns));
            }
            "var-length-contribution" => {
                self.var_length_bytes = Some(option.number(1, VAR_LENGTH_MAX)?);
            }
            "max-output-size" => self.value_bytes_max = Some(option.number(1, bytes_max)?),
            "compression-factor" => self.compression_factor = Some(factor(option)?),
            "shuffle-partitions-per-file" => {
                let why = "has no meaning here: a group is sorted as a whole, without a shuffle";
                return Err(option.refuse(why));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether each option belongs to the strategy that was asked for.
    pub(super) fn check(&self) -> Result<(), BadOption> {
        use Strategy::{Sort, Zorder};
        let number = |number: Option<usize>| number.map(|number| number.to_string());
        let text = |of: Option<&String>| of.cloned();
        let factor = self.compression_factor.map(|factor| factor.to_string());
        let order = text(self.order.as_ref().map(|(text, _)| text));
        let columns = text(self.columns.as_ref().map(|(text, _)| text));
        for (key, value, of) in [
            ("sort-order", order, [Sort].as_slice()),
            ("zorder-columns", columns, &[Zorder]),
            (
                "var-length-contribution",
                number(self.var_length_bytes),
                &[Zorder],
            ),
            ("max-output-size", number(self.value_bytes_max), &[Zorder]),
            ("compression-factor", factor, &[Sort, Zorder]),
        ] {
            let Some(value) = value.filter(|_| !of.contains(&self.strategy)) else {
                continue;
            };
            let of: Vec<&str> = of.iter().map(|strategy| strategy.as_str()).collect();
            return Err(asked(key, &value).refuse(format!(
                "belongs to strategy {}; the strategy is {}",
                of.join(" or "),
                self.strategy.as_str()
            )));
        }
        if self.strategy == Zorder && self.columns.is_none() {
            let why = "needs the columns, as `zorder-columns`";
            return Err(asked("strategy", "zorder").refuse(why));
        }
        Ok(())
    }

    /// Finds the columns in the table's current schema.
    pub(super) fn bind(
        &self,
        table: &TableMetadata,
        output_spec_id: i32,
    ) -> Result<Option<Sorting>, BadOption> {
        let schema = table.current_schema();
        match (self.strategy, &self.order, &self.columns) {
            (Strategy::Sort, Some((text, terms)), _) => {
                let keys = terms.iter().map(|term| bound(term, schema));
                let keys = keys.collect::<Result<Vec<_>, String>>();
                let keys = keys.map_err(|why| asked("sort-order", text).refuse(why))?;
                let sort_order_id = id_of(&keys, table);
                Ok(Some(Sorting::Sort {
                    keys,
                    sort_order_id,
                }))
            }
            (Strategy::Sort, None, _) => of_table(table)
                .map(Some)
                .map_err(|why| asked("strategy", "sort").refuse(why)),
            (Strategy::Zorder, _, Some((text, columns))) => {
                let columns = zorder_columns(columns, table, output_spec_id);
                let columns = columns.map_err(|why| asked("zorder-columns", text).refuse(why))?;
                Ok(Some(Sorting::Zorder {
                    columns,
                    var_length_bytes: self.var_length_bytes.unwrap_or(VAR_LENGTH_DEFAULT),
                    value_bytes_max: self.value_bytes_max,
                }))
            }
            (Strategy::Binpack | Strategy::Zorder, ..) => Ok(None),
        }
    }
}

fn factor(option: Asked<'_>) -> Result<f64, BadOption> {
    match option.value.parse::<f64>() {
        Ok(factor) if factor > 0.0 && factor.is_finite() => Ok(factor),
        _ => Err(option.refuse("must be a number above 0")),
    }
}

/// `region asc nulls first, bucket(16, id) desc`.
fn terms(text: &str) -> Result<Vec<Term>, String> {
    let mut parser = Parser::new(text).map_err(|why| why.to_string())?;
    let mut terms = Vec::new();
    loop {
        terms.push(term(&mut parser).map_err(|why| why.to_string())?);
        if !parser.symbol(",") {
            break;
        }
    }
    let end = parser.end("`asc`, `desc`, `nulls`, a comma or the end");
    end.map_err(|why| why.to_string())?;
    let twice = |at: usize| {
        let (term, before) = (&terms[at], &terms[..at]);
        let same =
            |other: &Term| (&other.column, &other.transform) == (&term.column, &term.transform);
        before.iter().any(same)
    };
    if let Some(at) = (0..terms.len()).find(|at| twice(*at)) {
        return Err(format!("names `{}` twice", terms[at].column));
    }
    few(terms)
}

fn few<T>(columns: Vec<T>) -> Result<Vec<T>, String> {
    match columns.len() {
        0..=COLUMNS_MAX => Ok(columns),
        many => Err(format!(
            "has {many} columns, at most {COLUMNS_MAX} are allowed"
        )),
    }
}

fn term(parser: &mut Parser) -> Result<Term, Error> {
    let (column, transform) = reference(parser)?;
    let descending = parser.keyword("desc");
    if !descending {
        parser.keyword("asc");
    }
    let nulls_first = if parser.keyword("nulls") {
        let first = parser.keyword("first");
        let said = first || parser.keyword("last");
        parser.wanted(said, "`first` or `last`")?;
        first
    } else {
        !descending
    };
    Ok(Term {
        column,
        transform,
        descending,
        nulls_first,
    })
}

/// A column, or a transform of one: `bucket(16, id)` and `truncate(4, name)` in either order.
fn reference(parser: &mut Parser) -> Result<(String, Transform), Error> {
    const TRANSFORMS: &str = "bucket, truncate, year, month, day, hour or identity before `(`";
    let name = parser.column("a column")?;
    if !parser.symbol("(") {
        return Ok((name, Transform::Identity));
    }
    let name = name.to_ascii_lowercase();
    let sized = matches!(name.as_str(), "bucket" | "truncate");
    let mut size = None;
    if sized {
        size = parser.count();
        if size.is_some() {
            let comma = parser.symbol(",");
            parser.wanted(comma, "`,`")?;
        }
    }
    let column = parser.column("a column")?;
    if sized && size.is_none() {
        let comma = parser.symbol(",");
        parser.wanted(comma, "`,`")?;
        size = parser.count();
    }
    let transform = match (name.as_str(), size) {
        ("bucket", Some(count)) => Transform::Bucket(count),
        ("truncate", Some(width)) => Transform::Truncate(width),
        ("identity", _) => Transform::Identity,
        ("year" | "years", _) => Transform::Year,
        ("month" | "months", _) => Transform::Month,
        ("day" | "days" | "date", _) => Transform::Day,
        ("hour" | "hours", _) => Transform::Hour,
        ("bucket" | "truncate", None) => return Err(parser.unexpected("a whole number above 0")),
        _ => return Err(parser.unexpected(TRANSFORMS)),
    };
    let closed = parser.symbol(")");
    parser.wanted(closed, "`)`")?;
    Ok((column, transform))
}

fn names(text: &str) -> Result<Vec<String>, String> {
    let mut parser = Parser::new(text).map_err(|why| why.to_string())?;
    let mut names = Vec::new();
    loop {
        let name = parser.column("a column").map_err(|why| why.to_string())?;
        if names.contains(&name) {
            return Err(format!("names `{name}` twice"));
        }
        names.push(name);
        if !parser.symbol(",") {
            break;
        }
    }
    let end = parser.end("a comma or the end");
    end.map_err(|why| why.to_string())?;
    few(names)
}

/// A top-level column of one value, by its name.
fn column<'a>(name: &str, schema: &'a Schema) -> Result<(&'a Field, &'a Primitive), String> {
    let fields = &schema.root.fields;
    let Some(field) = fields.iter().find(|field| field.name == name) else {
        let mut nested = None;
        schema.walk(&mut |field| {
            if schema.name_of(field.id).as_deref() == Some(name) {
                nested = Some(kind(&field.ty));
            }
        });
        return Err(if let Some(kind) = nested {
            format!(
                "column `{name}` is {kind} inside another column; rows are ordered by top-level columns \
                 only"
            )
        } else {
            let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            format!(
                "unknown column `{name}`; the columns are {}",
                names.join(", ")
            )
        });
    };
    match &field.ty {
        Type::Primitive(ty) if !matches!(ty, Primitive::Other(_)) => Ok((field, ty)),
        ty => Err(format!(
            "column `{name}` is {}, which has no order",
            kind(ty)
        )),
    }
}

fn bound(term: &Term, schema: &Schema) -> Result<SortKey, String> {
    let (field, ty) = column(&term.column, schema)?;
    if !term.transform.takes(ty) {
        let (transform, column) = (&term.transform, &term.column);
        return Err(format!(
            "{transform} is not defined on column `{column}`, which is {ty}"
        ));
    }
    Ok(SortKey {
        field_id: field.id,
        column: field.name.clone(),
        transform: term.transform.to_string(),
        descending: term.descending,
        nulls_first: term.nulls_first,
    })
}

/// The table's default sort order, when these keys are it.
fn id_of(keys: &[SortKey], table: &TableMetadata) -> i32 {
    let same = |(key, field): (&SortKey, &SortField)| {
        key.field_id == field.source_id
            && key.transform == field.transform.to_string()
            && key.descending == field.descending
            && key.nulls_first == field.nulls_first
    };
    default_order(table)
        .filter(|order| order.fields.len() == keys.len())
        .filter(|order| keys.iter().zip(&order.fields).all(same))
        .map_or(0, |order| order.order_id)
}

/// `None`: rows have no order.
fn default_order(table: &TableMetadata) -> Option<&SortOrder> {
    let id = table.default_sort_order_id();
    let order = table
        .sort_orders()
        .iter()
        .find(|order| order.order_id == id);
    order.filter(|order| !order.fields.is_empty())
}

fn of_table(table: &TableMetadata) -> Result<Sorting, String> {
    let Some(order) = default_order(table) else {
        return Err("the table has no sort order; one is given as `sort-order`".to_owned());
    };
    let schema = table.current_schema();
    let key = |field: &SortField| {
        let Some(column) = schema.name_of(field.source_id) else {
            return Err(format!(
                "a column of the table's sort order (field id {}) was dropped",
                field.source_id
            ));
        };
        let (transform, descending, nulls_first) =
            (field.transform.clone(), field.descending, field.nulls_first);
        let term = Term {
            column,
            transform,
            descending,
            nulls_first,
        };
        bound(&term, schema).map_err(|why| format!("the table's sort order: {why}"))
    };
    Ok(Sorting::Sort {
        keys: order.fields.iter().map(key).collect::<Result<_, _>>()?,
        sort_order_id: order.order_id,
    })
}

/// As in Spark's procedure, a column whose values are the same in a whole partition is left out.
fn zorder_columns(
    names: &[String],
    table: &TableMetadata,
    output_spec_id: i32,
) -> Result<Vec<ZorderColumn>, String> {
    let spec = table.spec(output_spec_id);
    let constant = |id: i32| {
        let mut fields = spec.iter().flat_map(|spec| &spec.fields);
        fields.any(|field| field.source_id == id && field.transform == Transform::Identity)
    };
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let (field, ty) = column(name, table.current_schema())?;
        if let Primitive::Decimal { precision, .. } = ty
            && *precision > ZORDER_DIGITS_MAX
        {
            return Err(format!(
                "column `{name}` is {ty}; decimals of more than {ZORDER_DIGITS_MAX} digits are not z-ordered"
            ));
        }
        if !constant(field.id) {
            columns.push(ZorderColumn {
                field_id: field.id,
                column: field.name.clone(),
            });
        }
    }
    if columns.is_empty() {
        return Err("all of them are identity partition columns, whose values are the same in a whole partition".to_owned());
    }
    Ok(columns)
}

//! From names to column ids, from literals to values, and `not` pushed down to the tests.

use metadata::{Field, Literal, Primitive, Schema, Type};

use super::literal::{typed, wanted};
use super::{Comparison, Error, Filter, Node, Test, Word};

/// An expression over the columns of one schema, without `not`.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    pub(super) node: BoundNode,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum BoundNode {
    All(Vec<BoundNode>),
    Any(Vec<BoundNode>),
    Test { column: Column, test: Test<Literal> },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) id: i32,
    pub(super) ty: Primitive,
    /// Inside a struct: a null struct makes it null without being counted as such.
    pub(super) nested: bool,
}

/// A column that can be tested, by its full name.
struct Named<'a> {
    name: String,
    field: &'a Field,
    nested: bool,
}

impl Filter {
    /// Finds the columns and reads the literals as values of their types.
    pub fn bind(&self, schema: &Schema) -> Result<Bound, Error> {
        let mut columns = Vec::new();
        name_columns(&schema.root.fields, "", &mut columns);
        Ok(Bound {
            node: bind(&self.node, &columns, false)?,
        })
    }
}

fn name_columns<'a>(fields: &'a [Field], prefix: &str, columns: &mut Vec<Named<'a>>) {
    for field in fields {
        let name = format!("{prefix}{}", field.name);
        if let Type::Struct(inner) = &field.ty {
            name_columns(&inner.fields, &format!("{name}."), columns);
        }
        columns.push(Named {
            name,
            field,
            nested: !prefix.is_empty(),
        });
    }
}

/// `not` of a three-valued expression is true exactly when every test under it is turned around.
fn bind(node: &Node, columns: &[Named<'_>], negated: bool) -> Result<BoundNode, Error> {
    let all = |nodes: &[Node]| -> Result<Vec<BoundNode>, Error> {
        nodes
            .iter()
            .map(|node| bind(node, columns, negated))
            .collect()
    };
    match node {
        Node::All(nodes) if negated => all(nodes).map(BoundNode::Any),
        Node::All(nodes) => all(nodes).map(BoundNode::All),
        Node::Any(nodes) if negated => all(nodes).map(BoundNode::All),
        Node::Any(nodes) => all(nodes).map(BoundNode::Any),
        Node::Not(node) => bind(node, columns, !negated),
        Node::Test { column, test } => {
            let named = find(column, columns)?;
            let Type::Primitive(ty) = &named.field.ty else {
                let kind = kind(&named.field.ty);
                let why = "only columns of primitive types can be tested";
                return Err(Error::Unusable {
                    column: column.clone(),
                    kind,
                    why,
                });
            };
            let test = bind_test(column, ty, test)?;
            let test = if negated { test.negated() } else { test };
            let column = Column {
                id: named.field.id,
                ty: ty.clone(),
                nested: named.nested,
            };
            Ok(BoundNode::Test { column, test })
        }
    }
}

fn find<'a, 'b>(column: &str, columns: &'a [Named<'b>]) -> Result<&'a Named<'b>, Error> {
    columns
        .iter()
        .find(|named| named.name == column)
        .ok_or_else(|| {
            let names: Vec<&str> = columns.iter().map(|named| named.name.as_str()).collect();
            Error::UnknownColumn {
                column: column.to_owned(),
                columns: names.join(", "),
            }
        })
}

/// A type for people.
pub(in crate::rewrite) fn kind(ty: &Type) -> String {
    match ty {
        Type::Primitive(primitive) => primitive.to_string(),
        Type::Struct(_) => "a struct".to_owned(),
        Type::List { .. } => "a list".to_owned(),
        Type::Map { .. } => "a map".to_owned(),
    }
}

fn bind_test(column: &str, ty: &Primitive, test: &Test<Word>) -> Result<Test<Literal>, Error> {
    let unusable = |why| Error::Unusable {
        column: column.to_owned(),
        kind: ty.to_string(),
        why,
    };
    let value = |word: &Word| -> Result<Literal, Error> {
        let wanted =
            wanted(ty).ok_or_else(|| unusable("only `is null` and `is not null` can be asked"))?;
        typed(ty, word).ok_or_else(|| Error::Literal {
            column: column.to_owned(),
            kind: ty.to_string(),
            value: word.as_written().to_owned(),
            wanted,
        })
    };
    let values = |words: &[Word]| words.iter().map(value).collect::<Result<Vec<_>, _>>();
    let prefix = |word: &Word| match ty {
        Primitive::String => value(word),
        _ => Err(unusable("`like` needs a string")),
    };
    let is_ordered = |comparison: &Comparison| {
        matches!(comparison, Comparison::Eq | Comparison::Ne) || *ty != Primitive::Uuid
    };
    Ok(match test {
        // Java orders UUIDs as pairs of signed numbers, the specification as bytes.
        Test::Compare(comparison, _) if !is_ordered(comparison) => {
            return Err(unusable("only =, !=, `in` and `is null` can be asked"));
        }
        Test::Compare(comparison, word) => Test::Compare(*comparison, value(word)?),
        Test::In(words) => Test::In(values(words)?),
        Test::NotIn(words) => Test::NotIn(values(words)?),
        Test::IsNull => Test::IsNull,
        Test::NotNull => Test::NotNull,
        Test::StartsWith(word) => Test::StartsWith(prefix(word)?),
        Test::NotStartsWith(word) => Test::NotStartsWith(prefix(word)?),
    })
}

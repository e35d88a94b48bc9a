//! The columns equality deletes compare: found by field id in every schema the table ever had,
//! for rows of dropped columns are compared too, and values of widened ones are the same values.

use metadata::{Field, Primitive, TableMetadata, Type};

/// The column with `id` as an equality delete compares it: under the newest schema's name that has
/// it and the widest type it ever had, never required; or why it cannot be compared.
pub fn key_column(table: &TableMetadata, id: i32) -> Result<Field, String> {
    let newest_first = std::iter::once(table.current_schema()).chain(table.schemas().iter().rev());
    let mut key: Option<(String, Primitive)> = None;
    for schema in newest_first {
        let Some(field) = schema.field(id) else {
            continue;
        };
        if !schema.root.fields.iter().any(|top| top.id == id) {
            return Err(format!(
                "compares {} (field id {id}), which is inside another column",
                field.name
            ));
        }
        let Type::Primitive(ty) = &field.ty else {
            return Err(format!(
                "compares {} (field id {id}), which is no single value",
                field.name
            ));
        };
        key = Some(match key {
            None => (field.name.clone(), ty.clone()),
            Some((name, known)) => match wider(&known, ty) {
                Some(ty) => (name, ty),
                None => {
                    return Err(format!(
                        "compares {name} (field id {id}), which was once {ty} and is {known}"
                    ));
                }
            },
        });
    }
    let (name, ty) = key.ok_or_else(|| format!("compares field id {id}, which no schema has"))?;
    Ok(Field::new(id, name, false, Type::Primitive(ty)))
}

/// Of two types of one column the one that holds all values of both (specification, "Schema
/// Evolution").
fn wider(a: &Primitive, b: &Primitive) -> Option<Primitive> {
    let widens = |from: &Primitive, to: &Primitive| match (from, to) {
        (Primitive::Int, Primitive::Long) | (Primitive::Float, Primitive::Double) => true,
        (
            Primitive::Decimal {
                precision: from,
                scale: from_scale,
            },
            Primitive::Decimal {
                precision: to,
                scale: to_scale,
            },
        ) => from <= to && from_scale == to_scale,
        (from, to) => from == to,
    };
    if widens(a, b) {
        Some(b.clone())
    } else {
        widens(b, a).then(|| a.clone())
    }
}

//! Whether a schema change leaves files written under the old schema right.

use metadata::{Field, Schema, Type};

/// `None` when `new` only adds optional fields to `old`; else what it does beyond that.
pub(super) fn beyond_additive(old: &Schema, new: &Schema) -> Option<String> {
    fields(&old.root.fields, &new.root.fields, "")
}

fn fields(old: &[Field], new: &[Field], parent: &str) -> Option<String> {
    for field in old {
        let name = format!("{parent}{}", field.name);
        let Some(now) = new.iter().find(|now| now.id == field.id) else {
            return Some(format!("column {name} was dropped"));
        };
        if let Some(why) = changed(field, now, &name) {
            return Some(why);
        }
    }
    let known = |field: &&Field| !old.iter().any(|known| known.id == field.id);
    let added = new
        .iter()
        .filter(known)
        .find(|field| field.required || field.initial_default.is_some());
    added.map(|field| {
        format!(
            "column {parent}{} was added as required or with a default",
            field.name
        )
    })
}

fn changed(old: &Field, new: &Field, name: &str) -> Option<String> {
    if old.name != new.name {
        return Some(format!("column {name} was renamed to {}", new.name));
    }
    if old.required != new.required {
        return Some(format!(
            "column {name} is now {}",
            if new.required { "required" } else { "optional" }
        ));
    }
    match (&old.ty, &new.ty) {
        (Type::Primitive(old), Type::Primitive(new)) if old == new => None,
        (Type::Struct(old), Type::Struct(new)) => {
            fields(&old.fields, &new.fields, &format!("{name}."))
        }
        (Type::List { element: old }, Type::List { element: new }) => {
            same_id(old, new, name).or_else(|| changed(old, new, &format!("{name}.element")))
        }
        (
            Type::Map {
                key: old_key,
                value: old,
            },
            Type::Map {
                key: new_key,
                value: new,
            },
        ) => same_id(old_key, new_key, name)
            .or_else(|| same_id(old, new, name))
            .or_else(|| changed(old_key, new_key, &format!("{name}.key")))
            .or_else(|| changed(old, new, &format!("{name}.value"))),
        _ => Some(format!("column {name} changed its type")),
    }
}

fn same_id(old: &Field, new: &Field, name: &str) -> Option<String> {
    (old.id != new.id).then(|| format!("column {name} changed its type"))
}

#[cfg(test)]
mod tests {
    use metadata::{Primitive, StructType};

    use super::*;

    fn long(id: i32, name: &str, required: bool) -> Field {
        Field::new(id, name, required, Type::Primitive(Primitive::Long))
    }

    fn group(fields: Vec<Field>) -> Field {
        Field::new(9, "s", false, Type::Struct(StructType { fields }))
    }

    fn check(old: Vec<Field>, new: Vec<Field>, want: Option<&str>) {
        let schema = |fields| Schema {
            schema_id: 0,
            root: StructType { fields },
            identifier_field_ids: vec![],
        };
        let got = beyond_additive(&schema(old), &schema(new));
        match want {
            None => assert_eq!(got, None),
            Some(want) => assert!(
                got.as_deref().is_some_and(|got| got.contains(want)),
                "{got:?}"
            ),
        }
    }

    #[test]
    fn only_added_optional_fields_are_additive() {
        let a = || long(1, "a", true);
        check(vec![a()], vec![a()], None);
        check(vec![a()], vec![long(2, "b", false), a()], None);
        check(
            vec![group(vec![a()])],
            vec![group(vec![a(), long(2, "b", false)])],
            None,
        );
        check(vec![a()], vec![a(), long(2, "b", true)], Some("required"));
        check(vec![a()], vec![], Some("dropped"));
        check(vec![a()], vec![long(1, "b", true)], Some("renamed"));
        check(vec![a()], vec![long(1, "a", false)], Some("optional"));
        // Dropped and added again under the same name is another column.
        check(vec![a()], vec![long(2, "a", false)], Some("dropped"));
        let double = Field::new(1, "a", true, Type::Primitive(Primitive::Double));
        check(vec![a()], vec![double], Some("type"));
        check(
            vec![group(vec![a()])],
            vec![group(vec![])],
            Some("s.a was dropped"),
        );
    }
}

//! Damage to JSON that stays JSON: a value somewhere in it becomes another, goes, or comes twice.

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::raw::number;

/// Deeper than any parser may go.
const DEPTH: usize = 200;
const WORDS: [&str; 12] = [
    "",
    "main",
    "struct",
    "list",
    "map",
    "decimal(38, 38)",
    "fixed[99999999999]",
    "bucket[2147483647]",
    "truncate[0]",
    "void",
    "tag",
    "\u{0}\u{202e}/../x",
];

/// Damages one value of a document; bytes that are no JSON are left alone.
pub(crate) fn damage(rng: &mut StdRng, text: &mut Vec<u8>) {
    let Ok(mut document) = serde_json::from_slice::<Value>(text) else {
        return;
    };
    let count = count(&document);
    let donor = rng.random_range(0..count);
    let donor = nth(&mut document, donor).cloned().unwrap_or_default();
    if let Some(victim) = nth(&mut document, rng.random_range(0..count)) {
        change(rng, victim, donor);
    }
    *text = document.to_string().into_bytes();
}

fn change(rng: &mut StdRng, victim: &mut Value, donor: Value) {
    *victim = match (rng.random_range(0..10), victim.take()) {
        (0, _) => Value::Null,
        (1 | 2, _) => number(rng).into(),
        (3, _) => WORDS[rng.random_range(0..WORDS.len())].into(),
        (4, _) => donor,
        (5, _) => {
            let mut deep = donor;
            for _ in 0..rng.random_range(0..DEPTH) {
                deep = if rng.random() {
                    json!([deep])
                } else {
                    json!({"type": "list", "element-id": 1, "element": deep})
                };
            }
            deep
        }
        (_, Value::Array(mut list)) => {
            match rng.random_range(0..4) {
                0 => list.clear(),
                1 => drop(list.pop()),
                2 => list.extend(list.clone()),
                _ => list.push(donor),
            }
            list.into()
        }
        (_, Value::Object(mut object)) => {
            let keys: Vec<String> = object.keys().cloned().collect();
            if let Some(key) = keys.get(rng.random_range(0..keys.len().max(1))) {
                match rng.random_range(0..3) {
                    0 => drop(object.shift_remove(key)),
                    1 => drop(object.insert(key.clone(), donor)),
                    _ => drop(object.insert(key.clone(), number(rng).into())),
                }
            }
            object.into()
        }
        (_, Value::Number(old)) => {
            let step = [1, -1, 1 << 32][rng.random_range(0..3)];
            old.as_i64().map_or(0, |old| old.wrapping_add(step)).into()
        }
        (_, Value::String(old)) => old.repeat(rng.random_range(0..3)).into(),
        (_, Value::Bool(old)) => (!old).into(),
        (_, Value::Null) => donor,
    };
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(object) => object.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

/// The value of that number, counted from the root, parents first.
fn nth(value: &mut Value, at: usize) -> Option<&mut Value> {
    if at == 0 {
        return Some(value);
    }
    let mut left = at - 1;
    let children: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(object) => object.values_mut().collect(),
        _ => Vec::new(),
    };
    for child in children {
        let size = count(child);
        if left < size {
            return nth(child, left);
        }
        left -= size;
    }
    None
}

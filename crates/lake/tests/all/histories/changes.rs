//! Steps that change the table and no row: schema, spec, branches and tags, rollback.

use metadata::{Field, Primitive, RefKind, Type};
use serde_json::json;

use super::ID;
use super::table::History;

const SPECS: [&[&str]; 5] = [
    &[],
    &["region"],
    &["bucket"],
    &["truncate"],
    &["day", "bucket"],
];

impl History {
    pub(super) async fn change(&mut self) {
        match self.number(0, 6) {
            // Format 1 keeps removed fields as void ones, under names of the writer's choice.
            0 | 1 if self.format == 2 => self.spec_change().await,
            2 | 3 => self.ref_change().await,
            4 => self.rollback().await,
            _ => self.schema_change().await,
        }
    }

    async fn schema_change(&mut self) {
        let table = self.table().await;
        let fields = table.metadata.current_schema().root.fields.clone();
        // Columns partitions are made of stay: neither reader takes their loss.
        let specs = table.metadata.specs().iter();
        let sources: Vec<i32> = specs
            .flat_map(|spec| spec.fields.iter().map(|field| field.source_id))
            .collect();
        let free = |field: &&Field| field.id != ID && !sources.contains(&field.id);
        let free: Vec<Field> = fields.iter().filter(free).cloned().collect();
        let narrow =
            |field: &&Field| matches!(field.ty, Type::Primitive(Primitive::Int | Primitive::Float));
        let narrow: Vec<Field> = fields.iter().filter(narrow).cloned().collect();
        let how = self.number(0, 3);
        let asked = match how {
            0 if !narrow.is_empty() => {
                let field = self.one(&narrow);
                let wide = match field.ty {
                    Type::Primitive(Primitive::Int) => "long",
                    _ => "double",
                };
                json!({"how": "promote", "column": field.name, "type": wide})
            }
            1 if free.len() > 2 => {
                json!({"how": "drop", "column": self.one(&free).name})
            }
            2 if !free.is_empty() => {
                let (column, to) = (self.one(&free).name, self.name("renamed"));
                json!({"how": "rename", "column": column, "to": to})
            }
            _ => {
                let (column, ty) = (self.name("added"), self.one(&["long", "double", "string"]));
                json!({"how": "add", "column": column, "type": ty})
            }
        };
        self.say(&format!("schema: {asked}"));
        self.ask("schema", asked);
        self.count("schema change");
    }

    async fn spec_change(&mut self) {
        let table = self.table().await;
        let schema = table.metadata.current_schema();
        // Dropped columns are never made anew, so a name that is there is the column meant.
        let has = |id: i32, name: &str| schema.field(id).is_some_and(|field| field.name == name);
        let usable = |spec: &&&[&str]| {
            spec.iter().all(|field| match *field {
                "region" => has(3, "region"),
                "day" => has(5, "day"),
                "truncate" => has(6, "note"),
                _ => true,
            })
        };
        let usable: Vec<&[&str]> = SPECS.iter().filter(usable).copied().collect();
        let fields = self.one(&usable);
        self.say(&format!("spec: {fields:?}"));
        self.ask("spec", json!({"fields": fields}));
        self.count("spec change");
    }

    async fn ref_change(&mut self) {
        let table = self.table().await;
        let snapshots = table.metadata.snapshots();
        let ids: Vec<i64> = snapshots.iter().map(|known| known.snapshot_id).collect();
        if ids.is_empty() {
            return;
        }
        let refs = table.metadata.refs().iter();
        let others: Vec<_> = refs
            .filter(|(name, _)| *name != "main")
            .map(|(name, found)| (name.clone(), found.kind))
            .collect();
        if !others.is_empty() && self.chance(0.4) {
            let (name, kind) = self.one(&others);
            let how = if kind == RefKind::Tag {
                "drop tag"
            } else {
                "drop branch"
            };
            self.say(&format!("{how} {name}"));
            self.ask("refs", json!({"how": how, "name": name}));
            self.count("drop of a ref");
            return;
        }
        let (how, id) = (self.one(&["branch", "tag"]), self.one(&ids));
        let name = self.name(how);
        self.say(&format!("{how} {name} at snapshot {id}"));
        self.ask("refs", json!({"how": how, "name": name, "snapshot_id": id}));
        self.count(how);
    }

    async fn rollback(&mut self) {
        let table = self.table().await;
        let Some(current) = table.metadata.current_snapshot() else {
            return;
        };
        let history = table.metadata.history(current.snapshot_id);
        let known: Vec<i64> = history
            .map(|snapshot| snapshot.snapshot_id)
            .filter(|id| self.states.contains_key(id))
            .collect();
        let id = self.one(&known);
        self.say(&format!("rollback to snapshot {id}"));
        self.ask("refs", json!({"how": "rollback", "snapshot_id": id}));
        self.now = self.states[&id].clone();
        self.count("rollback");
    }
}

//! One namespace: what the catalog lists against what the cache holds.

use std::collections::HashSet;

use catalog::{Catalog, Listed};
use futures::{FutureExt, StreamExt, stream};
use maintenance::inventory::{self as cache, Base, Change, Content, FailedNamespace, Known};
use model::TableName;
use policy::{Defaults, Properties, Source};

use super::{Allow, Rule};
use crate::Error;

/// Tables compared, and changes staged, in one step.
const STEP: usize = 500;
/// Tables of one namespace whose metadata is read at once.
const LOADS_AT_ONCE: usize = 4;
/// Of an error, so many characters are kept.
const ERROR_CHARS_MAX: usize = 1_000;

/// What a pass works with.
pub(super) struct Look<'a> {
    pub(super) pool: &'a pg::Pool,
    pub(super) catalog: &'a dyn Catalog,
    pub(super) allow: &'a Allow,
    pub(super) base: &'a Base,
}

/// What was found to be different, in numbers.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Entries of the cache as the pass began.
    pub(super) before: u64,
    pub(super) staged: u64,
    pub(super) loaded: u64,
    pub(super) changed: u64,
    pub(super) gone: u64,
    /// Of those gone, the ones the rules would still let in.
    pub(super) lost: u64,
    pub(super) left_out: u64,
    pub(super) unreadable: u64,
    pub(super) failed_namespaces: Vec<FailedNamespace>,
}

impl Found {
    pub(super) fn add(&mut self, other: Self) {
        self.before += other.before;
        self.staged += other.staged;
        self.loaded += other.loaded;
        self.changed += other.changed;
        self.gone += other.gone;
        self.lost += other.lost;
        self.left_out += other.left_out;
        self.unreadable += other.unreadable;
        self.failed_namespaces.extend(other.failed_namespaces);
    }
}

/// A listed table that a rule lets in.
struct Wanted {
    listed: Listed,
    rule: Rule,
}

/// How a table stands after it was looked at.
#[derive(Default)]
struct Seen {
    change: Option<Change>,
    loaded: bool,
    unreadable: bool,
    /// Dropped since it was listed.
    vanished: Option<String>,
}

impl Look<'_> {
    /// Compares one namespace with the cache and stages what differs. A catalog that fails is
    /// part of what is found.
    pub(super) async fn namespace(
        &self,
        database: &str,
        namespace: &[String],
    ) -> Result<Found, Error> {
        let (listed, properties) = match self.list(namespace).await {
            Ok(listing) => listing,
            // Dropped since the namespaces were listed.
            Err(catalog::Error::NoSuchNamespace(_)) => return self.dropped(database).await,
            Err(error) => {
                let failed = FailedNamespace {
                    namespace: database.to_owned(),
                    error: short(&runtime::chain(&error)),
                    since: None,
                };
                return Ok(Found {
                    failed_namespaces: vec![failed],
                    ..Found::default()
                });
            }
        };
        let mut found = Found::default();
        let mut wanted = Vec::new();
        for listed in listed {
            let verdict = self.allow.verdict(&listed.name);
            let rule = verdict.rule;
            if verdict.allowed {
                wanted.push(Wanted { listed, rule });
            } else {
                found.left_out += 1;
            }
        }
        let mut vanished = HashSet::new();
        for some in wanted.chunks(STEP) {
            vanished.extend(Box::pin(self.some(database, &properties, some, &mut found)).await?);
        }
        let kept: Vec<&str> = wanted
            .iter()
            .map(|one| one.listed.name.table())
            .filter(|name| !vanished.contains(*name))
            .collect();
        self.gone(database, namespace, &kept, &mut found).await?;
        Ok(found)
    }

    /// A database the catalog has no more.
    pub(super) async fn dropped(&self, database: &str) -> Result<Found, Error> {
        let mut found = Found::default();
        let table = TableName::from_columns(database, "t");
        let namespace = table.map_or_else(|_| Vec::new(), |table| table.namespace().to_vec());
        self.gone(database, &namespace, &[], &mut found).await?;
        Ok(found)
    }

    async fn list(
        &self,
        namespace: &[String],
    ) -> Result<(Vec<Listed>, Properties), catalog::Error> {
        let properties = self.catalog.namespace_properties(namespace).await?;
        let listed = self.catalog.tables(namespace).await?;
        Ok((listed, steering(&properties)))
    }

    /// Looks at some tables of one database; returns those that vanished meanwhile.
    async fn some(
        &self,
        database: &str,
        properties: &Properties,
        wanted: &[Wanted],
        found: &mut Found,
    ) -> Result<Vec<String>, Error> {
        let names: Vec<&str> = wanted.iter().map(|one| one.listed.name.table()).collect();
        let mut known = cache::known(&**self.pool.get().await?, database, &names).await?;
        let mut looks = Vec::with_capacity(wanted.len());
        for one in wanted {
            let known = known.remove(one.listed.name.table());
            looks.push(self.one(one, properties, known).boxed());
        }
        let mut seeing = stream::iter(looks).buffer_unordered(LOADS_AT_ONCE);
        let (mut changes, mut vanished) = (Vec::new(), Vec::new());
        while let Some(seen) = seeing.next().await {
            found.loaded += u64::from(seen.loaded);
            found.unreadable += u64::from(seen.unreadable);
            changes.extend(seen.change);
            vanished.extend(seen.vanished);
        }
        found.changed += changes.len() as u64;
        self.stage(&changes, found).await?;
        Ok(vanished)
    }

    /// Looks at one table; its metadata is read only when it moved or could not be read before.
    async fn one(&self, wanted: &Wanted, properties: &Properties, known: Option<Known>) -> Seen {
        let Listed {
            name,
            metadata_location,
        } = &wanted.listed;
        let mut seen = Seen::default();
        let before = known.as_ref().map(|known| &known.content);
        let unmoved = before.filter(|before| {
            before.error.is_none()
                && metadata_location.is_some()
                && before.metadata_location == *metadata_location
        });
        let mut content = match unmoved {
            Some(unmoved) => unmoved.clone(),
            None => match self.catalog.load_listed(&wanted.listed).await {
                Ok(table) => {
                    seen.loaded = true;
                    read(&table)
                }
                Err(catalog::Error::NoSuchTable(_)) => {
                    seen.vanished = Some(name.table().to_owned());
                    return seen;
                }
                Err(error) => {
                    seen.unreadable = true;
                    let error = short(&runtime::chain(&error));
                    if before.is_none_or(|before| before.error.as_ref() != Some(&error)) {
                        tracing::warn!(table = %name, error, "metadata cannot be read");
                    }
                    Content {
                        error: Some(error),
                        ..before.cloned().unwrap_or_default()
                    }
                }
            },
        };
        content.rule = wanted.rule.to_string();
        content.database_properties.clone_from(properties);
        let next = Known {
            maintenance_enabled: enabled(&content),
            content,
        };
        if known.as_ref() != Some(&next) {
            seen.change = Some(Change::Put {
                table: name.clone(),
                maintenance_enabled: next.maintenance_enabled,
                content: Box::new(next.content),
            });
        }
        seen
    }

    /// Stages the removal of what the cache holds of `database` beside `kept`.
    async fn gone(
        &self,
        database: &str,
        namespace: &[String],
        kept: &[&str],
        found: &mut Found,
    ) -> Result<(), Error> {
        let gone = cache::gone(&**self.pool.get().await?, database, kept).await?;
        found.gone += gone.len() as u64;
        let still_let_in = |table: &&String| {
            TableName::new(namespace, table.as_str())
                .is_ok_and(|name| self.allow.verdict(&name).allowed)
        };
        found.lost += gone.iter().filter(still_let_in).count() as u64;
        for some in gone.chunks(STEP) {
            let changes: Vec<Change> = some
                .iter()
                .map(|table| Change::Gone {
                    database: database.to_owned(),
                    table: table.clone(),
                })
                .collect();
            self.stage(&changes, found).await?;
        }
        Ok(())
    }

    async fn stage(&self, changes: &[Change], found: &mut Found) -> Result<(), Error> {
        if !changes.is_empty() {
            let client = self.pool.get().await?;
            found.staged += cache::stage(&**client, self.base, changes).await?;
        }
        Ok(())
    }
}

/// What the cache keeps of a table; the document itself is let go.
fn read(table: &catalog::Table) -> Content {
    let metadata = &table.metadata;
    Content {
        metadata_location: Some(table.metadata_location.clone()),
        table_uuid: Some(metadata.uuid().to_owned()),
        location: Some(metadata.location().to_owned()),
        format_version: Some(metadata.format_version()),
        last_updated_ms: Some(metadata.last_updated_ms()),
        properties: steering(metadata.properties()),
        ..Content::default()
    }
}

/// Properties that steer maintenance, ours and Iceberg's.
fn steering(properties: &Properties) -> Properties {
    let steers = |name: &str| {
        policy::steers(name)
            || name == "gc.enabled"
            || name.starts_with("history.expire.")
            || name.starts_with("commit.manifest.")
    };
    let kept = properties.iter().filter(|(name, _)| steers(name));
    kept.map(|(name, value)| (storable(name), storable(value)))
        .collect()
}

/// What table and database say together. Unreadable is not said: the policy reports it.
fn enabled(content: &Content) -> Option<bool> {
    let defaults = Defaults::default();
    let effective = policy::effective(&defaults, &content.database_properties, &content.properties);
    let unreadable = |one: &policy::Unreadable| {
        one.property == "snowpack.maintenance_enabled" && one.source == Source::Table
    };
    if effective.unreadable.iter().any(unreadable) {
        return None;
    }
    effective.maintenance_enabled.value
}

fn short(error: &str) -> String {
    storable(error).chars().take(ERROR_CHARS_MAX).collect()
}

/// As it will be read back from jsonb, which holds no NUL: else it would look changed for ever.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

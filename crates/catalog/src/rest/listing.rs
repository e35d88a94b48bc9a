//! What a REST catalog has: namespaces, tables, and where the tables lie.
//!
//! Whoever deletes files asks where all tables lie, so a name that cannot be used is no name to pass over
//! there: it is an error.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use model::{Advice, TableName};
use reqwest::Method;

use super::answer::{Namespaces, Tables};
use super::client::Ask;
use super::trouble::Trouble;
use super::{PAGE_BYTES_MAX, RestCatalog, failed};
use crate::{Catalog as _, Error, Table, place};

/// Names asked for at once.
const PAGE_SIZE: &str = "1000";
/// Names of one listing.
const NAMES_MAX: usize = 1_000_000;
/// Tables loaded at once, when all are.
const LOADS_AT_ONCE: usize = 8;
/// How long a table is believed to lie where it lay: a purge asks before every thousand files.
const LOCATED_FOR: Duration = Duration::from_mins(5);

/// Where tables' metadata lay, and when it was asked.
pub(super) type Located = HashMap<TableName, (Instant, String)>;

/// Names as a server lists them.
#[derive(Debug)]
pub(super) struct Names<T> {
    /// In order.
    pub(super) usable: Vec<T>,
    /// One that is no name here, and why.
    left_out: Option<String>,
}

impl<T> Names<T> {
    /// All of them, or an error that names one that cannot be used.
    fn all(self) -> Result<Vec<T>, Error> {
        match self.left_out {
            None => Ok(self.usable),
            Some(name) => Err(Error::Failed {
                doing: "learn where every table lies".to_owned(),
                advice: Advice::GiveUp,
                source: format!("the catalog has a name that cannot be used here: {name}").into(),
            }),
        }
    }
}

fn listed_all_the_same(name: &str) -> Error {
    Error::Failed {
        doing: format!("learn what {name} is"),
        advice: Advice::RetryLater,
        source: "the catalog lists it, and says that it does not exist".into(),
    }
}

impl RestCatalog {
    /// Every page of a listing, by the token that leads to it. `take` counts the names of a page.
    async fn pages<T>(
        &self,
        path: &[String],
        query: &[(&'static str, String)],
        mut take: impl FnMut(T) -> (usize, Option<String>),
    ) -> Result<(), Trouble>
    where
        T: serde::de::DeserializeOwned,
    {
        // Empty asks a server that has pages for the first; others do not know it.
        let (mut token, mut followed) = (String::new(), HashSet::new());
        let (mut names, mut empty) = (0, 0);
        loop {
            let mut query = query.to_vec();
            query.push(("pageSize", PAGE_SIZE.to_owned()));
            query.push(("pageToken", token.clone()));
            let ask = Ask {
                method: Method::GET,
                path: path.to_vec(),
                query,
                body: None,
                bytes_max: PAGE_BYTES_MAX,
            };
            let (found, next) = take(self.client.read(&ask).await?.json()?);
            let Some(next) = next.filter(|next| !next.is_empty()) else {
                return Ok(());
            };
            names += found;
            empty += usize::from(found == 0);
            if names > NAMES_MAX || empty > NAMES_MAX / 1_000 {
                let why =
                    format!("a listing of more than {NAMES_MAX} names, or one without an end");
                return Err(Trouble::Garbled(why.into()));
            }
            if !followed.insert(next.clone()) {
                let why = "a listing leads back to a page it has had";
                return Err(Trouble::Garbled(why.into()));
            }
            token = next;
        }
    }

    async fn children(&self, parent: &[String]) -> Result<Vec<Vec<String>>, Error> {
        let mut query = Vec::new();
        if !parent.is_empty() {
            let parent = self.client.namespace_in_query(parent).await;
            let parent = parent.map_err(|trouble| failed("name a namespace", trouble))?;
            query.push(("parent", parent));
        }
        let mut found = Vec::new();
        let path = ["namespaces".to_owned()];
        let listed = self.pages(&path, &query, |page: Namespaces| {
            let names = page.namespaces.len();
            found.extend(page.namespaces);
            (names, page.next_page_token)
        });
        match listed.await {
            Ok(()) => Ok(found),
            Err(trouble) if !parent.is_empty() && trouble.missing() => {
                Err(Error::NoSuchNamespace(parent.join(".")))
            }
            Err(trouble) => Err(failed("list namespaces", trouble)),
        }
    }

    /// Every namespace, nested ones included.
    pub(super) async fn list_namespaces(&self) -> Result<Names<Vec<String>>, Error> {
        let (mut all, mut left_out) = (BTreeSet::new(), None);
        let mut parents = vec![Vec::new()];
        while let Some(parent) = parents.pop() {
            let children = match self.children(&parent).await {
                Err(Error::NoSuchNamespace(_)) => {
                    self.namespace_surely_gone(&parent).await?;
                    all.remove(&parent);
                    continue;
                }
                children => children?,
            };
            for child in children {
                if let Err(error) = TableName::new(&child, "t") {
                    let (catalog, why) = (&self.name, error.why);
                    let namespace = child.join(".");
                    tracing::warn!(catalog, namespace, why, "namespace left out of the list");
                    left_out = Some(format!("namespace `{namespace}`: {why}"));
                    continue;
                }
                // A server that knows no parents answers with all of them, again and again.
                let below = child.len() == parent.len() + 1 && child.starts_with(&parent);
                if all.insert(child.clone()) && below {
                    parents.push(child);
                }
            }
            if all.len() > NAMES_MAX {
                let why = format!("more than {NAMES_MAX} namespaces");
                return Err(failed("list namespaces", Trouble::Garbled(why.into())));
            }
        }
        let usable = all.into_iter().collect();
        Ok(Names { usable, left_out })
    }

    /// The tables directly in `namespace`.
    pub(super) async fn list_tables(
        &self,
        namespace: &[String],
    ) -> Result<Names<TableName>, Error> {
        let mut path = self.namespace_path(namespace).await?;
        path.push("tables".to_owned());
        let (mut usable, mut left_out) = (Vec::new(), None);
        let pages = self.pages(&path, &[], |page: Tables| {
            let names = page.identifiers.len();
            for one in page.identifiers {
                match TableName::new(namespace, one.name) {
                    Ok(name) => usable.push(name),
                    Err(error) => {
                        tracing::warn!(catalog = self.name, %error, "table left out of the list");
                        left_out = Some(error.to_string());
                    }
                }
            }
            (names, page.next_page_token)
        });
        match pages.await {
            Ok(()) => {}
            Err(trouble) if trouble.missing() => {
                return Err(Error::NoSuchNamespace(namespace.join(".")));
            }
            Err(trouble) => return Err(failed("list tables", trouble)),
        }
        usable.sort();
        usable.dedup();
        Ok(Names { usable, left_out })
    }

    /// Every table there is, in order of namespace and name.
    pub(super) async fn every_name(&self) -> Result<Vec<TableName>, Error> {
        let mut every = Vec::new();
        for namespace in self.list_namespaces().await?.all()? {
            match self.list_tables(&namespace).await {
                Ok(tables) => every.extend(tables.all()?),
                Err(Error::NoSuchNamespace(_)) => self.namespace_surely_gone(&namespace).await?,
                Err(error) => return Err(error),
            }
        }
        Ok(every)
    }

    /// What is asked `of` each of these tables, loaded several at a time, in their order. One that is gone
    /// is passed over, if its namespace's listing says so as well.
    pub(super) async fn of_every_table<T>(
        &self,
        names: Vec<TableName>,
        alive: &(dyn Fn() + Send + Sync),
        of: impl Fn(&Table) -> T + Send + Sync,
    ) -> Result<Vec<T>, Error>
    where
        T: Send,
    {
        let loads = names.into_iter().map(|name| async {
            let loaded = self.load(&name).await;
            (name, loaded)
        });
        let loads: Vec<_> = loads.collect();
        let mut loads = std::pin::pin!(stream::iter(loads).buffered(LOADS_AT_ONCE));
        let mut told = Vec::new();
        while let Some((name, loaded)) = loads.next().await {
            alive();
            match loaded {
                Ok(table) => told.push(of(&table)),
                Err(Error::NoSuchTable(_)) => self.surely_gone(&name).await?,
                Err(error) => return Err(error),
            }
        }
        Ok(told)
    }

    async fn surely_gone(&self, name: &TableName) -> Result<(), Error> {
        match self.list_tables(name.namespace()).await {
            Err(Error::NoSuchNamespace(_)) => Ok(()),
            Ok(listed) if !listed.usable.contains(name) => Ok(()),
            Ok(_) => Err(listed_all_the_same(&name.key())),
            Err(error) => Err(error),
        }
    }

    /// A namespace that was listed and does not exist any more is not listed by its parent either.
    async fn namespace_surely_gone(&self, namespace: &[String]) -> Result<(), Error> {
        let parent = namespace.split_last().map_or(namespace, |(_, above)| above);
        match self.children(parent).await {
            Err(Error::NoSuchNamespace(_)) => Ok(()),
            Ok(listed) if !listed.iter().any(|one| one == namespace) => Ok(()),
            Ok(_) => Err(listed_all_the_same(&namespace.join("."))),
            Err(error) => Err(error),
        }
    }

    /// Every table with the folder of its metadata. Only a load tells.
    pub(super) async fn folders(&self) -> Result<Vec<(TableName, String)>, Error> {
        let names = self.every_name().await?;
        let known = |located: &Located, name: &TableName| {
            let (at, folder) = located.get(name)?;
            (at.elapsed() < LOCATED_FOR).then(|| folder.clone())
        };
        let lock = || self.located.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut folders, mut unknown) = (Vec::new(), Vec::new());
        {
            let located = lock();
            for name in names {
                match known(&located, &name) {
                    Some(folder) => folders.push((name, folder)),
                    None => unknown.push(name),
                }
            }
        }
        let of = |table: &Table| (table.name.clone(), place::folder(&table.metadata_location));
        let loaded = self.of_every_table(unknown, &|| {}, of).await?;
        folders.extend(loaded.iter().cloned());
        folders.sort();
        let now = Instant::now();
        let mut located = lock();
        located.retain(|_, (at, _)| at.elapsed() < LOCATED_FOR);
        located.extend(
            loaded
                .into_iter()
                .map(|(name, folder)| (name, (now, folder))),
        );
        Ok(folders)
    }
}

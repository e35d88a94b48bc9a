//! A catalog that speaks Iceberg's REST protocol (`rest-catalog-open-api.yaml` of Apache Iceberg).
//!
//! The server writes metadata files and checks the requirements of a commit on the table as it is by
//! then. A commit whose answer is missing, or that the server failed at, may have landed: it is
//! unknown, and whoever asked looks. Requests that change nothing are tried again; those that change
//! something only when the server knows them again by their `Idempotency-Key`.
//!
//! Nobody is believed blindly: a table is gone when the server says so in the protocol's words, a commit has
//! landed when the answer shows it.
//!
//! Not done: requests are not signed (SigV4), keys that came with a table are not fetched anew when
//! they expire while it is worked on, and the server's clock is not asked. Of the properties that the
//! server's configuration has, those of the protocol count: prefix and namespace separator.

mod access;
mod answer;
mod auth;
mod client;
mod commit;
mod listing;
mod settings;
mod trouble;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use metadata::{Requirement, TableMetadata, Update};
use model::{Advice, TableName};
use reqwest::Method;
use serde_json::{Value, json};
use storage::Storage;

use crate::documents::{self, Documents};
use crate::{Args, Catalog, Error, Listed, NewTable, Prepared, Table, Territory, place};
use access::Keys;
use answer::{Loaded, Namespace};
use client::{Ask, Client};
use listing::Located;
use settings::Settings;
use trouble::Trouble;

/// Longest answer that has no document, in bytes.
const PAGE_BYTES_MAX: usize = 64 << 20;
/// What of the memory for documents is for the answers they come in; the rest is for what they become.
const ANSWER_SHARE: u64 = 4;
/// What most answers with a document are read in, in bytes.
const SMALL_BYTES: u64 = 1 << 20;
/// An answer is held twice: as it came, and the document cut out of it.
const HELD: u64 = 2;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A catalog behind a server.
pub struct RestCatalog {
    name: String,
    client: Client,
    storage: Storage,
    /// What `storage` was made of: keys that come with a table take the place of its own.
    access: storage::Args,
    /// What reached the last table that came with keys: many may share theirs, and connections
    /// with them.
    keyed: Mutex<Option<(Keys, Storage)>>,
    documents: Documents,
    answers: Documents,
    /// Where tables lie, as far as it was asked lately.
    located: Mutex<Located>,
}

impl fmt::Debug for RestCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestCatalog")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl RestCatalog {
    /// Asks the server what it is: a wrong address or credential is said at once. Documents are read
    /// in `memory_bytes`.
    pub async fn open(
        args: &Args,
        (storage, access): (&Storage, &storage::Args),
        memory_bytes: u64,
    ) -> Result<Self, Error> {
        let client = Client::new(Settings::parse(args)?).map_err(|why| Error::Failed {
            doing: "prepare to ask the catalog".to_owned(),
            advice: Advice::GiveUp,
            source: why.into(),
        })?;
        let config = client.config().await;
        let asking = "ask the catalog (SNOWPACK_CATALOG_URI) what it is";
        config.map_err(|trouble| failed(asking, trouble))?;
        Ok(Self {
            name: args.catalog_name.clone(),
            client,
            storage: access::bounded(storage.clone(), access),
            access: access.clone(),
            keyed: Mutex::default(),
            documents: Documents::within(memory_bytes - memory_bytes / ANSWER_SHARE),
            answers: Documents::within(memory_bytes / ANSWER_SHARE),
            located: Mutex::default(),
        })
    }

    async fn namespace_path(&self, namespace: &[String]) -> Result<Vec<String>, Error> {
        let encoded = self.client.namespace_in_path(namespace).await;
        let encoded = encoded.map_err(|trouble| failed("name a namespace", trouble))?;
        Ok(vec!["namespaces".to_owned(), encoded])
    }

    async fn table_path(&self, table: &TableName) -> Result<Vec<String>, Error> {
        let mut path = self.namespace_path(table.namespace()).await?;
        path.extend(["tables".to_owned(), client::encoded(table.table())]);
        Ok(path)
    }

    async fn table(&self, name: &TableName, loaded: &Loaded) -> Result<Table, Error> {
        let unclear = |source: Source, advice| Error::Failed {
            doing: format!("understand what the catalog says of {name}"),
            advice,
            source,
        };
        let Some(metadata_location) = loaded.metadata_location.clone() else {
            let why = "it does not say where the metadata lies";
            return Err(unclear(why.into(), Advice::GiveUp));
        };
        let text = loaded.metadata.get().as_bytes();
        let metadata = self.documents.parse(&metadata_location, text).await;
        let metadata = metadata.map_err(|error: documents::Error| {
            let advice = error.advice();
            unclear(error.into(), advice)
        })?;
        let storage = self.storage_of(&loaded.access(metadata.location()));
        Ok(Table {
            name: name.clone(),
            metadata_location,
            storage: storage.map_err(|error| unclear(error.into(), Advice::GiveUp))?,
            metadata,
        })
    }

    /// Asks for a change of a table, with all the room for answers in hand.
    async fn post(&self, path: Vec<String>, body: &Value) -> Result<Loaded, Trouble> {
        let ask = Ask {
            method: Method::POST,
            path,
            query: Vec::new(),
            body: Some(body),
            bytes_max: answer_bytes_max(self.answers.memory_bytes()),
        };
        self.client.change(&ask).await?.json()
    }
}

fn answer_bytes_max(granted: u64) -> usize {
    usize::try_from(granted / HELD).unwrap_or(usize::MAX)
}

/// A request that failed, and whether it may go well later.
fn failed(doing: &str, trouble: Trouble) -> Error {
    Error::Failed {
        doing: doing.to_owned(),
        advice: if trouble.passes() {
            Advice::RetryLater
        } else {
            Advice::GiveUp
        },
        source: trouble.into(),
    }
}

#[async_trait]
impl Catalog for RestCatalog {
    fn name(&self) -> &str {
        &self.name
    }

    async fn namespaces(&self) -> Result<Vec<Vec<String>>, Error> {
        Ok(self.list_namespaces().await?.usable)
    }

    async fn namespace_properties(
        &self,
        namespace: &[String],
    ) -> Result<BTreeMap<String, String>, Error> {
        let ask = Ask {
            method: Method::GET,
            path: self.namespace_path(namespace).await?,
            query: Vec::new(),
            body: None,
            bytes_max: PAGE_BYTES_MAX,
        };
        let answer = async { self.client.read(&ask).await?.json::<Namespace>() };
        match answer.await {
            Ok(found) => Ok(found.properties.unwrap_or_default()),
            Err(trouble) if trouble.missing() => Err(Error::NoSuchNamespace(namespace.join("."))),
            Err(trouble) => Err(failed("read a namespace's properties", trouble)),
        }
    }

    async fn tables(&self, namespace: &[String]) -> Result<Vec<Listed>, Error> {
        let listed = self.list_tables(namespace).await?.usable.into_iter();
        let listed = listed.map(|name| Listed {
            name,
            metadata_location: None,
        });
        Ok(listed.collect())
    }

    async fn load(&self, table: &TableName) -> Result<Table, Error> {
        let mut ask = Ask {
            method: Method::GET,
            path: self.table_path(table).await?,
            // Branches and tags as well: what is retained follows from all of them.
            query: vec![("snapshots", "all".to_owned())],
            body: None,
            bytes_max: 0,
        };
        let all = self.answers.memory_bytes();
        let mut granted = SMALL_BYTES.min(all);
        loop {
            let _room = self.answers.take(granted).await;
            ask.bytes_max = answer_bytes_max(granted);
            let answer = async { self.client.read(&ask).await?.json::<Loaded>() };
            match answer.await {
                Ok(loaded) => return self.table(table, &loaded).await,
                Err(Trouble::TooLong(_)) if granted < all => granted = all,
                Err(trouble) if trouble.missing() => {
                    return Err(Error::NoSuchTable(table.clone()));
                }
                Err(trouble) => return Err(failed(&format!("load {table}"), trouble)),
            }
        }
    }

    async fn earlier(
        &self,
        table: &Table,
        metadata_location: &str,
    ) -> Result<Option<Arc<TableMetadata>>, Error> {
        let read = self
            .documents
            .read_earlier(&table.storage, metadata_location);
        read.await.map_err(|source| Error::Failed {
            doing: format!("read an earlier metadata file of {}", table.name),
            advice: source.advice(),
            source: source.into(),
        })
    }

    async fn create_namespace(
        &self,
        namespace: &[String],
        properties: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let body = json!({"namespace": namespace, "properties": properties});
        let ask = Ask {
            method: Method::POST,
            path: vec!["namespaces".to_owned()],
            query: Vec::new(),
            body: Some(&body),
            bytes_max: PAGE_BYTES_MAX,
        };
        match self.client.change(&ask).await {
            Ok(_) => Ok(()),
            Err(trouble) if trouble.conflict() => Ok(()),
            Err(trouble) => Err(failed("create a namespace", trouble)),
        }
    }

    async fn create_table(&self, table: &TableName, new: NewTable) -> Result<Table, Error> {
        if let Some(location) = &new.location {
            place::check(location)?;
        }
        let mut path = self.namespace_path(table.namespace()).await?;
        path.push("tables".to_owned());
        let mut body = json!({
            "name": table.table(),
            "schema": new.schema,
            "partition-spec": new.spec,
            "properties": new.properties,
        });
        if let Some(location) = new.location {
            body["location"] = location.into();
        }
        let _room = self.answers.take(self.answers.memory_bytes()).await;
        match self.post(path, &body).await {
            Ok(made) => self.table(table, &made).await,
            Err(trouble) if trouble.missing() => {
                Err(Error::NoSuchNamespace(table.namespace().join(".")))
            }
            Err(trouble) if trouble.conflict() => Err(Error::TableExists(table.clone())),
            Err(trouble) => Err(failed(&format!("create {table}"), trouble)),
        }
    }

    fn next_metadata_location(&self, _: &Table) -> Option<String> {
        None
    }

    async fn prepare(
        &self,
        base: &Table,
        requirements: Vec<Requirement>,
        updates: Vec<Update>,
        _: Option<String>,
    ) -> Result<Prepared, Error> {
        for requirement in &requirements {
            requirement
                .check(Some(&base.metadata))
                .map_err(|why| Error::Conflict {
                    table: base.name.clone(),
                    why,
                })?;
        }
        // As far as it can be told here: the server says what it becomes.
        let metadata = base
            .metadata
            .apply(&updates, base.metadata.last_updated_ms());
        let metadata = metadata.map_err(|source| Error::Failed {
            doing: format!("apply the updates to {}", base.name),
            advice: source.advice(),
            source: source.into(),
        })?;
        Ok(Prepared {
            base: base.clone(),
            requirements,
            updates,
            metadata: Arc::new(metadata),
            metadata_location: String::new(),
        })
    }

    async fn swap(
        &self,
        prepared: &Prepared,
        _: Option<&pg::Transaction<'_>>,
    ) -> Result<Table, Error> {
        let table = &prepared.base.name;
        let body = json!({
            "identifier": {"namespace": table.namespace(), "name": table.table()},
            "requirements": prepared.requirements,
            "updates": prepared.updates,
        });
        let path = self.table_path(table).await?;
        let room = self.answers.take(self.answers.memory_bytes()).await;
        match self.post(path, &body).await {
            Ok(answer) => self.landed(prepared, &answer).await,
            Err(trouble) => {
                drop(room);
                Err(self.not_landed(prepared, trouble).await)
            }
        }
    }

    fn swaps_within(&self) -> bool {
        false
    }

    fn swaps_by_location(&self) -> bool {
        false
    }

    async fn clock_ms(&self) -> Result<Option<i64>, Error> {
        Ok(None)
    }

    async fn locations(&self) -> Result<Vec<(TableName, String)>, Error> {
        self.folders().await
    }

    async fn territories(&self, alive: &(dyn Fn() + Send + Sync)) -> Result<Vec<Territory>, Error> {
        let names = self.every_name().await?;
        self.of_every_table(names, alive, Territory::of).await
    }
}

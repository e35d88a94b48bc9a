//! Where a table may have files: [`Territory`].

use std::collections::BTreeSet;

use model::TableName;

use crate::Table;

/// Properties that say where a table's files go instead of its location.
const PATH_KEYS: [&str; 4] = [
    "write.data.path",
    "write.metadata.path",
    "write.folder-storage.path",
    "write.object-storage.path",
];

/// The folders that a table's document names. Data files alone that a table left behind when it moved
/// are not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Territory {
    pub name: TableName,
    /// Empty where an old document has none.
    pub table_uuid: String,
    /// As they are written: where its files go, and where its metadata, manifest lists and statistics
    /// lie that it has had since its oldest snapshot.
    pub folders: BTreeSet<String>,
}

impl Territory {
    pub(crate) fn of(table: &Table) -> Self {
        let metadata = &table.metadata;
        let properties = PATH_KEYS.iter().filter_map(|key| metadata.property(key));
        let log = metadata
            .metadata_log()
            .iter()
            .map(|entry| &entry.metadata_file);
        let lists = metadata
            .snapshots()
            .iter()
            .map(|snapshot| &snapshot.manifest_list);
        let statistics = metadata
            .statistics()
            .iter()
            .chain(metadata.partition_statistics());
        let files = log
            .chain([&table.metadata_location])
            .chain(lists)
            .chain(statistics.map(|file| &file.statistics_path));
        let folders = files.filter_map(|file| file.rsplit_once('/').map(|(folder, _)| folder));
        let folders = properties.chain(folders).chain([metadata.location()]);
        let folders: BTreeSet<&str> = folders.collect();
        Self {
            name: table.name.clone(),
            table_uuid: metadata.uuid().to_owned(),
            folders: folders.into_iter().map(str::to_owned).collect(),
        }
    }
}

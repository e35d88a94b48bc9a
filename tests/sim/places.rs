//! Where a round's tables lie, and where their catalog does.

use std::fmt;

/// Where tables lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tables {
    /// In a folder of this machine
    Folder,
    /// In an S3 server, which the programs reach by a way that breaks
    S3,
}

/// Where the catalog lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Catalog {
    /// In the queue's database: a swap is part of its job's transaction
    Within,
    /// In a Postgres of its own, which breaks alone
    Elsewhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) tables: Tables,
    pub(crate) catalog: Catalog,
}

impl Places {
    /// What is not asked for is drawn by the seed, so that four in a row are all there are.
    pub(crate) fn draw(seed: u64, tables: Option<Tables>, catalog: Option<Catalog>) -> Self {
        let drawn = |bit: u64| seed & bit != 0;
        Self {
            tables: tables.unwrap_or(if drawn(1) { Tables::S3 } else { Tables::Folder }),
            catalog: catalog.unwrap_or(if drawn(2) {
                Catalog::Elsewhere
            } else {
                Catalog::Within
            }),
        }
    }

    /// What asks for these.
    pub(crate) fn flags(self) -> String {
        let tables = match self.tables {
            Tables::Folder => "folder",
            Tables::S3 => "s3",
        };
        let catalog = match self.catalog {
            Catalog::Within => "within",
            Catalog::Elsewhere => "elsewhere",
        };
        format!("--storage {tables} --catalog {catalog}")
    }

    pub(crate) fn elsewhere(self) -> bool {
        self.catalog == Catalog::Elsewhere
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.tables {
            Tables::Folder => "tables in a folder",
            Tables::S3 => "tables in S3",
        })?;
        f.write_str(match self.catalog {
            Catalog::Within => ", their catalog in the queue's database",
            Catalog::Elsewhere => ", their catalog in a database of its own",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_seeds_in_a_row_draw_every_place_and_what_is_asked_for_stays() {
        let drawn = |seed| Places::draw(seed, None, None).to_string();
        let all: std::collections::BTreeSet<String> = (7..11).map(drawn).collect();
        assert_eq!(all.len(), 4, "{all:?}");
        let asked = (0..4).map(|seed| Places::draw(seed, Some(Tables::S3), None));
        assert!(asked.into_iter().all(|places| places.tables == Tables::S3));
    }
}

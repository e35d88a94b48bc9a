//! SQL is source code: one statement a file, included once, and valid against the migrated schema.

use crate::tree::{files, none, rust};

#[test]
fn every_sql_file_is_included_exactly_once() {
    let sources = rust();
    let mut complaints = Vec::new();
    for file in files("crates", ".sql") {
        let (_, tail) = file.path.rsplit_once("/sql/").unwrap_or(("", &file.path));
        let owner = file.path.split('/').nth(1).unwrap_or("");
        let wanted = format!("sql/{tail}\"");
        let uses = sources
            .iter()
            .filter(|source| source.path.starts_with(&format!("crates/{owner}/")))
            .map(|source| source.text.matches(&wanted).count())
            .sum::<usize>();
        if uses != 1 {
            complaints.push(format!(
                "{}: included {uses} times; include it once or delete it",
                file.path
            ));
        }
    }
    none(&complaints);
}

#[tokio::test]
async fn every_sql_file_prepares_against_the_migrated_schema() {
    let database = testkit::Database::new().await;
    let client = database.client().await;
    // A catalog's tables are not the schema's: the catalog makes them where it lies.
    for file in files("crates/catalog", ".sql")
        .iter()
        .filter(|file| file.path.contains("/sql/create_"))
    {
        client
            .batch_execute(&file.text)
            .await
            .expect("create the catalog's tables");
    }
    let mut complaints = Vec::new();
    let statements = files("crates", ".sql");
    assert!(statements.len() >= 10, "the statements were not found");
    for file in statements {
        let text = file
            .text
            .replace("{lane}", "\"snowpack\"")
            .replace("{id}", "text")
            .replace("{record}", "jobs");
        if let Err(error) = client.prepare(&text).await {
            let why = error
                .as_db_error()
                .map_or_else(|| error.to_string(), |e| e.message().to_owned());
            complaints.push(format!("{}: does not prepare: {why}", file.path));
        }
    }
    none(&complaints);
}

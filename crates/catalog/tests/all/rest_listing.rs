//! What a REST server has and where it lies: whoever deletes files relies on hearing of every table.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use catalog::{Catalog, Error};
use model::Advice;
use serde_json::{Value, json};

use crate::rest::{catalog, chain, loaded, refusal, server};
use crate::stub::{Answer, Asked};

/// A server with one namespace; its tables are listed and loaded as told.
fn answered(asked: &Asked, tables: &[&str], load: impl Fn(&str) -> Answer) -> Answer {
    let path = asked.path.split('?').next().unwrap();
    if path.ends_with("/namespaces") {
        let top = !asked.path.contains("parent=");
        let namespaces: Value = if top { json!([["db"]]) } else { json!([]) };
        return Answer::Json(200, json!({ "namespaces": namespaces }));
    }
    if let Some((_, name)) = path.rsplit_once("/tables/") {
        return load(name);
    }
    let tables = tables.iter();
    let tables = tables.map(|name| json!({"namespace": ["db"], "name": name}));
    let tables: Vec<Value> = tables.collect();
    Answer::Json(200, json!({ "identifiers": tables }))
}

fn at(folder: &str) -> Answer {
    let mut answer = loaded();
    answer["metadata-location"] = format!("{folder}/metadata/00000-a.metadata.json").into();
    Answer::Json(200, answer)
}

#[tokio::test]
async fn a_name_that_cannot_be_used_hides_no_table_from_who_deletes() {
    for namespaces in [false, true] {
        let stub = server(json!({}), move |asked| {
            if namespaces && asked.path.contains("/namespaces?") {
                return Answer::Json(200, json!({"namespaces": [["a\nb"]]}));
            }
            answered(asked, &["t", "a\nb"], |_| at("s3://lake/t"))
        })
        .await;
        let catalog = catalog(&stub).await;
        // Lists leave it out.
        catalog.namespaces().await.unwrap();
        for error in [
            catalog.locations().await.unwrap_err(),
            catalog.territories(&|| {}).await.unwrap_err(),
        ] {
            let text = chain(&error);
            assert!(text.contains("a name that cannot be used here"), "{text}");
            assert_eq!(error.advice(), Advice::GiveUp);
        }
    }
}

#[tokio::test]
async fn a_table_is_gone_only_when_the_server_says_so_in_the_protocols_words() {
    for kind in [
        "NotFoundException",
        "NoSuchWarehouseException",
        "SuchTableException",
        "",
    ] {
        let stub = server(json!({}), move |asked| {
            answered(asked, &["t"], |_| refusal(404, kind))
        })
        .await;
        let catalog = catalog(&stub).await;
        let error = catalog.load(&"db.t".parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, Error::Failed { .. }), "{kind}: {error:?}");
        catalog.locations().await.unwrap_err();
    }
    for kind in ["NoSuchTableException", "NoSuchNamespaceException"] {
        let stub = server(json!({}), move |asked| {
            answered(asked, &["t"], |_| refusal(404, kind))
        })
        .await;
        let catalog = catalog(&stub).await;
        let error = catalog.load(&"db.t".parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, Error::NoSuchTable(_)), "{kind}: {error:?}");
        // It is listed all the same.
        let error = catalog.locations().await.unwrap_err();
        assert!(chain(&error).contains("lists it"), "{}", chain(&error));
    }
}

#[tokio::test]
async fn a_table_that_goes_while_all_are_asked_is_passed_over() {
    let mut listings = 0;
    let stub = server(json!({}), move |asked| {
        let listing = asked.path.contains("/db/tables?");
        listings += usize::from(listing);
        let tables: &[&str] = if listings < 2 { &["t", "u"] } else { &["t"] };
        answered(asked, tables, |name| match name {
            "t" => at("s3://lake/t"),
            _ => refusal(404, "NoSuchTableException"),
        })
    })
    .await;
    let located = catalog(&stub).await.locations().await.unwrap();
    assert_eq!(
        located,
        [("db.t".parse().unwrap(), "s3://lake/t".to_owned())]
    );
}

#[tokio::test]
async fn a_listing_that_leads_back_or_never_ends_is_an_error() {
    for circle in [true, false] {
        let page = Arc::new(AtomicUsize::new(0));
        let stub = server(json!({}), move |_| {
            let next = page.fetch_add(1, Ordering::Relaxed);
            let next = if circle { next % 2 } else { next };
            Answer::Json(
                200,
                json!({"identifiers": [], "next-page-token": format!("p{next}")}),
            )
        })
        .await;
        let listed = catalog(&stub).await.tables(&["db".to_owned()]).await;
        let error = listed.unwrap_err();
        let want = if circle {
            "leads back"
        } else {
            "without an end"
        };
        assert!(chain(&error).contains(want), "{}", chain(&error));
    }
}

#[tokio::test]
async fn where_tables_lie_is_asked_of_each_once_and_of_a_new_one_at_once() {
    let tables = Arc::new(AtomicUsize::new(2));
    let count = Arc::clone(&tables);
    let stub = server(json!({}), move |asked| {
        let all = ["a", "b", "c"];
        let listed = &all[..count.load(Ordering::Relaxed)];
        answered(asked, listed, |name| at(&format!("s3://lake/{name}")))
    })
    .await;
    let catalog = catalog(&stub).await;
    let names = async || {
        let located = catalog.locations().await.unwrap().into_iter();
        let folders: Vec<String> = located.map(|(_, folder)| folder).collect();
        folders.join(" ")
    };
    assert_eq!(names().await, "s3://lake/a s3://lake/b");
    assert_eq!(names().await, "s3://lake/a s3://lake/b");
    assert_eq!(stub.seen("/tables/").len(), 2);
    tables.store(3, Ordering::Relaxed);
    assert_eq!(names().await, "s3://lake/a s3://lake/b s3://lake/c");
    assert_eq!(stub.seen("/tables/").len(), 3);
    let territories = catalog.territories(&|| {}).await.unwrap();
    assert_eq!(territories.len(), 3);
    assert!(
        territories[0].folders.contains("file:///w/t"),
        "{territories:?}"
    );
}

#[tokio::test]
async fn a_namespace_that_is_listed_and_said_to_be_gone_hides_no_tables() {
    for children in [true, false] {
        let stub = server(json!({}), move |asked| {
            let path = asked.path.split('?').next().unwrap();
            let of = if children {
                asked.path.contains("parent=")
            } else {
                path.ends_with("/tables")
            };
            if of {
                return refusal(404, "NoSuchNamespaceException");
            }
            answered(asked, &["t"], |_| at("s3://lake/t"))
        })
        .await;
        let error = catalog(&stub).await.locations().await.unwrap_err();
        assert!(chain(&error).contains("lists it"), "{}", chain(&error));
        assert_eq!(error.advice(), Advice::RetryLater);
    }
    let mut listings = 0;
    let stub = server(json!({}), move |asked| {
        if asked.path.contains("/db/tables?") {
            return refusal(404, "NoSuchNamespaceException");
        }
        let top = asked.path.contains("/namespaces?") && !asked.path.contains("parent=");
        listings += usize::from(top);
        if top && listings > 1 {
            return Answer::Json(200, json!({"namespaces": []}));
        }
        answered(asked, &[], |_| Answer::Nothing)
    })
    .await;
    assert_eq!(catalog(&stub).await.locations().await.unwrap(), []);
}

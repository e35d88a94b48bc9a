//! The program: how it starts, stops, and what it says about itself.

use testkit::Database;

use crate::server::{OPEN, Server, cache};

#[tokio::test]
async fn it_answers_probes_and_describes_itself_without_a_token() {
    let database = Database::new().await;
    cache(&database, &[]).await;
    let server = Server::start(&database).await;
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert!(!answer.text.is_empty(), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    server.stop(&[OPEN]).await;
}

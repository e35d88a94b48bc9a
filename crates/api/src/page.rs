//! What the API says about itself: `/openapi.json`, and `/docs`, the same for people. One page
//! without scripts; it loads nothing.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Extension;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use serde_json::Value;

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color-scheme:light dark}code{font:13px ui-monospace,monospace}h2{font-size:1rem;margin:2rem 0 \
.3rem;border-top:1px solid #8884;padding-top:1rem}table{border-collapse:collapse;width:100%}\
td{vertical-align:top;padding:.15rem .8rem .15rem 0}td:first-child{white-space:nowrap}";

/// Nothing is loaded, nothing runs.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// The OpenAPI document, as programs and as people read it. Made once.
#[derive(Debug)]
pub(crate) struct Document {
    json: String,
    html: String,
}

impl Document {
    pub(crate) fn of(document: &utoipa::openapi::OpenApi) -> Self {
        let value = serde_json::to_value(document).unwrap_or_default();
        Self {
            json: value.to_string(),
            html: html(&value),
        }
    }
}

/// What this API can do, for programs (OpenAPI 3.1)
#[utoipa::path(get, path = "/openapi.json", tag = "about",
    responses((status = 200, description = "The document", body = serde_json::Value)))]
pub(crate) async fn openapi(Extension(document): Extension<Arc<Document>>) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], document.json.clone()).into_response()
}

/// What this API can do, for people
#[utoipa::path(get, path = "/docs", tag = "about",
    responses((status = 200, description = "A page", content_type = "text/html", body = String)))]
pub(crate) async fn docs(Extension(document): Extension<Arc<Document>>) -> Response {
    Html(document.html.clone()).into_response()
}

/// Whatever this server answers, a browser runs nothing of it.
pub(crate) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(POLICY));
    response
}

fn html(document: &Value) -> String {
    let text = |value: &Value| escape(value.as_str().unwrap_or_default());
    let info = &document["info"];
    let (title, version) = (text(&info["title"]), text(&info["version"]));
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport \
         content=\"width=device-width\"><title>{title} API</title><style>{STYLE}</style>\
         <h1>{title} API {version}</h1><p>{}</p><p><a href=openapi.json>openapi.json</a></p>",
        text(&info["description"])
    );
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let method = method.to_uppercase();
            // Writing to a string cannot fail.
            let _ = write!(
                page,
                "<h2><code>{method} {}</code></h2><p>{}</p><p>{}</p><table>",
                escape(path),
                text(&operation["summary"]),
                text(&operation["description"])
            );
            rows(&mut page, operation);
            page.push_str("</table>");
        }
    }
    page
}

fn rows(page: &mut String, operation: &Value) {
    let mut row = |name: &str, what: &str| {
        let _ = write!(
            page,
            "<tr><td><code>{}</code><td>{}",
            escape(name),
            escape(what)
        );
    };
    let said = |value: &Value| value["description"].as_str().unwrap_or_default().to_owned();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default();
        row(name, &said(parameter));
    }
    if let Some(body) = operation["requestBody"]["content"].as_object() {
        for (media_type, content) in body {
            let shape = content["schema"]["$ref"].as_str().unwrap_or_default();
            row(media_type, shape);
        }
    }
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        row(status, &said(response));
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

//! What the API says about itself: `/openapi.json`, and `/docs`, the same for people. One page
//! without scripts; it loads nothing.

use std::collections::BTreeMap;
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
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;\
margin:2rem auto;padding:0 1rem}code{font:13px ui-monospace,monospace}small{opacity:.6;\
font-weight:normal}a{color:light-dark(#0b57a4,#8ab8ff);text-decoration:none}a:hover{\
text-decoration:underline}h2{font-size:1rem;margin:2.5rem 0 .3rem;border-top:1px solid #8884;\
padding-top:1rem}h3{font-size:.95rem;margin:1.5rem 0 .2rem}p{margin:.3rem 0 .6rem}\
table{border-collapse:collapse;width:100%}th{text-align:left;padding:1rem 0 .2rem;\
text-transform:capitalize}td{vertical-align:top;padding:.15rem .8rem .15rem 0;border-top:1px \
solid #8882}td:nth-child(-n+2){white-space:nowrap}td:last-child{width:99%;white-space:normal}\
@media(max-width:40rem){td{display:block;border:0;white-space:normal!important}}";

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

/// What is in a page: routes by what they are about, then the shapes they take and give.
fn html(document: &Value) -> String {
    let info = &document["info"];
    let (title, version) = (text(&info["title"]), text(&info["version"]));
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport \
         content=\"width=device-width\"><title>{title} API</title><style>{STYLE}</style>\
         <h1>{title} API <small>{version}</small></h1><p>{}</p><p>The same for programs: \
         <a href=openapi.json>openapi.json</a>. Shapes are <a href=#shapes>below</a>.</p>",
        text(&info["description"])
    );
    let by_tag = by_tag(document);
    page.push_str("<table class=routes>");
    for (tag, operations) in &by_tag {
        let _ = write!(page, "<tr><th colspan=2>{}", escape(tag));
        for (method, path, operation) in operations {
            let anchor = anchor(method, path);
            let (route, summary) = (route(method, path), text(&operation["summary"]));
            let _ = write!(page, "<tr><td><a href=#{anchor}>{route}</a><td>{summary}");
        }
    }
    page.push_str("</table>");
    for (method, path, operation) in by_tag.values().flatten() {
        let _ = write!(
            page,
            "<h2 id={}>{}</h2><p>{}</p>",
            anchor(method, path),
            route(method, path),
            text(&operation["summary"])
        );
        if let Some(more) = operation["description"].as_str() {
            let _ = write!(page, "<p>{}</p>", escape(more));
        }
        page.push_str("<table>");
        rows(&mut page, operation);
        page.push_str("</table>");
    }
    page.push_str("<h2 id=shapes>Shapes</h2>");
    for (name, schema) in document["components"]["schemas"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let name = escape(name);
        let what = text(&schema["description"]);
        let _ = write!(page, "<h3 id=shape-{name}>{name}</h3><p>{what}</p><table>");
        fields(&mut page, schema);
        page.push_str("</table>");
    }
    page
}

type Operations<'a> = Vec<(&'a str, &'a str, &'a Value)>;

fn by_tag(document: &Value) -> BTreeMap<&str, Operations<'_>> {
    let mut by_tag: BTreeMap<&str, Operations<'_>> = BTreeMap::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let tag = operation["tags"][0].as_str().unwrap_or_default();
            by_tag
                .entry(tag)
                .or_default()
                .push((method, path, operation));
        }
    }
    by_tag
}

fn route(method: &str, path: &str) -> String {
    let method = method.to_uppercase();
    format!("<code><b>{method}</b> {}</code>", escape(path))
}

fn anchor(method: &str, path: &str) -> String {
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter
        } else {
            '-'
        }
    };
    format!("{method}{}", path.chars().map(plain).collect::<String>())
}

/// Parameters, body and answers of one operation.
fn rows(page: &mut String, operation: &Value) {
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let required = parameter["required"].as_bool() == Some(true);
        let kind = kind(&parameter["schema"]);
        row(
            page,
            &name(&parameter["name"], required),
            &kind,
            &parameter["description"],
        );
    }
    if let Some(content) = operation["requestBody"]["content"].as_object() {
        for content in content.values() {
            row(page, "body", &kind(&content["schema"]), &Value::Null);
        }
    }
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let content = response["content"].as_object();
        let content = content.and_then(|content| content.values().next());
        let kind = content.map(|content| kind(&content["schema"]));
        row(
            page,
            &escape(status),
            &kind.unwrap_or_default(),
            &response["description"],
        );
    }
}

/// Fields of a shape, those of the shapes it includes first.
fn fields(page: &mut String, schema: &Value) {
    for part in schema["allOf"].as_array().into_iter().flatten() {
        if part["$ref"].is_string() {
            row(page, "all of", &kind(part), &Value::Null);
        }
        fields(page, part);
    }
    let required = schema["required"].as_array();
    for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
        let required = required.is_some_and(|all| all.iter().any(|each| each == field));
        let name = name(&Value::from(field.as_str()), required);
        row(page, &name, &kind(schema), &schema["description"]);
    }
}

fn name(name: &Value, required: bool) -> String {
    let star = if required {
        "<sup title=\"always there\">*</sup>"
    } else {
        ""
    };
    format!("<code>{}</code>{star}", text(name))
}

fn row(page: &mut String, name: &str, kind: &str, what: &Value) {
    let _ = write!(page, "<tr><td>{name}<td>{kind}<td>{}", text(what));
}

/// What a value is, in a word or two; a shape is a link.
fn kind(schema: &Value) -> String {
    if let Some(shape) = schema["$ref"].as_str() {
        let shape = escape(shape.rsplit('/').next().unwrap_or_default());
        return format!("<a href=#shape-{shape}>{shape}</a>");
    }
    for either in ["oneOf", "anyOf"] {
        if let Some(either) = schema[either].as_array() {
            return either.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let kind = escape(&kinds.join(" or "));
    if kinds.contains(&"array") {
        return format!("{kind} of {}", self::kind(&schema["items"]));
    }
    kind
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

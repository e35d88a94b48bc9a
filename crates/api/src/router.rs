//! Every route, once: what is answered and what the OpenAPI document says are made of one list.
//!
//! To add a route: write it below `routes` with `#[utoipa::path(..)]`, take the role it needs
//! ([`crate::auth::Reader`] and its kin) as an argument, return `Result<_, Problem>`, name
//! [`Refused`] among its responses, and list it in [`for_callers`]. `#[utoipa::path]` alone says
//! path and method; nothing here is routed without it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::{Method, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::{Extension, Router};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder, RefOr, Response, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::page::Document;
use crate::problem::{self, FieldError, Kind, Problem};
use crate::routes::{
    drain, health, history, jobs, lanes, loops, probes, recommendation, runs, submit, tables,
    trigger,
};
use crate::state::Api;
use crate::{auth, openapi, page, request};

type Routes = OpenApiRouter<Arc<Api>>;

/// Answered to anybody: probes, metrics, and what the API is.
fn for_all() -> Routes {
    Routes::new()
        .routes(routes!(probes::healthz))
        .routes(routes!(probes::readyz))
        .routes(routes!(probes::metrics))
        .routes(routes!(page::openapi))
        .routes(routes!(page::docs))
}

/// Answered to callers only.
fn for_callers() -> Routes {
    Routes::new()
        .routes(routes!(submit::submit))
        .routes(routes!(jobs::list))
        .routes(routes!(history::list))
        .routes(routes!(jobs::get, jobs::delete))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::retry))
        .routes(routes!(drain::get, drain::put))
        .routes(routes!(lanes::get, lanes::put))
        .routes(routes!(loops::list))
        .routes(routes!(tables::list))
        .routes(routes!(tables::cache_status))
        .routes(routes!(trigger::refresh))
        .routes(routes!(health::live))
        .routes(routes!(health::cached))
        .routes(routes!(recommendation::get))
        .routes(routes!(trigger::health_sync))
        .routes(routes!(trigger::orchestrator))
        .routes(routes!(health::status))
        .routes(routes!(health::history))
        .routes(routes!(runs::list, runs::record))
        .routes(routes!(runs::get))
}

/// The whole API with everything around it.
pub(crate) fn router(api: &Arc<Api>) -> Router {
    let mut callers = for_callers();
    secure(callers.get_openapi_mut());
    let admit = from_fn_with_state(Arc::clone(api), auth::admit);
    let around = from_fn_with_state(api.requests.clone(), request::around);
    let (router, mut document) = OpenApiRouter::with_openapi(about())
        .merge(for_all())
        .merge(callers.route_layer(admit))
        .split_for_parts();
    openapi::complete(&mut document);
    router
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(Extension(Arc::new(Document::of(&document))))
        .layer(from_fn(page::headers))
        .layer(around)
        .with_state(Arc::clone(api))
}

fn about() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Snowpack")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Maintenance of Apache Iceberg tables. Errors are problem details (RFC 9457) with a \
             `code`; lists are read page by page with `next_cursor`.",
        ))
        .build();
    let mut about = OpenApiBuilder::new().info(info).build();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token of the tokens file, or a JWT"))
        .build();
    let components = about.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let mut add = |name: Cow<'_, str>, schema| {
        components.schemas.insert(name.into_owned(), schema);
    };
    add(problem::Body::name(), problem::Body::schema());
    add(FieldError::name(), FieldError::schema());
    about
}

/// Says of every operation that it needs a token.
fn secure(document: &mut OpenApi) {
    let bearer = SecurityRequirement::new("bearer", Vec::<String>::new());
    for item in document.paths.paths.values_mut() {
        for operation in openapi::operations(item) {
            operation.security = Some(vec![bearer.clone()]);
        }
    }
}

/// What any route for callers may answer instead of what it is for.
pub(crate) struct Refused;

impl utoipa::IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = BTreeMap::new();
        for (status, when) in [
            ("400", "A value, a field or the body cannot be used"),
            ("401", "No token, or not a good one"),
            ("403", "The caller's role does not allow it"),
            ("429", "Too many requests; see `Retry-After`"),
            (
                "500",
                "Something broke; the log has more under the `request_id`",
            ),
            (
                "503",
                "Something needed is out of reach, or new jobs are refused",
            ),
        ] {
            let response = ResponseBuilder::new().description(when).build();
            responses.insert(status.to_owned(), RefOr::T(response));
        }
        responses
    }
}

async fn no_such_route(uri: Uri) -> Problem {
    let detail = format!("no route leads to {}; /openapi.json lists them", uri.path());
    Problem::new(Kind::NoSuchRoute, detail)
}

async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} has no {method}; see the header Allow", uri.path());
    Problem::new(Kind::MethodNotAllowed, detail)
}

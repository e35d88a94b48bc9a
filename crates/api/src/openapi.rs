//! What the OpenAPI document says of every operation alike, so that no route can forget it.

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};

use crate::problem;

/// What a body may be refused for, beside what is in it.
const OF_BODIES: [(&str, &str); 2] = [
    ("413", "The body has more than 1 MiB"),
    ("415", "The body is not JSON"),
];
/// What table names may be refused for.
const OF_NAMES: (&str, &str) = ("422", "The names cannot be used");

/// Says of every operation what bodies and names are refused for, and of every refusal that it is
/// a problem.
pub(crate) fn complete(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let names_a_table = path.contains("{database}");
        for operation in operations(item) {
            let takes_body = operation.request_body.is_some();
            let responses = &mut operation.responses.responses;
            let bodies = OF_BODIES.iter().filter(|_| takes_body);
            for (status, when) in bodies.chain([&OF_NAMES].into_iter().filter(|_| names_a_table)) {
                let refused = || RefOr::T(ResponseBuilder::new().description(*when).build());
                responses
                    .entry((*status).to_owned())
                    .or_insert_with(refused);
            }
            for (status, response) in responses.iter_mut() {
                if let RefOr::T(response) = response
                    && status.as_str() >= "400"
                {
                    problem(response);
                }
            }
        }
    }
}

/// Every operation of a path.
pub(crate) fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem {
        get,
        put,
        post,
        delete,
        ..
    } = item;
    [get, put, post, delete].into_iter().flatten()
}

fn problem(response: &mut Response) {
    use utoipa::ToSchema;
    if response.content.is_empty() {
        let schema = Ref::from_schema_name(problem::Body::name());
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let media_type = problem::MEDIA_TYPE.to_owned();
        response.content.insert(media_type, content.into());
    }
}

//! The OpenAPI document: made from the routes and the types themselves.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder, SecurityRequirement};
use utoipa::{OpenApi as _, ToSchema};

/// What stands before the routes.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Gratis admin API",
        description = "What an operator does with accounts, keys, grants, switches and the provider's figures. Every error is an RFC 9457 document with a stable `code`."
    ),
    components(schemas(ProblemSchema))
)]
struct Head;

/// An error: RFC 9457, with a stable code. It may say more under names of its own.
#[derive(ToSchema, serde::Serialize)]
#[schema(as = Problem)]
struct ProblemSchema {
    /// Always `about:blank`: the code says what it is.
    r#type: String,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// Stable, for programs.
    code: String,
    /// What happened, and what to do.
    detail: String,
}

/// The document that the routes are added to.
pub(super) fn head() -> OpenApi {
    Head::openapi()
}

/// The problems that each route may answer with: (status, what it means, for changes alone).
const PROBLEMS: [(&str, &str, bool); 11] = [
    ("400", "What was asked makes no sense as it stands", false),
    ("401", "The token is missing or wrong", false),
    ("403", "The token may read, and not change", true),
    ("404", "What was named does not exist", false),
    ("409", "As things stand it cannot be done, or the configuration owns it", true),
    ("412", "It was changed meanwhile", true),
    ("413", "The body is too large", true),
    ("422", "It was understood, and is not possible", true),
    ("429", "Too much of it at once", true),
    ("500", "A fault of ours", false),
    ("503", "The ledger cannot be asked", false),
];

/// Adds what all routes have in common: the token, and the problems.
pub(super) fn finish(mut document: OpenApi, version: &str) -> OpenApi {
    version.clone_into(&mut document.info.version);
    let components = document.components.get_or_insert_with(Default::default);
    components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    document.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    for item in document.paths.paths.values_mut() {
        let changes = [&mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in changes.into_iter().flatten() {
            add(&mut operation.responses.responses, true);
        }
        for operation in item.get.iter_mut() {
            add(&mut operation.responses.responses, false);
        }
    }
    document
}

fn add<M>(responses: &mut M, changes: bool)
where
    M: Extend<(String, RefOr<Response>)>,
{
    let wanted = PROBLEMS.iter().filter(|(_, _, changes_only)| changes || !changes_only);
    responses.extend(wanted.map(|(status, meaning, _)| ((*status).to_owned(), RefOr::T(problem(meaning)))));
}

fn problem(meaning: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(meaning).content("application/problem+json", content).build()
}

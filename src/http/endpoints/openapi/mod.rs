//! The `OpenAPI` document of the whole interface (3.1), and a page to try it.
//!
//! The document is made from the route table: each row's handler describes itself, and what every route answers alike
//! (throttles, bodies that are too large, outages) is added from the row. `/docs` loads nothing from elsewhere: Swagger UI's
//! files are part of the program.

mod alike;

use actix_web::HttpResponse;
use actix_web::body::MessageBody;
use actix_web::http::header::CONTENT_TYPE;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use weir_domain::Outcome;

use crate::http::call::Call;
use crate::http::endpoint::{Endpoint, Verb};
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::envelope::{BareError, WrappedError};
use crate::http::protocol::reply::Reply;

/// What the document says apart from its paths.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Weir",
        description = "Tracking ingestion: an id in an answer is a record on disk.",
        license(name = "", identifier = "")
    ),
    components(schemas(WrappedError, BareError)),
    tags(
        (name = "analytics", description = "Sessions and what happens in them"),
        (name = "users", description = "Signed-in users: funnel, attribution, consent history"),
        (name = "consent", description = "Cookie consent"),
        (name = "visitors", description = "Visitor tokens"),
        (name = "sign-in", description = "Accounts, with the visitor that a new user was"),
        (name = "operations", description = "Health and metrics"),
    )
)]
struct Frame;

/// The document of these endpoints, as JSON.
///
/// # Panics
/// Never: the document is plain structs with string keys.
#[must_use]
pub fn document(endpoints: &[Endpoint]) -> String {
    let mut document = Frame::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    document.info.license = None;
    let components = document.components.get_or_insert_default();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let key = ApiKey::Header(ApiKeyValue::new("X-Internal-Key"));
    components.add_security_scheme("internalKey", SecurityScheme::ApiKey(key));
    for endpoint in endpoints {
        let Some(openapi) = endpoint.openapi else { continue };
        document.merge(openapi());
        if let Some(operation) = operation(&mut document, endpoint) {
            alike::complete(endpoint, operation);
        }
    }
    document.to_json().expect("a document is plain structs with string keys")
}

/// Where an endpoint is described.
fn operation<'a>(document: &'a mut OpenApi, endpoint: &Endpoint) -> Option<&'a mut Operation> {
    let path = document.paths.paths.get_mut(endpoint.path.text)?;
    match endpoint.method {
        Verb::Get => path.get.as_mut(),
        Verb::Post => path.post.as_mut(),
        Verb::Patch => path.patch.as_mut(),
    }
}

/// `GET /docs`
pub async fn page(_: &mut Call<'_>) -> Result<Reply, ApiError> {
    Ok(served(response("text/html; charset=utf-8", include_str!("page.html"))))
}

/// `GET /docs/{file}`: what the page is made of.
pub async fn file(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let (content_type, bytes): (_, &'static [u8]) = match &*call.path_part() {
        "swagger-ui.css" => ("text/css", include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css"))),
        "swagger-ui-bundle.js" => {
            ("text/javascript", include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js")))
        }
        _ => return Err(ApiError::NotFound),
    };
    Ok(served(response(content_type, bytes)))
}

/// `GET /openapi.json`, with the document of the table that it stands in.
#[must_use]
pub fn json(document: &'static str) -> Reply {
    served(response("application/json", document))
}

fn served(response: HttpResponse) -> Reply {
    Reply::Now { outcome: Outcome::Served, response }
}

fn response(content_type: &str, body: impl MessageBody + 'static) -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, content_type)).body(body)
}

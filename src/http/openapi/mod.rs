//! The description of the whole interface (`OpenAPI` 3.1), made from the handlers themselves, and a page to try it.
//!
//! `/openapi.json` is built once. `/docs` loads nothing from elsewhere: Swagger UI's files are part of the program. What
//! every route answers alike (throttles, bodies that are too large, outages) is added here, from the same tables that
//! make it so.

pub mod bodies;

use std::sync::{Arc, LazyLock};

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, Operation};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Object, Ref, RefOr, Required, Response, ResponseBuilder, Type};
use utoipa::{Modify, OpenApi};

use super::answer::{BareError, Envelope, WrappedError};
use super::refusal::Refusal;
use super::{
    answer, auth, batch, consent, health, internal, observe, pageview, routes, session, track, users, visitors,
};
use crate::config::throttled;
use crate::domain::Route;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Weir",
        description = "Tracking ingestion: an id in an answer is a record on disk.",
        license(name = "", identifier = "")
    ),
    paths(
        session::create,
        session::identify,
        session::heartbeat,
        pageview::view,
        pageview::leave,
        pageview::leave_by_beacon,
        batch::batch,
        track::track,
        users::attribution,
        users::consents,
        consent::save,
        consent::status,
        consent::policy,
        visitors::init,
        auth::request_code,
        auth::verify,
        auth::external,
        internal::create_user,
        health::live,
        health::ready,
        observe::metrics,
    ),
    components(schemas(WrappedError, BareError)),
    tags(
        (name = "analytics", description = "Sessions and what happens in them"),
        (name = "users", description = "Signed-in users: funnel, attribution, consent history"),
        (name = "consent", description = "Cookie consent"),
        (name = "visitors", description = "Visitor tokens"),
        (name = "sign-in", description = "Accounts, with the visitor that a new user was"),
        (name = "operations", description = "Health and metrics"),
    ),
    modifiers(&Common)
)]
struct Description;

static JSON: LazyLock<String> = LazyLock::new(|| {
    let mut description = Description::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut description.info.version);
    description.info.license = None;
    description.to_json().expect("a description is plain structs with string keys")
});

/// What routes answer alike.
struct Common;

impl Modify for Common {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let components = description.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let key = ApiKey::Header(ApiKeyValue::new("X-Internal-Key"));
        components.add_security_scheme("internalKey", SecurityScheme::ApiKey(key));
        for (path, item) in &mut description.paths.paths {
            for (method, operation) in [
                (HttpMethod::Get, &mut item.get),
                (HttpMethod::Post, &mut item.post),
                (HttpMethod::Patch, &mut item.patch),
            ] {
                if let Some(operation) = operation {
                    complete(path, &method, operation);
                }
            }
        }
    }
}

/// Adds the answers that follow from the route's tables: its throttle, its body, its journal or database.
fn complete(path: &str, method: &HttpMethod, operation: &mut Operation) {
    let route = routes::route_of(path);
    let limited = throttled(route);
    let mut add = |refusal: Refusal| {
        let wording = refusal.wording();
        let status = wording.status.as_u16().to_string();
        operation.responses.responses.entry(status).or_insert_with(|| RefOr::T(error(path, &refusal, limited)));
    };
    if *method != HttpMethod::Get {
        // Also without a body of its own: what nobody asked for is read and forgotten, and may be broken or slow.
        for refusal in [Refusal::Validation(Vec::new()), Refusal::BodyTimeout] {
            add(refusal);
        }
    }
    if operation.request_body.is_some() {
        add(Refusal::UnsupportedMediaType);
        add(Refusal::TooLarge);
    }
    if route == Route::TrackInit {
        // All of its fields are optional: an empty body is an empty object.
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            body.required = Some(Required::False);
        }
    }
    if path.contains('{') {
        // An id with a slash in it is another path.
        add(Refusal::NotFound);
    }
    if limited {
        add(Refusal::Throttled { retry_after_seconds: 1 });
    }
    // Sessions, views and batches say it in their own way.
    let never = [Route::Health, Route::Metrics, Route::ConsentPolicy, Route::Session, Route::Pageview, Route::Batch];
    if !never.contains(&route) {
        add(Refusal::Unavailable);
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            decorate(response, limited);
        }
    }
}

fn error(path: &str, refusal: &Refusal, limited: bool) -> Response {
    let schema = match Envelope::at(path) {
        Envelope::Wrapped => "WrappedError",
        Envelope::Bare => "BareError",
    };
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    let mut response =
        ResponseBuilder::new().description(refusal.wording().message).content("application/json", content).build();
    if let Some((name, _)) = refusal.header() {
        response.headers.insert(canonical(name.as_str()), text_header("See RFC 9110."));
    }
    decorate(&mut response, limited);
    response
}

/// Headers that every answer has.
fn decorate(response: &mut Response, limited: bool) {
    let mut add = |name: &str, description: &str| {
        response.headers.entry(name.to_owned()).or_insert_with(|| text_header(description));
    };
    add("X-Request-Id", "The request's own, or a new one.");
    if limited {
        add("RateLimit-Policy", "The route's limit: requests (q) in a window of seconds (w).");
        add("RateLimit", "What is left of it (r), and for how many seconds (t).");
    }
}

fn text_header(description: &str) -> RefOr<utoipa::openapi::Header> {
    let text = Object::with_type(Type::String);
    RefOr::T(HeaderBuilder::new().schema(Some(text)).description(Some(description)).build())
}

/// `retry-after` as people write it.
fn canonical(name: &str) -> String {
    let parts = name.split('-').map(|part| {
        let (first, rest) = part.split_at(part.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    parts.collect::<Vec<_>>().join("-")
}

/// `GET /openapi.json`
pub async fn description() -> HttpResponse {
    served("application/json", JSON.as_str())
}

/// `GET /docs`
pub async fn page() -> HttpResponse {
    served("text/html; charset=utf-8", include_str!("page.html"))
}

/// `GET /docs/{file}`: what the page is made of.
pub async fn file(request: HttpRequest, file: Path<String>) -> HttpResponse {
    const FILES: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];
    let config = Arc::new(utoipa_swagger_ui::Config::from("/openapi.json"));
    let found = FILES.contains(&file.as_str()).then(|| utoipa_swagger_ui::serve(&file, config));
    match found {
        Some(Ok(Some(found))) => {
            let mut response = served(&found.content_type, found.bytes.into_owned());
            if found.gzpipped {
                response
                    .headers_mut()
                    .insert(CONTENT_ENCODING, actix_web::http::header::HeaderValue::from_static("gzip"));
            }
            response
        }
        _ => answer::refuse(&request, Refusal::NotFound),
    }
}

fn served(content_type: &str, body: impl actix_web::body::MessageBody + 'static) -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, content_type)).body(body)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn description() -> Value {
        serde_json::from_str(&JSON).unwrap()
    }

    #[test]
    fn bodies_are_described_with_exactly_the_fields_that_are_read() {
        let description = description();
        let mut item_fields = batch::items::ItemFields::FIELDS.to_vec();
        item_fields.push("body");
        for (schema, fields) in [
            ("SessionRequest", session::SessionBody::FIELDS),
            ("PageviewRequest", pageview::PageviewBody::FIELDS),
            ("LeaveRequest", pageview::LeaveBody::FIELDS),
            ("BatchItem", item_fields.as_slice()),
            ("TrackRequest", track::TrackBody::FIELDS),
            ("ConsentRequest", consent::ConsentBody::FIELDS),
            ("InitRequest", visitors::InitBody::FIELDS),
            ("CodeRequest", auth::CodeBody::FIELDS),
            ("VerifyRequest", auth::VerifyBody::FIELDS),
            ("ExternalRequest", auth::ExternalBody::FIELDS),
            ("UserRequest", internal::UserBody::FIELDS),
        ] {
            let properties = description["components"]["schemas"][schema]["properties"].as_object().unwrap();
            let described: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
            assert_eq!(described, fields.iter().copied().collect(), "{schema}");
        }
    }

    #[test]
    fn every_described_path_is_a_known_route_and_every_operation_has_an_id_of_its_own() {
        let description = description();
        let mut ids = BTreeSet::new();
        for (path, item) in description["paths"].as_object().unwrap() {
            let path = path.replace("{id}", "01a1fba7-29af-74da-8a04-14eb46ead50e");
            assert_ne!(routes::route_of(&path), Route::Other, "{path}");
            for operation in item.as_object().unwrap().values() {
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
            }
        }
        let described: BTreeSet<&str> = description["paths"]
            .as_object()
            .unwrap()
            .keys()
            .map(|path| routes::route_of(&path.replace("{id}", "x")).label())
            .collect();
        let routes: BTreeSet<&str> = Route::ALL.iter().map(|route| route.label()).collect();
        let missing: Vec<_> = routes.difference(&described).collect();
        assert_eq!(missing, [&"documentation", &"other"], "routes that are not described");
    }
}

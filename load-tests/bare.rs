//! What the machine must pay in any case: one HTTP request, read as JSON and answered with an id. Nothing is checked,
//! nothing is kept. `load-tests/compare` measures Weir against it.

use actix_web::web::{Bytes, post};
use actix_web::{App, HttpResponse, HttpServer};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)] // read, as Weir reads them, and not used
struct Session<'a> {
    visitor_id: &'a str,
    landing_page: &'a str,
    consent_analytics: &'a str,
    #[serde(default)]
    bio_page_id: Option<&'a str>,
    #[serde(default)]
    referrer: Option<&'a str>,
    #[serde(default)]
    screen_width: Option<u32>,
    #[serde(default)]
    screen_height: Option<u32>,
    #[serde(default)]
    tracking_token: Option<&'a str>,
}

#[derive(Serialize)]
struct Answer {
    id: Uuid,
}

async fn session(body: Bytes) -> HttpResponse {
    match serde_json::from_slice::<Session<'_>>(&body) {
        Ok(_) => HttpResponse::Ok().json(Answer { id: Uuid::now_v7() }),
        Err(_) => HttpResponse::BadRequest().finish(),
    }
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8081".to_owned());
    HttpServer::new(|| App::new().route("/api/v1/analytics/session", post().to(session)))
        .backlog(4096)
        .bind(address)?
        .run()
        .await
}

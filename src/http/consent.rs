//! `POST /api/v1/consent/cookies`: a visitor's choice, appended and never changed.
//!
//! The address is kept only when the visitor agrees to analytics; this is the one place in Weir where it is.

use std::time::Instant;

use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::admission::Admission;
use super::client::{self, Client};
use super::fields::{self, json_fields};
use super::refusal::Refusal;
use super::rules::Rules;
use super::{AppState, answer, bearer, body};
use crate::domain::{ClientIp, ConsentPreferences, ConsentRecord, JournalRecord, MainRecord, Outcome, Route};
use crate::telemetry::Stage;

json_fields! {
    /// The body, in the contract's order.
    struct ConsentBody { analytics = "analytics", marketing = "marketing", functional = "functional" }
}

#[derive(Serialize)]
struct Saved {
    saved: bool,
}

/// The handler.
pub async fn save(request: HttpRequest, payload: Payload, app: Data<AppState>) -> HttpResponse {
    let client = Client::of(&request, &app);
    let admission = Admission::ask(&app, Route::Consent, &client);
    let mut response = match admission.refusal() {
        Some(refusal) => {
            body::drain(payload).await;
            answer::refuse(&request, refusal)
        }
        None => match choose(&request, payload, &app, &client).await {
            Ok(()) => answer::ok(&request, Outcome::Accepted, Saved { saved: true }),
            Err(refusal) => answer::refuse(&request, refusal),
        },
    };
    admission.decorate(&mut response);
    response
}

async fn choose(request: &HttpRequest, payload: Payload, app: &AppState, client: &Client) -> Result<(), Refusal> {
    let body = body::read(request, payload).await?;
    let began = Instant::now();
    let preferences = preferences(&body)?;
    app.telemetry.stage(Stage::Parse, began.elapsed());
    let now = app.clock.now();
    let record = ConsentRecord {
        id: app.ids.next(now),
        created_at: now,
        user_id: bearer::optional(request, app).map(|user| user.0),
        document_version: app.settings.privacy_version(),
        preferences,
        ip_address: client.ip.filter(|_| preferences.analytics).map(ClientIp::text_for_consent),
        user_agent: client::user_agent(request.headers()).filter(|user_agent| !user_agent.is_empty()),
    };
    let began = Instant::now();
    let ack =
        app.main.journal.append(MainRecord::Consent(Box::new(record)).encode()).map_err(|_| Refusal::Unavailable)?;
    let durable = ack.await;
    app.telemetry.stage(Stage::Journal, began.elapsed());
    durable.map_err(|_| Refusal::Unavailable)
}

fn preferences(body: &Bytes) -> Result<ConsentPreferences, Refusal> {
    let body: ConsentBody<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let preferences = ConsentPreferences {
        analytics: rules.required_boolean("analytics", &body.analytics),
        marketing: rules.required_boolean("marketing", &body.marketing),
        functional: rules.required_boolean("functional", &body.functional),
    };
    rules.finish()?;
    Ok(preferences)
}

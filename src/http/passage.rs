//! What a request carries through the layers: its id on the way in, what became of it on the way out.
//!
//! One entry in the request's own extensions. An entry in those of the answer would cost a table of its own, each time.

use std::cell::Cell;

use actix_web::dev::ServiceRequest;
use actix_web::{HttpMessage, HttpRequest};

use super::request_id::RequestId;
use crate::domain::Outcome;

struct Passage {
    id: RequestId,
    outcome: Cell<Option<Outcome>>,
}

/// Gives a request its id.
pub fn begin(request: &ServiceRequest, id: RequestId) {
    request.extensions_mut().insert(Passage { id, outcome: Cell::new(None) });
}

/// The request's id.
pub fn id(request: &HttpRequest) -> Option<RequestId> {
    request.extensions().get::<Passage>().map(|passage| passage.id.clone())
}

/// Notes under which outcome the request is counted.
pub fn note(request: &HttpRequest, outcome: Outcome) {
    if let Some(passage) = request.extensions().get::<Passage>() {
        passage.outcome.set(Some(outcome));
    }
}

/// What was noted last.
pub fn outcome(request: &HttpRequest) -> Option<Outcome> {
    request.extensions().get::<Passage>()?.outcome.get()
}

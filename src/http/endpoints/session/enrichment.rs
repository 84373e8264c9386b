//! A visit on its way to a record: what the server knows of it is added, at once or after its user agent was parsed.

use std::time::Instant;

use futures_util::future::LocalBoxFuture;
use uuid::Uuid;
use weir_domain::SessionRecord;

use crate::contract::Cut;
use crate::enrich::user_agent::UserAgentFacts;
use crate::enrich::{Admitted, Discarded, EventTime, SessionFields, SessionVisit};
use crate::http::call::Call;
use crate::http::protocol::api_error::ApiError;
use crate::http::state::AppState;
use crate::telemetry::Stage;

/// Reads a session that is an item of a batch, and adds what the server knows of it.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_and_enrich<'a>(
    call: &'a Call<'_>,
    body: &'a [u8],
    when: EventTime,
) -> Result<Enriched<'a, SessionRecord>, ApiError> {
    let mut fields = SessionFields::default();
    let mut cut = Cut::default();
    let visit = SessionVisit::read(body, &mut fields, &mut cut)?;
    call.count_cut(&cut);
    Ok(enrich(call, &visit, body, when, |_, record| record.to_owned_texts()))
}

/// What became of a visit: of its record, or why there is none.
#[allow(clippy::large_enum_variant)] // nearly every one is the large one: a box would be one more allocation
pub enum Enriched<'a, T> {
    Now(Result<T, Discarded>),
    /// Its user agent has to be parsed first, by somebody else.
    Later(LocalBoxFuture<'a, Result<T, Discarded>>),
}

/// What is done with a record, which lives no longer than that.
pub type Use<T> = fn(&AppState, &SessionRecord<&str>) -> T;

/// Adds what the server knows of a visit. `body` is what it was read from.
pub fn enrich<'a, T: 'a>(
    call: &'a Call<'_>,
    visit: &SessionVisit<'_>,
    body: &'a [u8],
    when: EventTime,
    use_of: Use<T>,
) -> Enriched<'a, T> {
    let enriching = Enriching { call, when, began: Instant::now(), use_of };
    let admitted = call.app.enricher.admit(visit, call.user_agent().as_deref(), when.now);
    Enriched::Now(match admitted {
        Ok(Admitted { bio_page_id, agent: Some(agent) }) => Ok(enriching.record(visit, bio_page_id, &agent)),
        Ok(Admitted { bio_page_id, agent: None }) => {
            return Enriched::Later(Box::pin(enriching.parse_first(body, bio_page_id)));
        }
        Err(discarded) => {
            if discarded == Discarded::BadToken {
                tracing::debug!(request_id = %call.request_id(), "rejected as spam");
            }
            enriching.end_of_stage();
            Err(discarded)
        }
    })
}

/// A visit on its way to a record.
struct Enriching<'a, 'app, T> {
    call: &'a Call<'app>,
    when: EventTime,
    began: Instant,
    use_of: Use<T>,
}

impl<T> Enriching<'_, '_, T> {
    /// A user agent that nobody knows costs as much as ten requests. The visit is read once more after it rather than kept
    /// meanwhile.
    async fn parse_first(self, body: &[u8], bio_page_id: Option<Uuid>) -> Result<T, Discarded> {
        let agent = self.call.app.enricher.parse(self.call.user_agent().as_deref()).await;
        let agent = agent.inspect_err(|_| self.end_of_stage())?;
        let mut fields = SessionFields::default();
        let visit = SessionVisit::read(body, &mut fields, &mut Cut::default())
            .expect("it was read from these very bytes before");
        Ok(self.record(&visit, bio_page_id, &agent))
    }

    fn record(&self, visit: &SessionVisit<'_>, bio_page_id: Option<Uuid>, agent: &UserAgentFacts) -> T {
        let Call { app, client, .. } = self.call;
        let place = app.enricher.place(client.ip, client.proxy_place(self.call.headers()));
        app.enricher.record(visit, bio_page_id, agent, &place, self.when, |record| {
            self.end_of_stage();
            (self.use_of)(app, record)
        })
    }

    fn end_of_stage(&self) {
        self.call.app.telemetry.stage(Stage::Enrich, self.began.elapsed());
    }
}

//! A session's way from what the client sent to what is stored: the contract's rules 2 to 8, in its order, except that
//! the token (rule 6) is checked before the costly parts of rules 4 and 5. No answer shows the difference.

use std::borrow::Cow;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::bot::is_bot;
use super::geo::{Found, Geo};
use super::pool::{PoolBusy, UserAgents};
use super::referrer;
use super::token::TrackingTokens;
use crate::domain::{ClientIp, IdSource, Outcome, Place, SessionRecord, UnixMillis, VisitorHash, parse_uuid};

/// A request for a session that passed validation, with what its connection tells. What is not stored as it came is borrowed
/// from the request.
#[derive(Debug, Default)]
pub struct SessionVisit<'a> {
    pub visitor_id: Cow<'a, str>,
    pub landing_page: String,
    pub consent_analytics: Option<Cow<'a, str>>,
    pub bio_page_id: Option<Cow<'a, str>>,
    pub creator_id: Option<Cow<'a, str>>,
    pub referrer: Option<String>,
    pub utm_source: Option<String>,
    pub utm_medium: Option<String>,
    pub utm_campaign: Option<String>,
    pub utm_term: Option<String>,
    pub utm_content: Option<String>,
    pub language: Option<String>,
    pub device: Option<String>,
    pub browser: Option<String>,
    pub os: Option<String>,
    pub os_version: Option<String>,
    pub connection_type: Option<String>,
    pub timezone: Option<String>,
    pub screen_width: Option<u16>,
    pub screen_height: Option<u16>,
    pub tracking_token: Option<Cow<'a, str>>,
    /// The `User-Agent` header, cut to its maximum.
    pub user_agent: Option<Cow<'a, str>>,
    pub client: Option<ClientIp>,
    /// What a trusted proxy says, for addresses that the GeoIP database does not know.
    pub proxy_place: Place,
}

/// A visit that is not stored, and is answered with `id: null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discarded {
    Bot,
    NoConsent,
    BadToken,
    /// The user-agent pool is full.
    Unavailable,
}

impl From<Discarded> for Outcome {
    fn from(discarded: Discarded) -> Self {
        match discarded {
            Discarded::Bot => Self::Bot,
            Discarded::NoConsent => Self::NoConsent,
            Discarded::BadToken => Self::BadToken,
            Discarded::Unavailable => Self::Unavailable,
        }
    }
}

/// Everything that enrichment needs; one for the whole process.
pub struct Enricher {
    pub agents: UserAgents,
    pub geo: Geo,
    pub tokens: TrackingTokens,
    pub ids: Arc<IdSource>,
}

impl Enricher {
    /// Turns a visit that began `age_ms` before `now` into the record to store.
    ///
    /// # Errors
    /// When the visit is not to be stored, with the reason.
    pub async fn session(
        &self,
        visit: SessionVisit<'_>,
        now: UnixMillis,
        age_ms: i64,
    ) -> Result<SessionRecord, Discarded> {
        let user_agent = visit.user_agent.as_deref().filter(|user_agent| !user_agent.is_empty());
        let known = user_agent.and_then(|user_agent| self.agents.known(user_agent));
        let bot = known.as_ref().map_or_else(|| user_agent.is_some_and(is_bot), |facts| facts.bot);
        if bot {
            return Err(Discarded::Bot);
        }
        if visit.consent_analytics.as_deref() != Some("granted") {
            return Err(Discarded::NoConsent);
        }
        let bio_page_id = self.check_page(&visit, now)?;
        let agent = match (known, user_agent) {
            (Some(facts), _) => facts,
            (None, Some(user_agent)) => {
                self.agents.parse(user_agent).await.map_err(|PoolBusy| Discarded::Unavailable)?
            }
            (None, None) => Arc::default(),
        };
        let mut place = self.place(visit.client, visit.proxy_place);
        place.timezone = place.timezone.or(visit.timezone);
        Ok(SessionRecord {
            id: self.ids.next(now),
            started_at: UnixMillis(now.0 - age_ms),
            visitor: VisitorHash(Sha256::digest(visit.visitor_id.as_bytes()).into()),
            bio_page_id,
            creator_id: visit.creator_id.as_deref().and_then(parse_uuid),
            referrer_domain: referrer::domain(visit.referrer.as_deref()),
            landing_page: visit.landing_page,
            referrer: visit.referrer,
            utm_source: visit.utm_source,
            utm_medium: visit.utm_medium,
            utm_campaign: visit.utm_campaign,
            utm_term: visit.utm_term,
            utm_content: visit.utm_content,
            device: agent.device.map(|device| device.as_str().to_owned()).or(visit.device),
            browser: agent.browser.as_deref().map(str::to_owned).or(visit.browser),
            os: agent.os.as_deref().map(str::to_owned).or(visit.os),
            os_version: agent.os_version.as_deref().map(str::to_owned).or(visit.os_version),
            screen_width: visit.screen_width,
            screen_height: visit.screen_height,
            connection_type: visit.connection_type,
            language: visit.language,
            place,
        })
    }

    fn check_page(&self, visit: &SessionVisit<'_>, now: UnixMillis) -> Result<Option<Uuid>, Discarded> {
        let Some(page) = visit.bio_page_id.as_deref() else { return Ok(None) };
        let id = parse_uuid(page).ok_or(Discarded::BadToken)?;
        let token = visit.tracking_token.as_deref().ok_or(Discarded::BadToken)?;
        // The token is made over the id as the page wrote it, not over its canonical form.
        if self.tokens.verify(page, token, now) { Ok(Some(id)) } else { Err(Discarded::BadToken) }
    }

    /// The device class of a user agent, where it tells one and the pool has time for it.
    pub async fn device(&self, user_agent: Option<&str>) -> Option<String> {
        let user_agent = user_agent.filter(|user_agent| !user_agent.is_empty())?;
        let facts = self.agents.facts(user_agent).await.ok()?;
        facts.device.map(|device| device.as_str().to_owned())
    }

    /// Where an address is: by GeoIP, else by what the proxy says.
    #[must_use]
    pub fn place(&self, client: Option<ClientIp>, proxy_place: Place) -> Place {
        match client.map_or(Found::Nothing, |client| self.geo.look_up(client)) {
            Found::Row(place) => place,
            Found::Nothing => proxy_place,
            Found::Failed => Place::default(),
        }
    }
}

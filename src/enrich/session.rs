//! A session's way from what the client sent to what is stored: the contract's rules 2 to 8, in its order, except that
//! the token (rule 6) is checked before the costly parts of rules 4 and 5. No answer shows the difference.

use std::sync::{Arc, LazyLock};

use uuid::Uuid;

use super::bots::Bots;
use super::geo::{Found, Geo, Place};
use super::pool::{PoolBusy, UserAgents};
use super::referrer;
use super::token::TrackingTokens;
use super::user_agent::{DeviceClass, UserAgentFacts};
use super::utm::Utm;
use crate::contract::kinds::{CutText, OptionalInteger, OptionalText, Text};
use crate::contract::{TEXT_MAX, URL_MAX, request_body};
use weir_domain::{
    BotWord, ClientIp, GeoLocation, IdSource, Outcome, SessionRecord, UnixMillis, VisitorHash, analytics_is_granted,
    parse_uuid, sha256,
};

/// The longest side of a screen, in pixels.
const SCREEN_MAX: u16 = 7680;

request_body! {
    /// A visit begins.
    pub struct SessionVisit from SessionFields as SessionRequest derive(Clone, Copy, Default) {
        /// The client's own anonymous id. Only its hash is stored.
        visitor_id: "visitorId" => Text<TEXT_MAX>,
        landing_page: "landingPage" => Text<URL_MAX>,
        /// Anything but `granted`, or nothing, stores nothing.
        consent_analytics: "consentAnalytics" => OptionalText<50>,
        /// A UUID; takes a `trackingToken` too.
        bio_page_id: "bioPageId" => CutText<TEXT_MAX>,
        /// What is no UUID is dropped.
        creator_id: "creatorId" => CutText<TEXT_MAX>,
        referrer: "referrer" => CutText<URL_MAX>,
        utm_source: "utmSource" => CutText<TEXT_MAX>,
        utm_medium: "utmMedium" => CutText<TEXT_MAX>,
        utm_campaign: "utmCampaign" => CutText<TEXT_MAX>,
        utm_term: "utmTerm" => CutText<TEXT_MAX>,
        utm_content: "utmContent" => CutText<TEXT_MAX>,
        language: "language" => CutText<TEXT_MAX>,
        /// Used when the user agent tells none; so are `browser`, `os` and `osVersion`.
        device: "device" => CutText<TEXT_MAX>,
        browser: "browser" => CutText<TEXT_MAX>,
        os: "os" => CutText<TEXT_MAX>,
        os_version: "osVersion" => OptionalText<20>,
        connection_type: "connectionType" => OptionalText<20>,
        /// Used when the address tells none.
        timezone: "timezone" => OptionalText<50>,
        screen_width: "screenWidth" => OptionalInteger<0, SCREEN_MAX>,
        screen_height: "screenHeight" => OptionalInteger<0, SCREEN_MAX>,
        /// The first 32 hex characters of HMAC-SHA256 over the page and its five minutes.
        tracking_token: "trackingToken" => CutText<TEXT_MAX>,
    }
}

/// A visit that is not stored, and is answered with `id: null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discarded {
    /// With the word that gave it away.
    Bot(BotWord),
    NoConsent,
    BadToken,
    /// The user-agent pool is full.
    Unavailable,
}

impl From<Discarded> for Outcome {
    fn from(discarded: Discarded) -> Self {
        match discarded {
            Discarded::Bot(_) => Self::Bot,
            Discarded::NoConsent => Self::NoConsent,
            Discarded::BadToken => Self::BadToken,
            Discarded::Unavailable => Self::Unavailable,
        }
    }
}

/// When a visit is looked at, and how long before that it began.
#[derive(Clone, Copy, Debug)]
pub struct EventTime {
    pub now: UnixMillis,
    pub age_ms: i64,
}

/// What no user agent tells.
static NOTHING: LazyLock<Arc<UserAgentFacts>> = LazyLock::new(Arc::default);

/// What is known of a visit that passed every gate.
pub struct Admitted {
    /// The page whose token it brought.
    pub bio_page_id: Option<Uuid>,
    /// What its user agent tells; `None` when that has to be parsed first.
    pub agent: Option<Arc<UserAgentFacts>>,
}

/// Everything that enrichment needs; one for the whole process.
pub struct Enricher {
    pub agents: UserAgents,
    pub bots: Arc<Bots>,
    pub geo: Geo,
    pub tokens: TrackingTokens,
    pub ids: Arc<IdSource>,
}

impl Enricher {
    /// Passes a visit through the gates.
    ///
    /// # Errors
    /// When it is not to be stored, with the reason.
    pub fn admit(
        &self,
        visit: &SessionVisit<'_>,
        user_agent: Option<&str>,
        now: UnixMillis,
    ) -> Result<Admitted, Discarded> {
        let user_agent = user_agent.filter(|user_agent| !user_agent.is_empty());
        let agent = match user_agent {
            Some(user_agent) => self.agents.known(user_agent),
            None => Some(Arc::clone(&NOTHING)),
        };
        let bot = match &agent {
            Some(facts) => facts.bot,
            None => user_agent.and_then(|user_agent| self.bots.find(user_agent)),
        };
        if let Some(word) = bot {
            self.bots.dropped(word);
            return Err(Discarded::Bot(word));
        }
        if !analytics_is_granted(visit.consent_analytics) {
            return Err(Discarded::NoConsent);
        }
        Ok(Admitted { bio_page_id: self.check_page(visit, now)?, agent })
    }

    /// Whether an event is a bot's, and counts it if so.
    #[must_use]
    pub fn is_bot(&self, user_agent: Option<&str>) -> bool {
        let word = user_agent.and_then(|user_agent| self.bots.find(user_agent));
        word.inspect(|word| self.bots.dropped(*word)).is_some()
    }

    /// What a user agent tells that [`Self::admit`] did not know.
    ///
    /// # Errors
    /// When nobody has time to parse it.
    pub async fn parse(&self, user_agent: Option<&str>) -> Result<Arc<UserAgentFacts>, Discarded> {
        let parsed = self.agents.parse(user_agent.unwrap_or_default()).await;
        parsed.map_err(|PoolBusy| Discarded::Unavailable)
    }

    /// The record of a visit of this page that passed every gate, from this place. Its texts stand where they stood, so it
    /// is lent to whoever does something with it.
    pub fn record<T>(
        &self,
        visit: &SessionVisit<'_>,
        bio_page_id: Option<Uuid>,
        agent: &UserAgentFacts,
        place: &Place,
        when: EventTime,
        use_of: impl FnOnce(&SessionRecord<&str>) -> T,
    ) -> T {
        let referrer_domain = referrer::domain(visit.referrer);
        let utm = Utm::of(visit.landing_page);
        let location = place.location.lend();
        let timezone = if place.is_time_zone_certain {
            location.timezone.or(visit.timezone)
        } else {
            visit.timezone.or(location.timezone)
        };
        use_of(&SessionRecord {
            id: self.ids.next(when.now),
            started_at: UnixMillis(when.now.0 - when.age_ms),
            visitor: VisitorHash(sha256(&[visit.visitor_id.as_bytes()])),
            bio_page_id,
            creator_id: visit.creator_id.and_then(parse_uuid),
            referrer_domain: &referrer_domain,
            landing_page: visit.landing_page,
            referrer: visit.referrer,
            utm_source: visit.utm_source.or(utm.source.as_deref()),
            utm_medium: visit.utm_medium.or(utm.medium.as_deref()),
            utm_campaign: visit.utm_campaign.or(utm.campaign.as_deref()),
            utm_term: visit.utm_term.or(utm.term.as_deref()),
            utm_content: visit.utm_content.or(utm.content.as_deref()),
            device: agent.device.map(DeviceClass::as_str).or(visit.device),
            browser: agent.browser.as_deref().or(visit.browser),
            os: agent.os.as_deref().or(visit.os),
            os_version: agent.os_version.as_deref().or(visit.os_version),
            screen_width: visit.screen_width,
            screen_height: visit.screen_height,
            connection_type: visit.connection_type,
            language: visit.language,
            place: GeoLocation { timezone, ..location },
        })
    }

    fn check_page(&self, visit: &SessionVisit<'_>, now: UnixMillis) -> Result<Option<Uuid>, Discarded> {
        let Some(page) = visit.bio_page_id else { return Ok(None) };
        let id = parse_uuid(page).ok_or(Discarded::BadToken)?;
        let token = visit.tracking_token.ok_or(Discarded::BadToken)?;
        // The token is made over the id as the page wrote it, not over its canonical form.
        if self.tokens.verify(page, token, now) { Ok(Some(id)) } else { Err(Discarded::BadToken) }
    }

    /// The device class of a user agent, where it tells one and the pool has time for it.
    pub async fn device(&self, user_agent: Option<&str>) -> Option<String> {
        let user_agent = user_agent.filter(|user_agent| !user_agent.is_empty())?;
        let device = match self.agents.known(user_agent) {
            Some(facts) => facts.device,
            None => self.agents.parse(user_agent).await.ok()?.device,
        };
        device.map(|device| device.as_str().to_owned())
    }

    /// Where an address is: by GeoIP, and by what the proxy says where that knows no country.
    #[must_use]
    pub fn place(&self, client: Option<ClientIp>, proxy_place: GeoLocation) -> Place {
        match client.map_or(Found::Nothing, |client| self.geo.look_up(client)) {
            Found::Row(mut place) => {
                if place.location.country.is_none() {
                    place.location.country = proxy_place.country;
                    place.location.city = place.location.city.or(proxy_place.city);
                }
                place
            }
            Found::Nothing => Place::without_certainty(proxy_place),
            Found::Failed => Place::default(),
        }
    }
}

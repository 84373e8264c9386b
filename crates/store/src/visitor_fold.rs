//! What a batch of visitor records comes to: new visitors, and what known ones brought later. Fields that are set never
//! change. Applied one record after the other in memory, as `fold` does it for sessions.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use weir_domain::{Attributes, FINGERPRINT_LIFETIME_MS, MainRecord, UnixMillis, VisitorRecord, VisitorToken};

/// A visitor's columns that a later request may fill in.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct VisitorState {
    /// Source, medium, campaign, term, content.
    pub utm: [Option<String>; 5],
    pub invited_by_id: Option<String>,
    pub user_id: Option<String>,
    pub updated_at: Option<UnixMillis>,
}

/// What a batch asks for: the visitors it names, and the codes of those who may have invited them.
#[derive(Debug, Default)]
pub(super) struct TouchedVisitors {
    pub tokens: BTreeSet<VisitorToken>,
    pub invitations: BTreeSet<String>,
}

impl TouchedVisitors {
    pub fn of(records: &[MainRecord]) -> Self {
        let mut write_set = Self::default();
        for record in records {
            let (token, attributes) = match record {
                MainRecord::Visitor(visitor) => (visitor.token, &visitor.attributes),
                MainRecord::VisitorFill(fill) => (fill.token, &fill.attributes),
                MainRecord::Account(account) => {
                    write_set.tokens.extend(account.visitor);
                    continue;
                }
                MainRecord::Consent(_) | MainRecord::FunnelEvent(_) => continue,
            };
            write_set.tokens.insert(token);
            write_set.invitations.extend(attributes.invited_by.clone());
        }
        write_set
    }
}

/// Users by what they are invited with.
#[derive(Debug, Default)]
pub(super) struct Inviters {
    by_hash_id: HashMap<String, String>,
    by_referral_code: HashMap<String, String>,
}

impl Inviters {
    /// Takes one user in: id, hash id, referral code.
    pub fn add(&mut self, id: &str, hash_id: String, referral_code: String) {
        self.by_hash_id.insert(hash_id, id.to_owned());
        self.by_referral_code.insert(referral_code, id.to_owned());
    }

    /// First by hash id, else by referral code (contract, section 4, point 3).
    fn find(&self, invitation: &str) -> Option<&String> {
        self.by_hash_id.get(invitation).or_else(|| self.by_referral_code.get(invitation))
    }
}

/// What a batch comes to; changed rows in the order of their tokens.
#[derive(Debug, Default)]
pub(super) struct VisitorFold<'a> {
    pub new: Vec<(&'a VisitorRecord, VisitorState)>,
    pub changed: Vec<(VisitorToken, VisitorState)>,
}

impl<'a> VisitorFold<'a> {
    pub fn of(records: &'a [MainRecord], mut known: HashMap<VisitorToken, VisitorState>, inviters: &Inviters) -> Self {
        let mut new: BTreeMap<VisitorToken, &VisitorRecord> = BTreeMap::new();
        let mut changed = BTreeSet::new();
        for record in records {
            match record {
                MainRecord::Visitor(visitor) => {
                    if let Entry::Vacant(vacant) = known.entry(visitor.token) {
                        let mut state = VisitorState::default();
                        state.fill(&visitor.attributes, visitor.created_at, inviters);
                        vacant.insert(state);
                        new.insert(visitor.token, visitor);
                    }
                }
                MainRecord::VisitorFill(fill) => {
                    if let Some(state) = known.get_mut(&fill.token)
                        && state.fill(&fill.attributes, fill.at, inviters)
                    {
                        changed.insert(fill.token);
                    }
                }
                // Linked in the table by a statement of its own; here for who comes after it in the batch.
                MainRecord::Account(account) => {
                    if let Some(state) = account.visitor.and_then(|token| known.get_mut(&token)) {
                        state.user_id.get_or_insert_with(|| account.user_id.clone());
                    }
                }
                MainRecord::Consent(_) | MainRecord::FunnelEvent(_) => {}
            }
        }
        changed.retain(|token| !new.contains_key(token));
        let mut take = |token: &VisitorToken| known.remove(token).unwrap_or_default();
        Self {
            changed: changed.iter().map(|token| (*token, take(token))).collect(),
            new: new.iter().map(|(token, visitor)| (*visitor, take(token))).collect(),
        }
    }
}

impl VisitorState {
    /// Fills in what is still unknown. Whether anything was.
    fn fill(&mut self, attributes: &Attributes, at: UnixMillis, inviters: &Inviters) -> bool {
        let Attributes { utm_source, utm_medium, utm_campaign, utm_term, utm_content, invited_by } = attributes;
        let mut filled = false;
        for (column, brought) in self.utm.iter_mut().zip([utm_source, utm_medium, utm_campaign, utm_term, utm_content])
        {
            if column.is_none() && brought.is_some() {
                column.clone_from(brought);
                filled = true;
            }
        }
        if self.invited_by_id.is_none() {
            let inviter = invited_by.as_deref().and_then(|invitation| inviters.find(invitation));
            // Nobody invites themselves.
            self.invited_by_id = inviter.filter(|inviter| self.user_id.as_ref() != Some(inviter)).cloned();
            filled |= self.invited_by_id.is_some();
        }
        if filled {
            self.updated_at = Some(at);
        }
        filled
    }
}

/// The fingerprint as it may still be kept at this moment.
pub(super) fn live_fingerprint(visitor: &VisitorRecord, now: UnixMillis) -> Option<String> {
    let age_ms = now.0 - visitor.created_at.0;
    (age_ms < FINGERPRINT_LIFETIME_MS).then(|| visitor.fingerprint.to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inviter_hash_id_wins_over_referral_code() {
        let mut inviters = Inviters::default();
        inviters.add("one", "h1".into(), "same".into());
        inviters.add("two", "same".into(), "r2".into());
        assert_eq!(inviters.find("same").map(String::as_str), Some("two"));
        assert_eq!(inviters.find("r2").map(String::as_str), Some("two"));
        assert_eq!(inviters.find("h1").map(String::as_str), Some("one"));
        assert_eq!(inviters.find("nobody"), None);
    }

    #[test]
    fn visitor_fill_keeps_set_fields_and_ignores_self_invitation() {
        let mut inviters = Inviters::default();
        inviters.add("self", "own".into(), "own-code".into());
        inviters.add("other", "other".into(), "other-code".into());
        let mut state = VisitorState { user_id: Some("self".into()), ..VisitorState::default() };
        let brought = |source: Option<&str>, invited_by: &str| Attributes {
            utm_source: source.map(str::to_owned),
            invited_by: Some(invited_by.to_owned()),
            ..Attributes::default()
        };
        assert!(!state.fill(&brought(None, "own"), UnixMillis(1), &inviters));
        assert!(!state.fill(&brought(None, "own-code"), UnixMillis(1), &inviters));
        assert!(state.fill(&brought(Some("news"), "nobody"), UnixMillis(2), &inviters));
        assert!(state.fill(&brought(Some("mail"), "other-code"), UnixMillis(3), &inviters));
        assert_eq!((state.utm[0].as_deref(), state.invited_by_id.as_deref()), (Some("news"), Some("other")));
        assert!(!state.fill(&brought(Some("mail"), "other"), UnixMillis(4), &inviters));
        assert_eq!(state.updated_at, Some(UnixMillis(3)));
    }
}

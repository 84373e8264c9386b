//! What clients were told, held against what the database has in the end.

use std::collections::{BTreeMap, BTreeSet};

use crate::database::Tables;
use crate::records::{Number, id_of};

/// What the client of a record was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing yet, or nothing any more.
    Nothing,
    Acknowledged,
    Refused,
}

/// What a record was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Session(Option<u8>),
    Poison,
    View(Number),
    Leave,
    Heartbeat(Number),
    Identify,
}

/// All records that were ever sent, by their numbers.
#[derive(Default)]
pub struct Ledger(Vec<(Kind, Told)>);

impl Ledger {
    pub fn send(&mut self, kind: Kind) -> Number {
        self.0.push((kind, Told::Nothing));
        Number::try_from(self.0.len()).unwrap_or_default()
    }

    pub fn tell(&mut self, number: Number, told: Told) {
        self.0[number as usize - 1].1 = told;
    }

    fn all(&self) -> impl Iterator<Item = (Number, Kind, Told)> {
        (1..).zip(&self.0).map(|(number, (kind, told))| (number, *kind, *told))
    }

    /// One of the acknowledged sessions.
    pub fn some_session(&self, about: usize) -> Option<Number> {
        self.some(about, |kind| matches!(kind, Kind::Session(_)))
    }

    /// One of the acknowledged views.
    pub fn some_view(&self, about: usize) -> Option<Number> {
        self.some(about, |kind| matches!(kind, Kind::View(_)))
    }

    fn some(&self, about: usize, is_it: impl Fn(Kind) -> bool) -> Option<Number> {
        let is_known =
            |(number, kind, told): (Number, Kind, Told)| (told == Told::Acknowledged && is_it(kind)).then_some(number);
        let known = self.all().filter_map(is_known).count();
        self.all().filter_map(is_known).nth(about.checked_rem(known)?)
    }

    /// Everything that must hold when everything has been applied. `letters` has what is set aside.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self, tables: &Tables, letters: &BTreeMap<Number, u32>) -> Result<(), String> {
        let mut keys: BTreeMap<u8, (u32, bool)> = BTreeMap::new();
        for (number, kind, told) in self.all() {
            let applied = tables.applied.get(&number).copied().unwrap_or_default();
            let dropped = u32::from(tables.dropped.contains(&number));
            let set_aside = letters.get(&number).copied().unwrap_or_default();
            let there = applied + dropped + set_aside;
            let say = |what: &str| Err(format!("record {number} ({kind:?}, {told:?}) {what}"));
            match told {
                Told::Acknowledged if there == 0 => return say("is missing"),
                Told::Refused if there > 0 => return say("is there"),
                _ if there > 1 => return say("is there more than once"),
                _ => {}
            }
            if let Kind::Session(Some(key)) = kind {
                let has = keys.entry(key).or_default();
                has.0 += applied;
                has.1 |= told == Told::Acknowledged;
            }
        }
        for (key, (rows, is_acknowledged)) in keys {
            if rows > 1 || (is_acknowledged && rows == 0) {
                return Err(format!("the item with key {key} has {rows} rows"));
            }
        }
        self.check_counters(tables)
    }

    /// What the fold made of it.
    fn check_counters(&self, tables: &Tables) -> Result<(), String> {
        let is_applied = |number: &Number| tables.applied.contains_key(number);
        let rows: BTreeSet<Number> = self.all().map(|(number, ..)| number).filter(is_applied).collect();
        for (number, kind, _) in self.all().filter(|(number, ..)| rows.contains(number)) {
            match kind {
                Kind::Session(None) => {
                    let Some(session) = tables.sessions.get(&id_of(number)) else {
                        return Err(format!("session {number} has no row"));
                    };
                    let count = |is_it: &dyn Fn(Kind) -> bool| {
                        self.all().filter(|(number, kind, _)| rows.contains(number) && is_it(*kind)).count()
                    };
                    let views = count(&|kind| kind == Kind::View(number));
                    let heartbeats = count(&|kind| kind == Kind::Heartbeat(number));
                    let seconds = usize::try_from(session.duration_seconds).unwrap_or_default();
                    if usize::try_from(session.page_views) != Ok(views) {
                        return Err(format!("session {number} has {} views, not {views}", session.page_views));
                    }
                    let each = usize::try_from(weir_domain::HEARTBEAT_SECONDS).unwrap_or_default();
                    if seconds != heartbeats * each {
                        return Err(format!("session {number} took {seconds} s, not {heartbeats} heartbeats"));
                    }
                }
                Kind::View(_) if !tables.views.contains_key(&id_of(number)) => {
                    return Err(format!("view {number} has no row"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

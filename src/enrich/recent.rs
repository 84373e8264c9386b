//! The user agents that a thread looked up last, in front of the cache that all threads share.
//!
//! A look into that one hashes the whole text against attackers, notes the use for its policy and counts a reference that
//! all cores write to; nearly all traffic is a few dozen browsers. Facts are pure, so an entry here is never wrong, only
//! replaced: a text has one set of places, and whoever crowds one on purpose gains nothing but looks into the cache.
//!
//! Bounds: [`SETS`] times [`WAYS`] texts of at most [`TEXT_MAX_BYTES`] a thread. Cost: one checksum and one comparison of the
//! text.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::user_agent::UserAgentFacts;

const SETS: usize = 64;
/// 2³² through the golden ratio: Knuth's multiplier (The Art of Computer Programming, volume 3, 6.4).
const GOLDEN_RATIO: u32 = 0x9E37_79B1;
/// Sixty browsers rarely have five in one set.
const WAYS: usize = 4;
const TEXT_MAX_BYTES: usize = 512;

static INSTANCES: AtomicU64 = AtomicU64::new(0);
thread_local! {
    static SEEN: RefCell<[[Option<Seen>; WAYS]; SETS]> = const { RefCell::new([const { [const { None }; WAYS] }; SETS]) };
}

struct Seen {
    /// Threads may serve more than one cache.
    instance: u64,
    text: Box<str>,
    facts: Rc<UserAgentFacts>,
}

/// What one cache's threads have seen.
pub(super) struct Recent {
    instance: u64,
}

impl Recent {
    pub fn new() -> Self {
        Self { instance: INSTANCES.fetch_add(1, Ordering::Relaxed) }
    }

    /// The facts of a text, from this thread's places or by a look into the cache.
    pub fn get_or(
        &self,
        text: &str,
        look_up: impl FnOnce() -> Option<Rc<UserAgentFacts>>,
    ) -> Option<Rc<UserAgentFacts>> {
        if text.len() > TEXT_MAX_BYTES {
            return look_up();
        }
        SEEN.with_borrow_mut(|seen| {
            let set = &mut seen[set_of(text)];
            let known = set.iter().flatten().find(|known| known.instance == self.instance && *known.text == *text);
            if let Some(known) = known {
                return Some(Rc::clone(&known.facts));
            }
            let facts = look_up()?;
            // The oldest goes.
            set.rotate_right(1);
            set[0] = Some(Seen { instance: self.instance, text: text.into(), facts: Rc::clone(&facts) });
            Some(facts)
        })
    }
}

/// The checksum, stirred: its own bits fall together for texts that differ in the same few digits, as the versions of one
/// browser do.
fn set_of(text: &str) -> usize {
    let stirred = crc32fast::hash(text.as_bytes()).wrapping_mul(GOLDEN_RATIO);
    (stirred >> (u32::BITS - SETS.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(os: &str) -> Rc<UserAgentFacts> {
        Rc::new(UserAgentFacts { os: Some(os.into()), ..UserAgentFacts::default() })
    }

    #[test]
    fn a_text_is_looked_up_once_and_every_text_has_its_own_facts() {
        let recent = Recent::new();
        // Many more than there are places: most of them are replaced, none is taken for another.
        for round in 0..3 {
            for number in 0..10 * SETS * WAYS {
                let text = format!("Browser/{number}");
                let found = recent.get_or(&text, || Some(facts(&text))).unwrap();
                assert_eq!(found.os.as_deref(), Some(text.as_str()), "round {round}");
                let again = recent.get_or(&text, || panic!("{text} was seen a moment ago"));
                assert_eq!(again, Some(found));
            }
        }
    }

    #[test]
    fn sixty_versions_of_a_browser_find_a_place_each() {
        let browsers = [
            |version: u32| {
                let system = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)";
                format!("{system} Chrome/{version}.0.0.0 Safari/537.36")
            },
            |version| format!("Mozilla/5.0 (X11; Linux x86_64; rv:{version}.0) Gecko/20100101 Firefox/{version}.0"),
            |version| format!("Mozilla/5.0 (iPhone; CPU iPhone OS 17_{version} like Mac OS X) Mobile/15E148"),
        ];
        for browser in browsers {
            let recent = Recent::new();
            for version in 111..171 {
                recent.get_or(&browser(version), || Some(facts("some")));
            }
            let mut again = 0;
            for version in 111..171 {
                recent.get_or(&browser(version), || {
                    again += 1;
                    None
                });
            }
            assert_eq!(again, 0, "of 60, such as {}", browser(111));
        }
    }

    #[test]
    fn what_the_cache_does_not_know_is_not_kept() {
        let recent = Recent::new();
        assert_eq!(recent.get_or("new", || None), None);
        assert_eq!(recent.get_or("new", || Some(facts("later"))), Some(facts("later")));
    }

    #[test]
    fn another_cache_has_not_seen_it() {
        let (one, other) = (Recent::new(), Recent::new());
        assert!(one.get_or("text", || Some(facts("one"))).is_some());
        assert_eq!(other.get_or("text", || None), None);
    }

    #[test]
    fn a_long_text_takes_no_place() {
        let (recent, text) = (Recent::new(), "x".repeat(TEXT_MAX_BYTES + 1));
        assert_eq!(recent.get_or(&text, || Some(facts("long"))), Some(facts("long")));
        assert_eq!(recent.get_or(&text, || None), None);
    }
}

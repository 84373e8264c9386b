//! The `bots` section: which rule tells bots from people, and the operator's own phrases.

use super::Values;
use weir_domain::{BotFilter, BotRule};

pub(super) fn take(values: &mut Values) -> BotFilter {
    let rules = [("people-first", BotRule::PeopleFirst), ("original", BotRule::Original), ("strict", BotRule::Strict)];
    let rule = values.choice("bots.rule", &rules).unwrap_or_default();
    let people: Vec<String> = values.list("bots.people", "a phrase").unwrap_or_default();
    let more: Vec<String> = values.list("bots.more", "a phrase").unwrap_or_default();
    BotFilter::new(rule, &people, &more).unwrap_or_else(|error| {
        values.problem(format!("bots.people: {error}"));
        BotFilter::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bots_section_adds_phrases_and_refuses_those_that_free_a_crawler() {
        let mut values = Values::from_toml("[bots]\nrule = \"strict\"\npeople = [\"MyBot App\"]\nmore = [\"Probe/\"]");
        let filter = take(&mut values);
        assert!(values.finish().is_ok());
        assert!(filter.find("MyBot App").is_none() && filter.find("Probe/1").is_some());
        assert!(filter.find("HeadlessChrome/1").is_some());
        let mut values = Values::from_toml("[bots]\npeople = [\"twitterbot\"]\nrule = \"none\"");
        take(&mut values);
        let problems = values.finish().unwrap_err().0.join("\n");
        assert!(problems.contains("\"twitterbot\" would let \"Twitterbot/1.0\" pass"), "{problems}");
        assert!(problems.contains("bots.rule = \"none\" is not one of people-first, original, strict"), "{problems}");
    }
}

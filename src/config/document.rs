//! The page about the configuration, made from the keys: `weir configuration`, `docs/configuration.md`.
//! `UPDATE_DOCUMENTS=1 cargo test --lib config::document` writes it anew.

use std::fmt::Write as _;

use super::keys::{SECTIONS, THROTTLES, Unset};
use weir_domain::Route;

const HEAD: &str = "\
# Configuration

Every key, made from the code; a test fails when they differ.

Weir reads `weir.toml` in the working directory, or the file of `--config FILE`. A variable `WEIR_KEY` overrides the file;
two underscores stand for the dot: `WEIR_JOURNAL__MAX_BYTES` is `journal.max_bytes`. Lists are separated by commas there.

A key marked with * is secret. Its value can also come from a file, which `KEY_file` or the variable `WEIR_KEY_FILE` names:
`jwt_secret_file` in `weir.toml`, or `WEIR_JWT_SECRET_FILE`.

`weir check` lists every problem of a configuration at once. A start refuses an unknown key or a bad value. A running Weir
reads its configuration once, at the start. Settings that change while it runs are in the main database: `weir settings list`.
";

/// Every key with its default and its meaning, as Markdown.
#[must_use]
pub fn document() -> String {
    let mut text = HEAD.to_owned();
    for section in SECTIONS {
        let _ = write!(text, "\n## {}\n\n", section.title);
        paragraph(&mut text, section.before, "\n");
        if section.title == THROTTLES {
            text.push_str("| key | default |\n|---|---|\n");
            for (route, requests, seconds) in throttles() {
                let _ = writeln!(text, "| `throttle.{}` | `\"{requests}/{seconds}s\"` |", route.label());
            }
        } else {
            text.push_str("| key | default | meaning |\n|---|---|---|\n");
        }
        for key in section.keys {
            let star = if key.is_secret { " *" } else { "" };
            let unset = match key.unset {
                Unset::Value(value) => format!("`{value}`"),
                Unset::Words(words) => words.to_owned(),
            };
            let _ = writeln!(text, "| `{}`{star} | {unset} | {} |", key.name, key.meaning);
        }
        if !section.after.is_empty() {
            text.push('\n');
            paragraph(&mut text, section.after, "");
        }
    }
    text
}

fn throttles() -> impl Iterator<Item = (Route, u32, u64)> {
    Route::ALL.iter().filter_map(|&route| route.default_limit().map(|(requests, seconds)| (route, requests, seconds)))
}

/// Writes words in lines of at most 120 columns.
fn paragraph(text: &mut String, words: &str, end: &str) {
    let mut column = 0;
    for word in words.split_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > 120 {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    if column > 0 {
        text.push('\n');
        text.push_str(end);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Config, Values};
    use super::*;

    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

    #[test]
    fn configuration_document_matches_the_keys() {
        let expected = document();
        if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
            std::fs::write(PATH, &expected).unwrap();
        }
        let found = std::fs::read_to_string(PATH).unwrap_or_default();
        assert!(
            found == expected,
            "docs/configuration.md is not what the code says: UPDATE_DOCUMENTS=1 writes it anew"
        );
    }

    #[test]
    fn configuration_keys_described_are_those_that_are_read() {
        let mut described = BTreeSet::new();
        for key in SECTIONS.iter().flat_map(|section| section.keys) {
            described.insert(key.name.to_owned());
            if key.is_secret {
                described.insert(format!("{}_file", key.name));
            }
        }
        described.extend(throttles().map(|(route, ..)| format!("throttle.{}", route.label())));
        // With a provider, so that its keys are looked for.
        let mut values = Values::from_toml("[providers.name]\nissuers = \"i\"");
        let _ = Config::take(&mut values);
        let read: BTreeSet<String> =
            values.asked().iter().map(|name| name.replace("providers.name.", "providers.NAME.")).collect();
        assert_eq!(described, read);
    }

    #[test]
    fn configuration_defaults_described_are_those_in_force() {
        let read = |text: &str| {
            let mut values = Values::from_toml(text);
            let config = Config::take(&mut values);
            values.finish().unwrap_or_else(|problems| panic!("{text}: {problems}"));
            format!("{config:?}")
        };
        let unset = read("");
        let mut compared = 0;
        for key in SECTIONS.iter().flat_map(|section| section.keys) {
            let Unset::Value(value) = key.unset else { continue };
            assert_eq!(read(&format!("{} = {value}", key.name)), unset, "{}", key.name);
            compared += 1;
        }
        for (route, requests, seconds) in throttles() {
            assert_eq!(read(&format!("throttle.{} = \"{requests}/{seconds}s\"", route.label())), unset, "{route:?}");
            compared += 1;
        }
        assert!(compared > 20, "{compared}");
        assert_ne!(read("retention_days = 1"), unset, "a difference is seen");
    }
}

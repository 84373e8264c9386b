//! `weir explain`: what becomes of a user agent, by the configuration in force.

use std::io::{BufRead, stdin};

use serde::Serialize;
use weir::config::Config;
use weir::enrich::user_agent::{DeviceClass, UserAgentParser};
use weir_domain::BotWord;

use super::{Done, say, wrong};

/// What is stored of a user agent, or why nothing is.
#[derive(Serialize)]
struct Explained<'a> {
    #[serde(rename = "userAgent")]
    user_agent: &'a str,
    stored: bool,
    /// The word that makes it a bot's.
    #[serde(rename = "botWord")]
    bot_word: Option<&'static str>,
    device: Option<&'static str>,
    browser: Option<&'a str>,
    os: Option<&'a str>,
    #[serde(rename = "osVersion")]
    os_version: Option<&'a str>,
}

/// Prints what becomes of one user agent, or of each line of the input.
pub fn explain(config: &Config, user_agent: &str, json: bool) -> Done {
    let parser = UserAgentParser::with_bots(config.bots.clone()).map_err(|error| wrong(error.to_string()))?;
    if user_agent != "-" {
        return print(&parser, user_agent, json);
    }
    for line in stdin().lock().lines() {
        print(&parser, &line.map_err(|error| wrong(format!("the input cannot be read: {error}")))?, json)?;
    }
    Ok(())
}

fn print(parser: &UserAgentParser, user_agent: &str, json: bool) -> Done {
    let facts = parser.parse(user_agent);
    let explained = Explained {
        user_agent,
        stored: facts.bot.is_none(),
        bot_word: facts.bot.map(BotWord::as_str),
        device: facts.device.map(DeviceClass::as_str),
        browser: facts.browser.as_deref(),
        os: facts.os.as_deref(),
        os_version: facts.os_version.as_deref(),
    };
    if json {
        let line = serde_json::to_string(&explained).map_err(|error| wrong(error.to_string()))?;
        return say(&line);
    }
    let told = |value: Option<&str>| value.unwrap_or("as the client says").to_owned();
    let fate = match explained.bot_word {
        Some(word) => format!("a bot's, for the word {word}: answered with id: null, not stored"),
        None => "not a bot's: stored".to_owned(),
    };
    say(&format!(
        "{fate}\n  device      {}\n  browser     {}\n  os          {}\n  os version  {}",
        told(explained.device),
        told(explained.browser),
        told(explained.os),
        told(explained.os_version),
    ))
}

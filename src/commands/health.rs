//! `weir health`: whether a running Weir accepts records, for what starts and stops it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use weir::config::Config;

use super::ask::{Server, url_of};
use super::outcome::{Done, Failure, say};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// What `/health/ready` says.
#[derive(Deserialize)]
struct Words {
    status: String,
    components: BTreeMap<String, String>,
}

/// Of the Weir that this configuration starts.
pub fn health_of(config: &Config) -> Done {
    health(&url_of("listen", config.network.listen)?)
}

/// Asks, prints the answer, and fails unless it is 200.
pub fn health(url: &str) -> Done {
    let server = Server::at(url, PATIENCE)?;
    let failed = |reason: String| Failure { message: format!("{}: {reason}", server.url()), code: 1 };
    let (status, body) = server.get("/health/ready").map_err(failed)?;
    let words: Words = serde_json::from_str(&body)
        .map_err(|_| failed(format!("answers with status {status}, and not as a Weir does")))?;
    let components: Vec<String> = words.components.iter().map(|(name, word)| format!("{name} {word}")).collect();
    say(&format!("{}: {}", words.status, components.join(", ")))?;
    if status == 200 { Ok(()) } else { Err(failed(format!("answers with status {status}"))) }
}

//! The version of iOS that a user agent tells beside its frozen token (the contract's session rule 4).
//!
//! From version 26 on, `CPU iPhone OS 18_6` and `18_7` are what every release says. Safari tells its own version, which is the
//! system's; Instagram writes `iOS 26_1`, Facebook `FBSV/26.1`.

/// The first version whose token is frozen.
const FIRST: u32 = 26;

/// Whether this is a version that later ones say they are.
pub(super) fn is_frozen(os_version: &str) -> bool {
    let mut parts = os_version.split('.');
    parts.next() == Some("18") && matches!(parts.next(), Some("6" | "7"))
}

/// The version that is told, when it is one whose token is frozen.
pub(super) fn told(user_agent: &str) -> Option<Box<str>> {
    ["Version/", "FBSV/", "iOS "].into_iter().find_map(|before| {
        user_agent.match_indices(before).find_map(|(at, _)| version(&user_agent[at + before.len()..]))
    })
}

/// Up to three numbers at the start of a text.
fn version(text: &str) -> Option<Box<str>> {
    let end = text.find(|next: char| !next.is_ascii_digit() && next != '.' && next != '_').unwrap_or(text.len());
    let parts: Vec<&str> = text[..end].split(['.', '_']).take_while(|part| !part.is_empty()).take(3).collect();
    let is_short = parts.iter().all(|part| part.len() <= 4);
    let major: u32 = parts.first()?.parse().ok()?;
    (is_short && major >= FIRST).then(|| parts.join(".").into())
}

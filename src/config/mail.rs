//! How mail is sent: `smtp_url` and `mail_from`, both or neither.

use std::net::IpAddr;

use lettre::message::Mailbox;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Values;

/// A mail server, and who we are to it.
#[derive(Clone, Debug)]
pub struct MailSettings {
    /// `smtps://user:password@host:465`, `smtp://user:password@host:587?tls=required`; a path is the name for EHLO.
    pub smtp_url: SecretString,
    /// The sender: an address, or `Name <address>`.
    pub from: String,
}

pub(super) fn take(values: &mut Values) -> Option<MailSettings> {
    let (smtp_url, from) = (values.secret("smtp_url"), values.take("mail_from"));
    if let Some(wrong) = smtp_url.as_ref().and_then(|url| what_is_wrong(url.expose_secret())) {
        values.problem(format!("smtp_url {wrong}"));
    }
    if let Some(from) = from.as_ref().filter(|from| !is_mailbox(from)) {
        values.problem(format!("mail_from = {from:?} is not a mailbox such as Weir <weir@example.org>"));
    }
    match (smtp_url, from) {
        (Some(smtp_url), Some(from)) => Some(MailSettings { smtp_url, from: from.trim().to_owned() }),
        (Some(_), None) => {
            values.problem("mail_from is missing; smtp_url is set".to_owned());
            None
        }
        (None, Some(_)) => {
            // Without a server codes are written to the log, which somebody who names a sender does not expect.
            values.problem("smtp_url is missing; mail_from is set".to_owned());
            None
        }
        (None, None) => None,
    }
}

fn is_mailbox(text: &str) -> bool {
    !text.contains(char::is_control) && text.trim().parse::<Mailbox>().is_ok()
}

/// Says it without quoting the URL, which may hold a password.
fn what_is_wrong(url: &str) -> Option<&'static str> {
    let not_a_url = "is not a URL such as smtps://user:password@host:465 or smtp://host:587?tls=required";
    let Some((url, host)) =
        Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned).map(|host| (url, host)))
    else {
        return Some(not_a_url);
    };
    let encrypted = match url.scheme() {
        "smtps" => true,
        "smtp" => url.query_pairs().any(|(name, value)| name == "tls" && value == "required"),
        _ => return Some(not_a_url),
    };
    let known = |name: &str, value: &str| name == "tls" && ["required", "opportunistic"].contains(&value);
    if url.query_pairs().count() > 1 || url.query_pairs().any(|(name, value)| !known(&name, &value)) {
        return Some("has a parameter other than tls=required or tls=opportunistic");
    }
    if url.username().is_empty() != url.password().is_none() {
        return Some("has a user without a password, or a password without a user");
    }
    let is_local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if url.password().is_some() && !encrypted && !is_local {
        return Some("would send its password unencrypted: use smtps:// or tls=required");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> (Option<MailSettings>, Vec<String>) {
        let mut values = Values::from_toml(text);
        let settings = take(&mut values);
        (settings, values.finish().err().unwrap_or_default().0)
    }

    #[test]
    fn mail_settings_with_url_and_sender_are_accepted() {
        for url in [
            "smtps://user:pass%40word@mail.example.org",
            "smtps://user:password@mail.example.org:465/weir.example.org",
            "smtp://user:password@mail.example.org:587?tls=required",
            "smtp://mail.example.org?tls=opportunistic",
            "smtp://mail.example.org",
            "smtp://user:password@127.0.0.1:1025",
        ] {
            let (settings, problems) = taken(&format!("smtp_url = \"{url}\"\nmail_from = \"Weir <weir@example.org>\""));
            assert_eq!(problems, Vec::<String>::new(), "{url}");
            let settings = settings.unwrap();
            assert_eq!((settings.smtp_url.expose_secret(), settings.from.as_str()), (url, "Weir <weir@example.org>"));
            assert!(!format!("{settings:?}").contains("password"));
        }
        assert!(matches!(taken(""), (None, problems) if problems.is_empty()));
    }

    #[test]
    fn smtp_url_file_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "smtps://u:p@mail.example.org\n").unwrap();
        let text = format!("smtp_url_file = \"{}\"\nmail_from = \"weir@example.org\"", file.path().display());
        let (settings, problems) = taken(&text);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(settings.unwrap().smtp_url.expose_secret(), "smtps://u:p@mail.example.org");
    }

    #[test]
    fn mail_settings_invalid_are_refused_without_quoting_secrets() {
        for url in [
            "",
            "s3cret",
            "smtps://",
            "http://user:s3cret@mail.example.org",
            "smtp://user:s3cret@mail.example.org",
            "smtp://user:s3cret@mail.example.org?tls=opportunistic",
            "smtp://user:s3cret@mail.example.org?tls=none",
            "smtp://user:s3cret@mail.example.org?tsl=required",
            "smtp://user:s3cret@mail.example.org?tls=required&tls=opportunistic",
            "smtps://s3cret@mail.example.org",
            "smtps://:s3cret@mail.example.org",
        ] {
            let (_, problems) = taken(&format!("smtp_url = \"{url}\"\nmail_from = \"weir@example.org\""));
            assert!(problems.len() == 1 && problems[0].starts_with("smtp_url "), "{url}: {problems:#?}");
            assert!(!problems[0].contains("s3cret"), "{problems:#?}");
        }
        let (settings, problems) = taken("smtp_url = \"smtps://u:s3cret@mail.example.org\"");
        assert!(settings.is_none());
        assert_eq!(problems, ["mail_from is missing; smtp_url is set"]);
        assert_eq!(taken("mail_from = \"weir@example.org\"").1, ["smtp_url is missing; mail_from is set"]);
        for from in [
            "",
            "weir",
            "weir@",
            "a@example.org, b@example.org",
            "a@example.org b",
            "a@example.org\\r\\nBcc: b@example.org",
        ] {
            let (_, problems) = taken(&format!("smtp_url = \"smtp://localhost\"\nmail_from = \"{from}\""));
            assert!(problems.len() == 1 && problems[0].starts_with("mail_from = "), "{from}: {problems:#?}");
        }
    }
}

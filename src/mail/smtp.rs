//! What a mail looks like, and one attempt to hand it to the mail server.
//!
//! Invariant: a failure is told by its kind and the server's status. The server's own words usually quote the address.
//! Cost: a connection a mail, with its TLS handshake; a server that takes the mail and then says nothing to the goodbye
//! makes the attempt fail all the same, so the same code may arrive twice.

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::Error;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use secrecy::ExposeSecret;
use uuid::Uuid;

use super::error::MailError;
use crate::config::MailSettings;

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub reason: &'static str,
    /// The server's, when it gave one.
    pub status: Option<u16>,
    /// Whether another attempt would end the same way.
    pub lasting: bool,
}

impl Failure {
    pub const TIMEOUT: Self = Self { reason: "timeout", status: None, lasting: false };

    fn of(error: &Error) -> Self {
        let status = error.status().map(u16::from);
        let (reason, lasting) = if error.is_permanent() {
            ("refused", true)
        } else if error.is_transient() {
            ("refused for now", false)
        } else if error.is_client() {
            ("the server lacks what this mail needs", true)
        } else if error.is_tls() {
            ("tls", false)
        } else if error.is_response() {
            ("not an answer", false)
        } else {
            ("connection", false)
        };
        Self { reason, status, lasting }
    }
}

/// The way to one mail server.
pub(super) struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl SmtpMailer {
    pub fn new(settings: &MailSettings) -> Result<Self, MailError> {
        let from = settings.from.parse().map_err(|_| MailError::From)?;
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(settings.smtp_url.expose_secret());
        // Only what TLS says is passed on: the rest may quote the URL.
        let transport =
            transport.map_err(|error| if error.is_tls() { MailError::Tls(error) } else { MailError::Url })?.build();
        Ok(Self { transport, from })
    }

    /// A mail with a code.
    pub fn write(&self, to: Address, code: &str, valid_minutes: u32) -> Result<Message, lettre::error::Error> {
        let minutes = if valid_minutes == 1 { "minute" } else { "minutes" };
        Message::builder()
            .from(self.from.clone())
            .to(to.into())
            .subject("Your sign-in code")
            .message_id(Some(format!("<{}@{}>", Uuid::new_v4(), self.from.email.domain())))
            // So that no holiday notice answers.
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
            .header(ContentType::TEXT_PLAIN)
            .body(format!(
                "Your sign-in code is {code}\r\n\r\n\
                 It is valid for {valid_minutes} {minutes}, once. If you did not ask for it, ignore this mail.\r\n"
            ))
    }

    /// One attempt. It has no bound in time of its own.
    pub async fn send(&self, message: &Message) -> Result<(), Failure> {
        let sent = self.transport.send_raw(message.envelope(), &message.formatted()).await;
        sent.map(drop).map_err(|error| Failure::of(&error))
    }
}

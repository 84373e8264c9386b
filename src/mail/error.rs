//! Why mail cannot be sent.

/// Why mail cannot be sent with these settings.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    #[error("smtp_url cannot be used")]
    Url,
    #[error("smtp_url: TLS cannot be used: {0}")]
    Tls(lettre::transport::smtp::Error),
    #[error("mail_from is not a mailbox")]
    From,
}

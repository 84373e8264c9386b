//! A small mail server: it speaks enough SMTP to be sent to, and keeps what it gets.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::PATIENCE;

/// What the server does with mail.
#[derive(Clone, Copy, Debug)]
pub enum Behaviour {
    /// Accepts every mail.
    Accepts,
    /// Defers so many mails (451), and accepts the next ones.
    Defers(usize),
    /// Refuses every mail (550).
    Refuses,
    /// Accepts connections and says nothing.
    Hangs,
}

/// A mail as it came.
#[derive(Clone, Debug)]
pub struct Mail {
    /// From the envelope, not from the head.
    pub from: String,
    /// From the envelope, not from the head.
    pub to: Vec<String>,
    /// Head and body.
    pub data: String,
}

impl Mail {
    /// The first header of this name, with folded lines joined.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.data.split("\r\n\r\n").next()?.replace("\r\n ", " ");
        head.split("\r\n").find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    /// Everything after the head.
    pub fn body(&self) -> &str {
        self.data.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// The first run of at least so many digits in the body: a code.
    pub fn code(&self, digits: usize) -> Option<&str> {
        self.body().split(|character: char| !character.is_ascii_digit()).find(|run| run.len() >= digits)
    }
}

#[derive(Default)]
struct Kept {
    mails: Mutex<Vec<Mail>>,
    connections: AtomicUsize,
    recipients: AtomicUsize,
}

/// A server on a random port of this machine. It lives as long as the process.
pub struct SmtpServer {
    address: SocketAddr,
    kept: Arc<Kept>,
}

impl SmtpServer {
    /// One that accepts every mail.
    pub fn start() -> Self {
        Self::start_with(Behaviour::Accepts)
    }

    /// One that behaves so.
    pub fn start_with(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::<Kept>::default();
        let shared = Arc::clone(&kept);
        std::thread::spawn(move || {
            let mut hanging = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                if matches!(behaviour, Behaviour::Hangs) {
                    hanging.push(stream);
                    continue;
                }
                let kept = Arc::clone(&shared);
                // A client that hangs up ends its own conversation only.
                std::thread::spawn(move || drop(converse(&stream, behaviour, &kept)));
            }
        });
        Self { address, kept }
    }

    /// What `smtp_url` is to be.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.kept.connections.load(Ordering::SeqCst)
    }

    /// What has come so far.
    pub fn mails(&self) -> Vec<Mail> {
        self.kept.mails.lock().unwrap().clone()
    }

    /// Waits until so many mails have come.
    pub async fn wait_for(&self, count: usize) -> Vec<Mail> {
        let begin = Instant::now();
        loop {
            let mails = self.mails();
            if mails.len() >= count {
                return mails;
            }
            assert!(begin.elapsed() < PATIENCE, "{} of {count} mails came", mails.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for the newest mail to this address.
    pub async fn wait_for_mail_to(&self, address: &str) -> Mail {
        let begin = Instant::now();
        loop {
            let found = self.mails().into_iter().rev().find(|mail| mail.to.iter().any(|to| to == address));
            if let Some(mail) = found {
                return mail;
            }
            assert!(begin.elapsed() < PATIENCE, "no mail to {address} came");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn converse(stream: &TcpStream, behaviour: Behaviour, kept: &Kept) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).split(b'\n');
    let mut next = move || -> std::io::Result<Option<String>> {
        let line = lines.next().transpose()?;
        Ok(line.map(|line| String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()))
    };
    let mut writer = stream;
    let mut say = move |text: &str| writer.write_all(format!("{text}\r\n").as_bytes());
    let mut mail = Mail { from: String::new(), to: Vec::new(), data: String::new() };
    say("220 localhost ready")?;
    while let Some(line) = next()? {
        let upper = line.to_uppercase();
        if upper.starts_with("EHLO") {
            say("250-localhost\r\n250-SMTPUTF8\r\n250 8BITMIME")?;
        } else if upper.starts_with("MAIL FROM:") {
            mail = Mail { from: within_brackets(&line), to: Vec::new(), data: String::new() };
            say("250 ok")?;
        } else if upper.starts_with("RCPT TO:") {
            let address = within_brackets(&line);
            let before = kept.recipients.fetch_add(1, Ordering::SeqCst);
            match behaviour {
                Behaviour::Refuses => say(&format!("550 5.1.1 <{address}>: no such user"))?,
                Behaviour::Defers(count) if before < count => say(&format!("451 4.7.1 <{address}>: not now"))?,
                _ => {
                    mail.to.push(address);
                    say("250 ok")?;
                }
            }
        } else if upper == "DATA" {
            say("354 go ahead")?;
            while let Some(line) = next()?.filter(|line| line != ".") {
                mail.data.push_str(line.strip_prefix('.').unwrap_or(&line));
                mail.data.push_str("\r\n");
            }
            kept.mails.lock().unwrap().push(mail.clone());
            say("250 kept")?;
        } else if upper == "QUIT" {
            return say("221 bye");
        } else {
            say("502 not understood")?;
        }
    }
    Ok(())
}

fn within_brackets(line: &str) -> String {
    let from = line.find('<').map_or(0, |at| at + 1);
    let to = line.rfind('>').unwrap_or(line.len());
    line[from..to].to_owned()
}

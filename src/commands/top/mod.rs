//! `weir top`: a running Weir's pipeline, live.
//!
//! A thread reads `/metrics`, and two readings make a picture. `scrape` reads the text, `model` makes the picture,
//! `tables` puts it into words, `view` draws them on a terminal, `plain` prints them where there is none.

mod model;
mod plain;
mod scrape;
mod tables;
#[cfg(test)]
mod tests;
mod view;

use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use chrono::{DateTime, Local};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use weir::config::Config;

use self::model::{CpuUse, Picture};
use self::scrape::Scrape;
use self::view::Screen;
use super::ask::{Server, url_of};
use super::outcome::{Done, Failure, say};
use super::words;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// How soon a key is heard, and a picture drawn that has come.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The Weir that this configuration starts.
pub fn top_of(config: &Config, interval_seconds: u64) -> Done {
    let url = match config.network.metrics_listen {
        Some(listen) => url_of("metrics_listen", listen)?,
        None => url_of("listen", config.network.listen)?,
    };
    top(&url, interval_seconds)
}

/// The Weir at this URL: on a terminal until a key ends it, elsewhere once.
pub fn top(url: &str, interval_seconds: u64) -> Done {
    let server = Server::at(url, PATIENCE)?;
    let interval = Duration::from_secs(interval_seconds);
    if !std::io::stdout().is_terminal() {
        return print(&server, interval);
    }
    let url = server.url().to_owned();
    let readings = read_on(server, interval)?;
    // It restores the terminal when there is a panic, too.
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, &url, &readings);
    ratatui::restore();
    shown
}

fn read(server: &Server) -> Result<Scrape, String> {
    match server.get("/metrics")? {
        (200, text) => Scrape::parse(&text, Instant::now()),
        (status, _) => Err(format!("answers with status {status}; are its metrics on another address?")),
    }
}

fn print(server: &Server, interval: Duration) -> Done {
    let read = || read(server).map_err(|reason| Failure { message: format!("{}: {reason}", server.url()), code: 1 });
    let before = read()?;
    std::thread::sleep(interval);
    let now = read()?;
    for line in plain::lines(server.url(), &Picture::of(Some(&before), &now, unix_seconds(Local::now()))) {
        say(&line)?;
    }
    Ok(())
}

/// Reads again and again on a thread of its own: a Weir that does not answer must not keep a key from being heard.
fn read_on(server: Server, interval: Duration) -> Result<Receiver<Result<Scrape, String>>, Failure> {
    let (sender, readings) = channel();
    std::thread::Builder::new().name("scrapes".to_owned()).spawn(move || {
        while sender.send(read(&server)).is_ok() {
            std::thread::sleep(interval);
        }
    })?;
    Ok(readings)
}

/// What was read so far.
#[derive(Default)]
struct Seen {
    last: Option<Scrape>,
    picture: Option<Picture>,
    cpu: CpuUse,
    at: String,
    /// Since when nothing could be read, and why.
    trouble: Option<(String, String)>,
}

impl Seen {
    fn take(&mut self, reading: Result<Scrape, String>, now: DateTime<Local>) {
        match reading {
            Ok(scrape) => {
                // After a gap there is no rate: it would be one of the gap.
                let before = self.last.take().filter(|_| self.trouble.is_none());
                let picture = self.picture.insert(Picture::of(before.as_ref(), &scrape, unix_seconds(now)));
                picture.process.cpu = self.cpu.note(&scrape);
                self.at = clock(now);
                (self.last, self.trouble) = (Some(scrape), None);
            }
            Err(reason) => {
                let since = self.trouble.take().map_or_else(|| clock(now), |(since, _)| since);
                self.trouble = Some((since, reason));
            }
        }
    }

    fn screen<'a>(&'a self, url: &'a str) -> Screen<'a> {
        let trouble = self.trouble.as_ref().map(|(since, reason)| (since.as_str(), reason.as_str()));
        Screen { url, picture: self.picture.as_ref(), at: &self.at, trouble }
    }
}

fn show(terminal: &mut DefaultTerminal, url: &str, readings: &Receiver<Result<Scrape, String>>) -> Done {
    let mut seen = Seen::default();
    loop {
        terminal.draw(|frame| view::draw(frame, &seen.screen(url)))?;
        // Until there is something else to see.
        loop {
            if event::poll(LOOK_EVERY)? {
                match event::read()? {
                    Event::Key(key) if ends(key) => return Ok(()),
                    Event::Resize(..) => break,
                    _ => {}
                }
            }
            match readings.try_recv() {
                Ok(reading) => {
                    seen.take(reading, Local::now());
                    break;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    return Err(Failure { message: "the thread that reads the metrics is gone".to_owned(), code: 1 });
                }
            }
        }
    }
}

fn ends(key: KeyEvent) -> bool {
    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

fn clock(time: DateTime<Local>) -> String {
    time.format("%H:%M:%S").to_string()
}

#[allow(clippy::cast_precision_loss)] // exact up to 2^53
fn unix_seconds(time: DateTime<Local>) -> f64 {
    time.timestamp() as f64
}

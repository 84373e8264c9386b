//! A line between Weir and a database that can be cut without a word: what a network does when it fails, and a server
//! that closes its connections does not.

#![allow(dead_code)] // each suite uses its own part of this

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The way to one server through this machine. It lives as long as the process.
pub struct Line {
    url: String,
    silent: Arc<AtomicBool>,
}

impl Line {
    /// A line to the server of a URL.
    pub fn to(url: &str) -> Self {
        let mut url = url::Url::parse(url).unwrap();
        let server = (url.host_str().unwrap().to_owned(), url.port().unwrap());
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let silent = Arc::<AtomicBool>::default();
        let shared = Arc::clone(&silent);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect((server.0.as_str(), server.1)) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let silent = Arc::clone(&shared);
                    // A side that hangs up ends its own direction, and the other one with it.
                    std::thread::spawn(move || drop(carry(from, to, &silent)));
                }
            }
        });
        Self { url: url.to_string(), silent }
    }

    /// The URL by which the server is reached over this line.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Cuts the line, or mends it. What is on its way waits; nobody is told.
    pub fn cut(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, silent: &AtomicBool) -> std::io::Result<()> {
    let mut buffer = [0; 16_384];
    loop {
        let count = from.read(&mut buffer)?;
        while silent.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if count == 0 {
            return to.shutdown(std::net::Shutdown::Both);
        }
        to.write_all(&buffer[..count])?;
    }
}

//! A bare connection: for what an HTTP client would never send, and for what it would hide.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::{BROWSER, PATIENCE, TestApp};

/// One TCP connection to a server.
pub struct RawConnection {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// An answer as it came over the wire.
#[derive(Debug)]
pub struct Answer {
    /// As a number.
    pub status: u16,
    head: String,
    /// As text.
    pub body: String,
}

impl Answer {
    /// A header's value; `None` when the answer has no such header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl RawConnection {
    /// Connects to a running server.
    pub fn open(app: &TestApp) -> Self {
        let stream = TcpStream::connect(app.authority()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    /// Sends these bytes and nothing else.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// For a server that may have hung up by now.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Nothing more will be sent; the answer can still be read. The server may have hung up by now.
    pub fn half_close(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next answer, or `None` when the connection ends before one.
    pub fn answer(&mut self) -> Option<Answer> {
        let end = self.read_until(|bytes| Some(bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4))?;
        let head = String::from_utf8(self.unread.drain(..end).collect()).unwrap();
        let mut answer = Answer { status: head[9..12].parse().unwrap(), head, body: String::new() };
        let length: usize = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        self.read_until(|bytes| (bytes.len() >= length).then_some(length))?;
        answer.body = String::from_utf8(self.unread.drain(..length).collect()).unwrap();
        Some(answer)
    }

    fn read_until(&mut self, complete: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
        loop {
            if let Some(end) = complete(&self.unread) {
                return Some(end);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(read) => self.unread.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no answer: {error}"),
            }
        }
    }
}

/// A browser's request, ready to be sent; `headers` are lines without their ends.
pub fn request(method: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {BROWSER}\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    let end = format!("Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), end.as_bytes(), body].concat()
}

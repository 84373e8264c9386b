//! A TCP proxy that does to a connection what networks do: it delays, stalls, loses or resets what passes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to everything that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It passes at once.
    Up,
    /// Each chunk comes this much later.
    Slow(Duration),
    /// Nothing passes until the link changes, and neither side is told.
    Stalled,
    /// Nothing passes any more, and neither side is told: connections that live through it are lost for good.
    BlackHole,
    /// Connections are reset, new ones too.
    Reset,
    /// A COMMIT arrives, and its answer does not: the connection ends in between.
    LostCommits,
}

/// A proxy in front of one server.
pub struct Proxy {
    address: SocketAddr,
    link: Arc<watch::Sender<Link>>,
}

impl Proxy {
    /// In front of the server with this host and port.
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let link = Arc::new(watch::channel(Link::Up).0);
        let seen = Arc::clone(&link);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server.clone(), seen.subscribe()));
            }
        });
        Self { address, link }
    }

    /// The same database, reached through the proxy.
    pub async fn to_url(url: &str) -> (Self, String) {
        let mut url = url::Url::parse(url).unwrap();
        let proxy = Self::to(format!("{}:{}", url.host_str().unwrap(), url.port().unwrap())).await;
        url.set_ip_host(proxy.address.ip()).unwrap();
        url.set_port(Some(proxy.address.port())).unwrap();
        (proxy, url.to_string())
    }

    /// From now on the link is so, for the connections that there are and for new ones.
    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

async fn carry(client: TcpStream, server: String, mut link: watch::Receiver<Link>) {
    let now = *link.borrow_and_update();
    let server = match now {
        Link::Reset => return reset(&client),
        // Accepted, as a machine that is not there never would, and then silent: the worst of both.
        Link::BlackHole => return hold(client, link).await,
        Link::Up | Link::Slow(_) | Link::Stalled | Link::LostCommits => match TcpStream::connect(server).await {
            Ok(server) => server,
            Err(_) => return reset(&client),
        },
    };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let doomed = Arc::new(AtomicBool::new(false));
    let up = tokio::spawn(pipe(from_client, to_server, link.clone(), Direction::Up(Arc::clone(&doomed))));
    let down = pipe(from_server, to_client, link, Direction::Down(Arc::clone(&doomed))).await;
    if doomed.load(Ordering::SeqCst) {
        // The client waits for an answer and sends nothing: only its end ends the other way.
        return up.abort();
    }
    let up = up.await.unwrap();
    if let (Some((from_client, _)), Some((_, to_client))) = (up, down)
        && let Ok(client) = from_client.reunite(to_client)
    {
        reset(&client);
    }
}

/// With the end of a statement's text: transactions begin with `READ COMMITTED`.
const COMMIT: &[u8] = b"COMMIT\0";

/// Which way, and whether a COMMIT has doomed the connection.
enum Direction {
    Up(Arc<AtomicBool>),
    Down(Arc<AtomicBool>),
}

/// Carries one direction until it ends. Both ends are given back when the link resets it.
async fn pipe(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut link: watch::Receiver<Link>,
    way: Direction,
) -> Option<(OwnedReadHalf, OwnedWriteHalf)> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let now = *link.borrow_and_update();
        match now {
            Link::Reset => return Some((from, to)),
            // Lost for good, whatever the link is later.
            Link::BlackHole => std::future::pending().await,
            Link::Stalled => {
                if link.changed().await.is_err() {
                    return None;
                }
                continue;
            }
            Link::Up | Link::Slow(_) | Link::LostCommits => {}
        }
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = link.changed() => continue,
        };
        let Ok(read) = read else { return None };
        if read == 0 {
            let _ = to.shutdown().await;
            return None;
        }
        if let Link::Slow(delay) = now {
            tokio::time::sleep(delay).await;
        }
        match &way {
            // Before it is sent, so that the answer cannot slip through.
            Direction::Up(doomed)
                if now == Link::LostCommits && buffer[..read].windows(COMMIT.len()).any(|word| word == COMMIT) =>
            {
                doomed.store(true, Ordering::SeqCst);
            }
            Direction::Down(doomed) if doomed.load(Ordering::SeqCst) => {
                // The server has answered, so it has committed.
                return Some((from, to));
            }
            Direction::Up(_) | Direction::Down(_) => {}
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return None;
        }
    }
}

async fn hold(client: TcpStream, mut link: watch::Receiver<Link>) {
    while *link.borrow_and_update() == Link::BlackHole {
        if link.changed().await.is_err() {
            return;
        }
    }
    reset(&client);
}

fn reset(client: &TcpStream) {
    let _ = client.set_zero_linger();
}

//! A TCP proxy that can do to a connection what networks do: delay it, cut it, or lose everything without a word.

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
pub enum Weather {
    Clear,
    /// Each chunk comes this much later.
    Slow(Duration),
    /// Nothing passes until the weather changes, and nobody is told.
    Silent,
    /// Nothing passes any more, and nobody is told: the connections made in it are lost for good.
    BlackHole,
    /// Connections are reset, new ones too.
    Cut,
    /// A COMMIT arrives, and its answer does not: the connection ends in between.
    LostCommits,
}

/// A proxy in front of one server.
pub struct Proxy {
    address: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
}

impl Proxy {
    pub async fn before(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let weather = Arc::new(watch::channel(Weather::Clear).0);
        let seen = Arc::clone(&weather);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server.clone(), seen.subscribe()));
            }
        });
        Self { address, weather }
    }

    /// The same database, reached through the proxy.
    pub async fn before_url(url: &str) -> (Self, String) {
        let mut url = url::Url::parse(url).unwrap();
        let proxy = Self::before(format!("{}:{}", url.host_str().unwrap(), url.port().unwrap())).await;
        url.set_ip_host(proxy.address.ip()).unwrap();
        url.set_port(Some(proxy.address.port())).unwrap();
        (proxy, url.to_string())
    }

    pub fn turns(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

async fn carry(client: TcpStream, server: String, mut weather: watch::Receiver<Weather>) {
    let now = *weather.borrow_and_update();
    let server = match now {
        Weather::Cut => return reset(&client),
        // Accepted, as a machine that is not there never would, and then silent: the worst of both.
        Weather::BlackHole => return hold(client, weather).await,
        Weather::Clear | Weather::Slow(_) | Weather::Silent | Weather::LostCommits => {
            match TcpStream::connect(server).await {
                Ok(server) => server,
                Err(_) => return reset(&client),
            }
        }
    };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let doomed = Arc::new(AtomicBool::new(false));
    let up = tokio::spawn(pipe(from_client, to_server, weather.clone(), Way::Up(Arc::clone(&doomed))));
    let down = pipe(from_server, to_client, weather, Way::Down(Arc::clone(&doomed))).await;
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
enum Way {
    Up(Arc<AtomicBool>),
    Down(Arc<AtomicBool>),
}

/// Carries one direction until it ends. What it held is given back when the weather cut it.
async fn pipe(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    way: Way,
) -> Option<(OwnedReadHalf, OwnedWriteHalf)> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let now = *weather.borrow_and_update();
        match now {
            Weather::Cut => return Some((from, to)),
            // Lost for good: later weather does not bring it back.
            Weather::BlackHole => std::future::pending().await,
            Weather::Silent => {
                if weather.changed().await.is_err() {
                    return None;
                }
                continue;
            }
            Weather::Clear | Weather::Slow(_) | Weather::LostCommits => {}
        }
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = weather.changed() => continue,
        };
        let Ok(read) = read else { return None };
        if read == 0 {
            let _ = to.shutdown().await;
            return None;
        }
        if let Weather::Slow(delay) = now {
            tokio::time::sleep(delay).await;
        }
        match &way {
            // Before it is sent, so that the answer cannot slip through.
            Way::Up(doomed)
                if now == Weather::LostCommits && buffer[..read].windows(COMMIT.len()).any(|word| word == COMMIT) =>
            {
                doomed.store(true, Ordering::SeqCst);
            }
            Way::Down(doomed) if doomed.load(Ordering::SeqCst) => {
                // The server has answered, so it has committed.
                return Some((from, to));
            }
            Way::Up(_) | Way::Down(_) => {}
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return None;
        }
    }
}

async fn hold(client: TcpStream, mut weather: watch::Receiver<Weather>) {
    while *weather.borrow_and_update() == Weather::BlackHole {
        if weather.changed().await.is_err() {
            return;
        }
    }
    reset(&client);
}

fn reset(client: &TcpStream) {
    let _ = client.set_zero_linger();
}

//! The listeners: actix's server with a guarded stream between the socket and HTTP.
//!
//! actix-web's `HttpServer` has no place for that, so what it does is done here: the same service, built on
//! [`GuardedStream`] instead of on the bare stream.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use actix_http::body::{BoxBody, MessageBody};
use actix_http::{HttpService, KeepAlive, Request, Response};
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_service};
use actix_web::dev::{Server, Service as _};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use crate::connections::Connections;
use crate::refusal::RefusalObserver;
use crate::service::guard_requests;
use crate::stream::GuardedStream;

/// How many clients may wait to be accepted.
const BACKLOG: i32 = 4096;
/// How much the system keeps of what waits on a connection, each way (it takes twice the number). Left to itself it lets
/// a connection grow to megabytes.
const SOCKET_BUFFER_BYTES: usize = 128 << 10;
/// The most that actix-server has room for.
const MAX_WORKERS: usize = 512;

/// How a listener is served.
pub struct ServerOptions {
    /// What actix-server calls it in its log lines.
    pub name: String,
    /// How many clients it accepts, and their deadlines.
    pub connections: Connections,
    /// How many threads serve it, at most. They share the connections in equal parts.
    pub max_workers: usize,
    /// How long requests in flight may take when the server is stopped gracefully.
    pub shutdown_seconds: u64,
    /// Told of each request that does not reach the service.
    pub refused: RefusalObserver,
    /// A header that all answers of the service have: an answer without it is actix-http's own.
    pub served_header: &'static str,
}

/// An address of one's own at which nobody can connect yet.
#[derive(Debug)]
pub struct BoundAddress(Socket);

/// Takes an address, with bounded buffers for the connections to come. What fails here is known before anything else is
/// done; clients are refused until [`BoundAddress::listen`].
///
/// # Errors
/// When the address is taken, or not this machine's.
pub fn bind(address: SocketAddr) -> io::Result<BoundAddress> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    Ok(BoundAddress(socket))
}

impl BoundAddress {
    /// Lets clients connect.
    ///
    /// # Errors
    /// When another process, which bound the same address at the same time, was first.
    pub fn listen(self) -> io::Result<TcpListener> {
        self.0.listen(BACKLOG)?;
        Ok(TcpListener::from(self.0))
    }
}

/// Serves a listener. `make_service` is called once on each worker's own thread.
///
/// The server runs from now on. What is returned is its end, and leads to its handle, which stops it.
///
/// # Errors
/// When the listener has no address, or cannot be watched.
pub fn serve<I, S, B>(
    listener: TcpListener,
    options: ServerOptions,
    make_service: impl Fn() -> I + Clone + Send + 'static,
) -> io::Result<Server>
where
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = ()> + 'static,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let ServerOptions { name, connections, max_workers, shutdown_seconds, refused, served_header } = options;
    let address = listener.local_addr()?;
    let timeouts = connections.timeouts();
    // Each worker has its own count. With fewer connections than workers, some would have nothing to do.
    let workers = max_workers.clamp(1, MAX_WORKERS).min(connections.max());
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections.max() / workers)
        .shutdown_timeout(shutdown_seconds)
        .disable_signals();
    let shutdown = builder.graceful_shutdown_signal();
    let server = builder.listen(name, listener, move || {
        let (shutdown, connections, refused) = (shutdown.clone(), connections.clone(), Arc::clone(&refused));
        let http = HttpService::build()
            // Silence is the guarded stream's business.
            .keep_alive(KeepAlive::Os)
            .client_request_timeout(timeouts.head)
            .client_disconnect_timeout(timeouts.disconnect)
            .local_addr(address)
            .graceful_shutdown_signal(move || {
                let shutdown = shutdown.clone();
                async move { shutdown.notified().await }
            })
            .on_connect_ext(|stream: &GuardedStream, data| stream.attach(data))
            .h1(guard_requests(make_service()));
        let told = Arc::clone(&refused);
        fn_service(move |stream: TcpStream| {
            let peer = stream.peer_addr().ok();
            // An answer is one write: it must not wait for the client to confirm the one before it.
            let _ = stream.set_nodelay(true);
            let stream = GuardedStream::new(stream, &connections).telling(Arc::clone(&told), served_header);
            async move { Ok::<_, actix_http::error::DispatchError>((stream, peer)) }
        })
        .and_then(apply_fn_factory(http, move |(stream, peer): (GuardedStream, _), http| {
            let (connection, refused) = (stream.connection(), Arc::clone(&refused));
            let served = http.call((stream, peer));
            async move {
                let ended = Rc::clone(&connection).drive(served).await;
                if let Some(refusal) = connection.refusal(&ended) {
                    refused(refusal);
                }
                ended
            }
        }))
    })?;
    Ok(server.run())
}

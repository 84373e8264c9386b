//! The listeners: actix's server with Weir's own wire between the socket and HTTP.
//!
//! actix-web's `HttpServer` has no place for that, so what it does is done here: the same service, built on
//! [`Wire`] instead of on the bare stream.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use actix_http::{HttpService, KeepAlive, Request};
use actix_service::{Service, ServiceFactoryExt, apply_fn_factory, fn_service, map_config};
use actix_web::App;
use actix_web::dev::{AppConfig, Server, ServerHandle};
use actix_web::rt::net::TcpStream;
use actix_web::web::{Data, ServiceConfig};
use socket2::{Domain, Protocol, Socket, Type};

use super::{AppError, Started};
use crate::config::{Config, Secrets};
use crate::http::{self, AppState, Connections, Edge, HEAD_TIMEOUT, Wire};
use crate::journal::attend_desk;

/// How long a client may take to hang up when it was told that the connection ends.
const GOODBYE: Duration = Duration::from_secs(1);
/// How many clients may wait to be let in.
const BACKLOG: i32 = 4096;
/// How much the system keeps of what waits on a connection, each way (it takes twice the number). Left to itself it lets
/// a connection grow to megabytes.
const SOCKET_BUFFER: usize = 128 << 10;
/// The most that actix-server has room for.
const MOST_WORKERS: usize = 512;
/// Prometheus, and whoever looks by hand.
const METRICS_CONNECTIONS: usize = 32;

/// A listener, and how many it lets in.
struct Door {
    address: SocketAddr,
    listener: TcpListener,
    connections: Connections,
    workers: usize,
}

/// Opens the listeners and serves on them.
pub(super) fn listen(
    config: &Config,
    state: &Data<AppState>,
    secrets: Secrets,
) -> Result<(Vec<ServerHandle>, Started), AppError> {
    let seconds = u64::from(config.shutdown_timeout_seconds);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let main = Door::open(config.network.listen, state.connections.clone(), cores)?;
    let metrics = config.network.metrics_listen;
    let metrics = metrics.map(|at| Door::open(at, Connections::at_most(METRICS_CONNECTIONS), 1)).transpose()?;
    let (address, metrics_address) = (main.address, metrics.as_ref().map(|door| door.address));
    let everything = move |routes: &mut ServiceConfig| {
        if metrics_address.is_none() {
            routes.configure(http::metrics_routes);
        }
        routes.configure(http::routes);
    };
    let mut servers = vec![main.serve(seconds, state, everything)?];
    if let Some(door) = metrics {
        let routes = |routes: &mut ServiceConfig| {
            routes.configure(http::metrics_routes).configure(http::unknown_routes);
        };
        servers.push(door.serve(seconds, state, routes)?);
    }
    Ok((servers, Started { address, metrics_address, secrets }))
}

impl Door {
    fn open(wanted: SocketAddr, connections: Connections, workers: usize) -> Result<Self, AppError> {
        let (address, listener) = bind(wanted).map_err(|source| AppError::Listen { address: wanted, source })?;
        // Each worker has its own count. With fewer connections than cores, some would have nothing to do.
        let workers = workers.clamp(1, MOST_WORKERS).min(connections.max);
        Ok(Self { address, listener, connections, workers })
    }

    fn serve(
        self,
        shutdown_seconds: u64,
        state: &Data<AppState>,
        routes: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
    ) -> Result<ServerHandle, AppError> {
        let address = self.address;
        start(self, shutdown_seconds, state.clone(), routes).map_err(|source| AppError::Listen { address, source })
    }
}

fn bind(wanted: SocketAddr) -> io::Result<(SocketAddr, TcpListener)> {
    let socket = Socket::new(Domain::for_address(wanted), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&wanted.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    Ok((listener.local_addr()?, listener))
}

fn start(
    door: Door,
    shutdown_seconds: u64,
    state: Data<AppState>,
    routes: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> io::Result<ServerHandle> {
    let Door { address, listener, connections, workers } = door;
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections.max / workers)
        .shutdown_timeout(shutdown_seconds)
        .disable_signals();
    let ending = builder.graceful_shutdown_signal();
    let server = builder.listen(format!("weir-{address}"), listener, move || {
        let (ending, connections) = (ending.clone(), connections.clone());
        // This is called on each worker's own thread.
        actix_web::rt::spawn(attend_desk());
        let app = App::new().app_data(state.clone()).configure(routes.clone());
        let app = map_config(app, |()| AppConfig::default());
        // Each worker's own: a request's handle on it is counted without the other cores.
        let state = Rc::new(state.clone());
        let app = apply_fn_factory(app, move |request: Request, app| {
            let edge = Edge::enter(&state, &request);
            match edge.permission(&request) {
                Some(permission) => edge.answer(permission),
                None => edge.ask(app.call(request)),
            }
        });
        let service = HttpService::build()
            // Silence is the wire's business.
            .keep_alive(KeepAlive::Os)
            .client_request_timeout(HEAD_TIMEOUT)
            .client_disconnect_timeout(GOODBYE)
            .local_addr(address)
            .graceful_shutdown_signal(move || {
                let ending = ending.clone();
                async move { ending.notified().await }
            })
            .on_connect_ext(|wire: &Wire, data| wire.introduce(data))
            .h1(app);
        fn_service(move |stream: TcpStream| {
            let peer = stream.peer_addr().ok();
            // An answer is one write: it must not wait for the client to confirm the one before it.
            let _ = stream.set_nodelay(true);
            let wire = Wire::new(stream, &connections);
            async move { Ok::<_, actix_http::error::DispatchError>((wire, peer)) }
        })
        .and_then(apply_fn_factory(service, |(wire, peer): (Wire, _), service| {
            let connection = wire.connection();
            connection.attend(service.call((wire, peer)))
        }))
    })?;
    let server = server.run();
    let handle = server.handle();
    actix::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "http server ended");
        }
    });
    Ok(handle)
}

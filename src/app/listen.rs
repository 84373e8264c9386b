//! The listeners: Weir's HTTP behind guarded streams.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_http::Request;
use actix_service::fn_service;
use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use weir_http_guard::{BoundAddress, Connections, RefusalObserver, ServerOptions, Timeouts, bind, serve};

use super::error::AppError;
use crate::config::{Config, Secrets};
use crate::http::{AppState, HttpApi, Listener, REQUEST_ID_HEADER, refused_before_routing};

/// Prometheus, and people who look by hand.
const METRICS_CONNECTIONS: usize = 32;

/// What a start tells the people who started it.
pub struct Started {
    pub address: SocketAddr,
    pub metrics_address: Option<SocketAddr>,
    pub secrets: Secrets,
}

/// The addresses of a start, taken before anything else is done: one that is in use is told at once, and changes nothing.
pub(super) struct Addresses {
    main: (SocketAddr, BoundAddress),
    metrics: Option<(SocketAddr, BoundAddress)>,
}

impl Addresses {
    /// Takes both.
    pub(super) fn bind(config: &Config) -> Result<Self, AppError> {
        let bound = |address| {
            let bound = bind(address).map_err(|source| AppError::Listen { address, source })?;
            Ok::<_, AppError>((address, bound))
        };
        let metrics = config.network.metrics_listen.map(bound).transpose()?;
        Ok(Self { main: bound(config.network.listen)?, metrics })
    }
}

/// An open listener.
struct Opened {
    address: SocketAddr,
    listener: TcpListener,
}

/// Opens the listeners and serves on them.
pub(super) fn listen(
    config: &Config,
    addresses: Addresses,
    state: &Data<AppState>,
    secrets: Secrets,
) -> Result<(Vec<ServerHandle>, Started), AppError> {
    let shutdown_seconds = u64::from(config.shutdown_timeout_seconds);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let main = Opened::at(addresses.main)?;
    let metrics = addresses.metrics.map(Opened::at).transpose()?;
    let (address, metrics_address) = (main.address, metrics.as_ref().map(|opened| opened.address));
    let options = |address: SocketAddr, connections, max_workers| ServerOptions {
        name: format!("weir-{address}"),
        connections,
        max_workers,
        shutdown_seconds,
        refused: refused_requests(state),
        served_header: REQUEST_ID_HEADER,
    };
    let content = if metrics.is_some() { Listener::AllButMetrics } else { Listener::Everything };
    let mut servers = vec![main.serve(options(address, state.connections.clone(), cores), state, content)?];
    if let Some(opened) = metrics {
        let connections = Connections::at_most(METRICS_CONNECTIONS, Timeouts::default());
        let options = options(opened.address, connections, 1);
        servers.push(opened.serve(options, state, Listener::MetricsOnly)?);
    }
    Ok((servers, Started { address, metrics_address, secrets }))
}

/// Counts and logs what was answered before the application saw it.
fn refused_requests(state: &Data<AppState>) -> RefusalObserver {
    let (telemetry, origins) = (Arc::clone(&state.telemetry), state.network.cors_origins.clone());
    Arc::new(move |refusal| refused_before_routing(&telemetry, &origins, refusal))
}

impl Opened {
    fn at((wanted, bound): (SocketAddr, BoundAddress)) -> Result<Self, AppError> {
        let listener = bound.listen().and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = listener.map_err(|source| AppError::Listen { address: wanted, source })?;
        Ok(Self { address, listener })
    }

    fn serve(
        self,
        options: ServerOptions,
        state: &Data<AppState>,
        content: Listener,
    ) -> Result<ServerHandle, AppError> {
        let (address, state) = (self.address, state.clone());
        let server = serve(self.listener, options, move || {
            // Each worker has one of its own, and completes the acks of what it appends.
            actix_web::rt::spawn(weir_journal::complete_acks_on_this_thread());
            let http = HttpApi::new(state.clone(), content);
            fn_service(move |request: Request| http.on_request(request))
        });
        let server = server.map_err(|source| AppError::Listen { address, source })?;
        let handle = server.handle();
        actix::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "http server ended");
            }
        });
        Ok(handle)
    }
}

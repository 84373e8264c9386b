//! An HTTP/1 server that slow and greedy clients cannot hold up: actix-http behind a stream with deadlines and bounded
//! read-ahead, and a budget of open files.
//!
//! # What it guards against
//!
//! actix-http bounds the first head of a connection. What it leaves open, or does at a price, is done here, between it
//! and the socket:
//!
//! - A head after the first one may take for ever. Here no head takes longer than [`Timeouts::head`].
//! - What is left of a chunked body when its request is answered may take for ever. Here it takes no longer than a head.
//! - A client that sends and never reads is never dropped. Here no write waits longer than [`Timeouts::write`].
//! - The silence between two requests has a timer of its own, made and dropped with every request. Here it is one of the
//!   things that a connection's only timer is for ([`Timeouts::keep_alive`]).
//! - 128 KiB of whatever is there is read and decoded into thousands of requests before the first one is answered: 11 MB
//!   a connection, and a loop that takes a whole core while the answers cannot be written. Here nothing is read beyond the
//!   request in service and [`READ_AHEAD_BYTES`].
//! - Connections can take the last open files, and with them what the process needs for itself. Here a reserve is kept
//!   back ([`FdLimit`]).
//!
//! # Invariants
//!
//! - While a request is in service, only the body that it announced is read.
//! - A connection has one timer at most. It is moved only when something is due earlier.
//! - A connection is counted in [`Connections`] from its acceptance to its end.
//! - A request that does not reach the service is told to [`ServerOptions::refused`], once.
//!
//! # Costs
//!
//! A comparison or two a read, one look at the clock a request, and one entry in a connection's data. A connection in use
//! sets its timer once in the longest silence that it may have.
//!
//! # Use
//!
//! ```no_run
//! use actix_http::{Error, Request, Response, StatusCode};
//! use actix_service::fn_service;
//! use weir_http_guard::{Connections, ServerOptions, Timeouts, bind, serve};
//!
//! # async fn run() -> std::io::Result<()> {
//! let options = ServerOptions {
//!     name: "hello".to_owned(),
//!     connections: Connections::at_most(10_000, Timeouts::default()),
//!     max_workers: 2,
//!     shutdown_seconds: 30,
//!     refused: std::sync::Arc::new(|refusal| format!("X-Refused: {refusal:?}\r\n")),
//!     served_header: "x-request-id",
//! };
//! let server = serve(bind(([127, 0, 0, 1], 8080).into())?.listen()?, options, || {
//!     fn_service(async |_: Request| Ok::<_, Error>(Response::with_body(StatusCode::OK, "hello")))
//! })?;
//! server.await
//! # }
//! ```
//!
//! A handler that reads a body wraps its payload in a [`GuardedBody`], which lets the next piece in when one was taken.
//! An actix-web application is served in the same way: give its factory (`map_config(App::new(), …)`) to [`serve`].
//!
//! # The modules
//!
//! `timeouts` and `connections` are what all connections share, `connection` is one of them with its `state`, `stream` is the
//! socket as actix-http sees it, `body` and `service` are a request's side of it, `refusal` is what never gets so
//! far, `server` puts them together. `fd_limit` stands by itself.

mod body;
mod connection;
mod connections;
mod fd_limit;
mod refusal;
mod server;
mod service;
mod state;
mod stream;
mod timeouts;

pub use body::GuardedBody;
pub use connection::Connection;
pub use connections::Connections;
pub use fd_limit::{FdDemand, FdLimit, TooFewFiles};
pub use refusal::{Refusal, RefusalObserver};
pub use server::{BoundAddress, ServerOptions, bind, serve};
pub use service::{GuardedFactory, GuardedService, InService, guard_requests};
pub use state::READ_AHEAD_BYTES;
pub use stream::GuardedStream;
pub use timeouts::Timeouts;

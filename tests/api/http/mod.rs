//! What holds for every route: ids, errors, bodies, connections, origins.

mod body;
mod connection;
mod cors;
mod framing;
mod limits;
mod request_id;
mod routing;

//! The servers of a process: gRPC for its callers, HTTP for its operators.

mod access;
mod call;
mod grpc;
mod ops;
mod readiness;

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::Error;

pub(crate) use grpc::GrpcServer;
pub use ops::{OpsServer, router as ops_router};
pub use readiness::{Readiness, Report};

/// Listens, and writes the chosen address to a file for whoever started the process.
///
/// # Errors
/// [`Error::Server`] when the address can't be used or the file can't be written.
pub async fn listen(
    what: &'static str,
    address: SocketAddr,
    address_file: &str,
) -> Result<(TcpListener, SocketAddr), Error> {
    let wrong = |error: std::io::Error| Error::Server(format!("{what} on {address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(wrong)?;
    let chosen = listener.local_addr().map_err(wrong)?;
    tracing::info!(server = what, address = %chosen, "listening");
    if !address_file.is_empty() {
        // written beside and renamed, so that nobody reads half an address
        let beside = format!("{address_file}.tmp");
        tokio::fs::write(&beside, chosen.to_string()).await.map_err(wrong)?;
        tokio::fs::rename(&beside, address_file).await.map_err(wrong)?;
    }
    Ok((listener, chosen))
}

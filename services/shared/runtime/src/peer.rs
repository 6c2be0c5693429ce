//! Another service of the platform, asked where an event would come too late. Only reads ask: whatever is written goes by what
//! was heard.

use std::{mem, time::Duration};

use tonic::{
    Request, Status,
    metadata::MetadataMap,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{Error, telemetry::trace};

/// Interval of keep-alive pings, and the longest wait for their answer.
const ALIVE: Duration = Duration::from_secs(5);

/// A connection to another service that carries the trace on.
pub type Peer = InterceptedService<Channel, Traced>;

/// Writes the current span's trace into a call.
#[derive(Debug, Clone, Copy)]
pub struct Traced;

impl Interceptor for Traced {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let mut headers = mem::take(request.metadata_mut()).into_headers();
        trace::into_request(&mut headers);
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        Ok(request)
    }
}

/// Another service at an address (`http://host:port`), connected when it is first asked and again whenever the connection breaks. A
/// call is given up after `timeout`.
///
/// # Errors
/// [`Error::Config`] when the setting of this name is no address.
pub fn peer(setting: &str, address: &str, timeout: Duration) -> Result<Peer, Error> {
    let endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(|error| Error::Config(format!("{setting}: `{}`: {error}", address.escape_default())))?
        .connect_timeout(timeout)
        .timeout(timeout)
        .tcp_nodelay(true)
        // Also while nothing is asked: a call is given up before a ping of its own could find that the other side is gone without a
        // word, and the next would be sent into the same connection.
        .keep_alive_while_idle(true)
        .http2_keep_alive_interval(ALIVE)
        .keep_alive_timeout(ALIVE);
    Ok(InterceptedService::new(endpoint.connect_lazy(), Traced))
}

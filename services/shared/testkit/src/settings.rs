//! The settings of a service under test.

use std::path::Path;

use anyhow::Result;
use zhirong_runtime::config::{self, Common};

use crate::{TestBroker, TestDatabase};

/// A minute, in milliseconds: as long as no test takes unless something is wrong, however busy the machine is.
const LONG_MS: u64 = 60_000;

/// The defaults, on servers of the test's own: what is tried again is so at once, and no answer that is only slow is an error. A
/// test of a time limit sets that one limit.
///
/// # Errors
/// When the defaults can't be read.
pub fn settings(database: &TestDatabase, broker: &TestBroker, address_file: &Path) -> Result<Common> {
    let mut common = config::defaults()?;
    common.database.url = database.url().to_owned().into();
    common.database.acquire_timeout_ms = LONG_MS;
    common.database.statement_timeout_ms = LONG_MS;
    common.database.lock_timeout_ms = LONG_MS;
    common.database.idle_in_transaction_timeout_ms = LONG_MS;
    common.nats.url = broker.url();
    common.nats.request_timeout_ms = LONG_MS;
    common.grpc.address_file = address_file.display().to_string();
    common.grpc.timeout_ms = LONG_MS;
    common.inbox.retry_ms = vec![50];
    common.outbox.poll_max_ms = 50;
    common.shutdown.notice_ms = 0;
    Ok(common)
}

//! Crash points, for fault tests only: a process told to crash at a named point aborts there, as a power cut would make it.
//!
//! Set `fault.crash_at` (environment `ZHIRONG__FAULT__CRASH_AT`) to one of: `outbox_before_publish`,
//! `outbox_after_publish` (acknowledged, not yet marked), `outbox_after_mark`, `inbox_before_commit`, `inbox_after_commit`
//! (effect kept, not yet acknowledged), or to a name that a service passes to [`point`]. The sandbox hands them out one a
//! start: `crash/<program>` in its folder lists them.

use std::sync::OnceLock;

static CRASH_AT: OnceLock<String> = OnceLock::new();

/// Arms one crash point for the life of the process; an empty name arms none.
pub fn arm(name: &str) {
    if !name.is_empty() && CRASH_AT.set(name.to_owned()).is_ok() {
        tracing::warn!(crash_point = name, "this process will abort at a crash point");
    }
}

/// Aborts the process when this point is the armed one.
pub fn point(name: &str) {
    if CRASH_AT.get().is_some_and(|armed| armed == name) {
        tracing::error!(crash_point = name, "aborting at the crash point");
        std::process::abort();
    }
}

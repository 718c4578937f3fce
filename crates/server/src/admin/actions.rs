//! The endpoints that change something beside log levels and runtime values.

use super::Admin;
use super::request::{Request, Response};

/// What the admin port asks of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// End in order.
    Quit,
    /// Open the logs anew.
    ReopenLogs,
    /// Drain listeners.
    Drain {
        /// Only after the drain time are the listeners closed.
        graceful: bool,
        /// The listeners are never closed.
        skip_exit: bool,
        /// Only those of inbound traffic.
        inbound_only: bool,
    },
}

impl Admin {
    fn act(&self, action: Action) -> Response {
        // A server that no longer listens to actions is ending already.
        let _ = self.actions.send(action);
        Response::ok()
    }
}

/// `/quitquitquit`.
pub(super) fn quit(admin: &Admin, _: &Request) -> Response {
    admin.act(Action::Quit)
}

/// `/reopen_logs`.
pub(super) fn reopen_logs(admin: &Admin, _: &Request) -> Response {
    admin.act(Action::ReopenLogs)
}

/// `/drain_listeners`.
pub(super) fn drain_listeners(admin: &Admin, request: &Request) -> Response {
    admin.act(Action::Drain {
        graceful: request.has("graceful"),
        skip_exit: request.has("skip_exit"),
        inbound_only: request.has("inboundonly"),
    })
}

/// `/healthcheck/fail`.
pub(super) fn healthcheck_fail(admin: &Admin, _: &Request) -> Response {
    admin.lifecycle.set_health_check_failed(true);
    Response::ok()
}

/// `/healthcheck/ok`.
pub(super) fn healthcheck_ok(admin: &Admin, _: &Request) -> Response {
    admin.lifecycle.set_health_check_failed(false);
    Response::ok()
}

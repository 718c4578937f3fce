//! The process's own log: Envoy's components, levels and line shape, over `tracing`.
//!
//! Code logs with `tracing` and names its component as the target (`tracing::info!(target: "http", …)`);
//! an unknown target counts as `misc`. Levels are kept per component and can be changed while running. A
//! `critical` line is an error event with the field `critical = true`.

mod component;
mod level;
mod pattern;
mod sink;

pub use component::{component, components};
pub use level::Level;
pub use pattern::{DEFAULT_FORMAT, Pattern};
pub use sink::{Log, Settings, install, installed};

#[cfg(test)]
mod tests;

/// Logs a line of the level that Envoy calls critical, in the component `main`.
#[macro_export]
macro_rules! critical {
    ($($arg:tt)+) => { ::tracing::error!(target: "main", critical = true, $($arg)+) };
}

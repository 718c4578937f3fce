//! The flags themselves, one field each, in the order of Envoy's own help.

use super::concurrency::default_concurrency;
use crate::log::{self, Level};
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use nuncio_net::drain::Pace;
use std::path::PathBuf;
use std::time::Duration;

/// Everything the command line says.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "nuncio",
    about = "An L7 proxy and load balancer that runs Envoy v3 configuration.",
    disable_version_flag = true,
    args_conflicts_with_subcommands = true,
    max_term_width = 110
)]
pub struct Options {
    /// Path to configuration file
    #[arg(short = 'c', long, value_name = "FILE", default_value = "", hide_default_value = true)]
    pub config_path: String,
    /// Inline YAML configuration, merged over the contents of --config-path
    #[arg(long, value_name = "YAML", default_value = "", hide_default_value = true)]
    pub config_yaml: String,
    /// 'serve' traffic, 'validate' the configuration and exit, or 'init_only': start up and exit
    #[arg(long, value_name = "MODE", default_value = "serve", value_parser = Mode::parse)]
    pub mode: Mode,
    /// Number of worker threads; by default what the machine, the CPU affinity and the cgroup allow
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,

    /// Log level: trace, debug, info, warning (or warn), error, critical, off
    #[arg(short = 'l', long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
    /// Comma-separated levels of components, as in upstream:debug,config:trace
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    pub component_log_level: String,
    /// File to log to instead of standard error
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    pub log_path: String,
    /// Log line format in spdlog's pattern syntax
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Escape C-style escape sequences in the log lines
    #[arg(long)]
    pub log_format_escaped: bool,
    /// Log levels per file instead of per component
    #[arg(long)]
    pub enable_fine_grain_logging: bool,
    /// Write a stack trace as one log entry
    #[arg(long)]
    pub log_stacktrace_single_entry: bool,
    /// Do not warn about deprecated fields
    #[arg(long)]
    pub skip_deprecated_logs: bool,

    /// Cluster name of this node; wins over the file's node.cluster
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub service_cluster: String,
    /// Name of this node; wins over the file's node.id
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub service_node: String,
    /// Zone of this node; wins over the file's node.locality.zone
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub service_zone: String,

    /// Seconds that listeners and connections drain for
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub drain_time_s: u32,
    /// How connections are told to drain: 'gradual' or 'immediate'
    #[arg(long, value_name = "STRATEGY", default_value = "gradual", value_parser = DrainStrategy::parse)]
    pub drain_strategy: DrainStrategy,
    /// Seconds after which a parent ends during a hot restart
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub parent_shutdown_time_s: u32,
    /// Base ID, so that several processes can hot-restart on one machine
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub base_id: u32,
    /// Choose the base ID at random among the free ones
    #[arg(long)]
    pub use_dynamic_base_id: bool,
    /// File that the base ID is written to
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    pub base_id_path: String,
    /// Hot restart epoch
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub restart_epoch: u32,
    /// Do without hot restart
    #[arg(long)]
    pub disable_hot_restart: bool,
    /// Start afresh where the parent of a hot restart cannot be reached
    #[arg(long)]
    pub skip_hot_restart_on_no_parent: bool,
    /// Do not take over the parent's stats in a hot restart
    #[arg(long)]
    pub skip_hot_restart_parent_stats: bool,
    /// Path of the hot restart socket
    #[arg(long, value_name = "PATH", default_value = "@envoy_domain_socket")]
    pub socket_path: String,
    /// Permissions of the hot restart socket
    #[arg(long, value_name = "MODE", default_value = "0")]
    pub socket_mode: String,
    /// Print the hot restart compatibility version
    #[arg(long)]
    pub hot_restart_version: bool,

    /// File that the admin address is written to
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    pub admin_address_path: String,
    /// Milliseconds between flushes of file logs
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    pub file_flush_interval_msec: u32,
    /// KiB gathered before a file log is written
    #[arg(long, value_name = "KIB", default_value_t = 64)]
    pub file_flush_min_size_kb: u32,
    /// IP version of the machine's own address: v4 or v6
    #[arg(long, value_name = "VERSION", default_value = "v4", value_parser = IpVersion::parse)]
    pub local_address_ip_version: IpVersion,
    /// Tag:value that every stat carries (may be repeated)
    #[arg(long, value_name = "TAG:VALUE")]
    pub stats_tag: Vec<String>,

    /// Allow unknown fields in static configuration
    #[arg(long, alias = "allow-unknown-fields")]
    pub allow_unknown_static_fields: bool,
    /// Refuse unknown fields in dynamic configuration
    #[arg(long)]
    pub reject_unknown_dynamic_fields: bool,
    /// Ignore unknown fields in dynamic configuration without counting them
    #[arg(long)]
    pub ignore_unknown_dynamic_fields: bool,
    /// Comma-separated names of extensions to do without
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    pub disable_extensions: String,

    /// Take the number of workers from the CPU set (this is always so)
    #[arg(long)]
    pub cpuset_threads: bool,
    /// Trace the contention of mutexes
    #[arg(long)]
    pub enable_mutex_tracing: bool,
    /// Allow core dumps
    #[arg(long)]
    pub enable_core_dump: bool,

    /// What to do with a known field that is not built: 'refuse' the file, or 'warn' and treat the field as
    /// absent
    #[arg(long, value_name = "WHAT", default_value = "refuse")]
    pub unsupported: Unsupported,
    /// Print the extensions that are built, one a line, and exit
    #[arg(long)]
    pub list_extensions: bool,
    /// Print the version and exit
    #[arg(long, action = ArgAction::SetTrue)]
    pub version: bool,

    /// What to do instead of serving
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The subcommands; none of them is Envoy's.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Start two upstreams and a proxy in front of them, and print requests to try
    Demo {
        /// Send the requests, print what came back, and exit (1 when something is wrong)
        #[arg(long)]
        once: bool,
    },
    /// Check configuration files as `--mode validate` does, all of them
    Validate {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// What to do with a known field that is not built
        #[arg(long, value_name = "WHAT", default_value = "refuse")]
        unsupported: Unsupported,
        /// Allow unknown fields
        #[arg(long)]
        allow_unknown_static_fields: bool,
    },
    /// Say what would become of a request, and why (docs/explain.md)
    Explain {
        /// The configuration file
        #[arg(short = 'c', long, value_name = "FILE")]
        config_path: String,
        /// The listener; without it the one at the URL's port, or the only one
        #[arg(long, value_name = "NAME")]
        listener: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// What to do with a known field that is not built
        #[arg(long, value_name = "WHAT", default_value = "refuse")]
        unsupported: Unsupported,
        /// Allow unknown fields
        #[arg(long)]
        allow_unknown_static_fields: bool,
        /// The words of a curl command, or the name of a file with a request
        #[arg(required = true, value_name = "REQUEST", trailing_var_arg = true, allow_hyphen_values = true)]
        request: Vec<String>,
    },
}

/// `--mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Check the configuration, then serve traffic.
    Serve,
    /// Check the configuration and exit.
    Validate,
    /// Start up, then exit.
    InitOnly,
}

impl Mode {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "serve" => Ok(Self::Serve),
            "validate" => Ok(Self::Validate),
            "init_only" => Ok(Self::InitOnly),
            _ => Err(format!("unknown mode '{text}'")),
        }
    }
}

/// `--drain-strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainStrategy {
    /// The share of connections told to go grows with the drain time.
    Gradual,
    /// Every connection is told to go at once.
    Immediate,
}

impl DrainStrategy {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "gradual" => Ok(Self::Gradual),
            "immediate" => Ok(Self::Immediate),
            _ => Err(format!("unknown drain-strategy '{text}'")),
        }
    }
}

/// `--local-address-ip-version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpVersion {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "v4" => Ok(Self::V4),
            "v6" => Ok(Self::V6),
            _ => Err(format!("unknown IP address version '{text}'")),
        }
    }
}

/// `--unsupported`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Unsupported {
    /// The file is refused.
    Refuse,
    /// A warning is logged and the field treated as absent.
    Warn,
}

impl Options {
    /// Workers to run, at least 1.
    pub fn concurrency(&self) -> u32 {
        self.concurrency.unwrap_or_else(default_concurrency).max(1)
    }

    /// The longest that a file log's bytes wait in memory.
    pub fn file_flush_interval(&self) -> Duration {
        Duration::from_millis(self.file_flush_interval_msec.into())
    }

    /// How fast connections of a draining listener are asked to close.
    pub fn drain_pace(&self) -> Pace {
        match self.drain_strategy {
            DrainStrategy::Gradual => Pace::Gradual(self.drain_time()),
            DrainStrategy::Immediate => Pace::Immediate,
        }
    }

    /// How long drains take.
    pub fn drain_time(&self) -> Duration {
        Duration::from_secs(self.drain_time_s.into())
    }

    /// What clap cannot check by itself, in Envoy's words.
    pub(super) fn check(&self) -> Result<(), String> {
        if Level::parse(&self.log_level).is_none() {
            return Err(format!("invalid log level specified '{}'", self.log_level));
        }
        self.component_log_levels()?;
        if self.use_dynamic_base_id && self.restart_epoch > 0 {
            return Err(format!(
                "cannot use --restart-epoch={} with --use-dynamic-base-id",
                self.restart_epoch
            ));
        }
        for pair in &self.stats_tag {
            let Some((tag, value)) = pair.split_once(':') else {
                return Err(format!("misformatted stats-tag '{pair}'"));
            };
            if tag.is_empty() || !tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(format!("misformatted stats-tag '{pair}' contains invalid char in '{tag}'"));
            }
            if value.contains('.') {
                return Err(format!("misformatted stats-tag '{pair}' contains invalid char in '{value}'"));
            }
        }
        Ok(())
    }

    /// `--log-format`, or the shape of a log line without it.
    pub fn log_format(&self) -> &str {
        self.log_format.as_deref().unwrap_or(log::DEFAULT_FORMAT)
    }

    /// `--component-log-level` taken apart.
    pub fn component_log_levels(&self) -> Result<Vec<(&'static str, Level)>, String> {
        let mut levels = Vec::new();
        for item in self.component_log_level.split(',').filter(|s| !s.is_empty()) {
            let Some((name, level)) = item.split_once(':') else {
                return Err(format!("component log level not correctly specified '{item}'"));
            };
            let level = Level::parse(level).ok_or(format!("invalid log level specified '{level}'"))?;
            let name = log::component(name).ok_or(format!("invalid component specified '{name}'"))?;
            levels.push((name, level));
        }
        Ok(levels)
    }

    /// The flags that were given, are right, and change nothing, each with its reason.
    pub fn without_effect(&self) -> Vec<(&'static str, &'static str)> {
        const HOT_RESTART: &str = "hot restart is not built";
        let given = [
            (self.restart_epoch > 0, "--restart-epoch", HOT_RESTART),
            (self.base_id > 0, "--base-id", HOT_RESTART),
            (self.parent_shutdown_time_s != 900, "--parent-shutdown-time-s", HOT_RESTART),
            (self.skip_hot_restart_on_no_parent, "--skip-hot-restart-on-no-parent", HOT_RESTART),
            (self.skip_hot_restart_parent_stats, "--skip-hot-restart-parent-stats", HOT_RESTART),
            (self.socket_path != "@envoy_domain_socket", "--socket-path", HOT_RESTART),
            (self.socket_mode != "0", "--socket-mode", HOT_RESTART),
            (
                self.reject_unknown_dynamic_fields,
                "--reject-unknown-dynamic-fields",
                "dynamic configuration is not built",
            ),
            (
                self.ignore_unknown_dynamic_fields,
                "--ignore-unknown-dynamic-fields",
                "dynamic configuration is not built",
            ),
            (self.enable_fine_grain_logging, "--enable-fine-grain-logging", "levels go by component"),
            (self.log_stacktrace_single_entry, "--log-stacktrace-single-entry", "no stack traces are logged"),
            (self.skip_deprecated_logs, "--skip-deprecated-logs", "deprecated fields are not logged"),
            (!self.disable_extensions.is_empty(), "--disable-extensions", "not built"),
            (!self.stats_tag.is_empty(), "--stats-tag", "not built"),
            (self.cpuset_threads, "--cpuset-threads", "it is always so"),
            (self.enable_mutex_tracing, "--enable-mutex-tracing", "not built"),
            (self.enable_core_dump, "--enable-core-dump", "the limits of the process are left as they are"),
        ];
        given.into_iter().filter(|(is, ..)| *is).map(|(_, flag, why)| (flag, why)).collect()
    }
}

//! Where configuration comes from after the start: subscriptions, whoever feeds them.
//!
//! A [`Feed`] (a watched file today; a management server speaks the same words) hands each discovery response to a
//! [`Subscriber`], which takes it whole or refuses it whole. What it refused leaves the last good configuration in
//! place, and the reason goes back to the feed: into its log and counters, and to a server as a NACK.

use crate::config::{CompileContext, Errors, type_name};
use crate::stats::Scope;
use nuncio_proto::pb::envoy::config::core::v3 as pb;
use prost::{Message, Name};
use std::fmt;
use std::io;
use std::path::PathBuf;

crate::stats_block! {
    /// What every subscription counts, under the prefix of the thing that subscribes.
    pub struct SubscriptionStats {
        counter init_fetch_timeout,
        counter update_attempt,
        counter update_failure,
        counter update_rejected,
        counter update_success,
        gauge update_time,
        whole_gauge version,
        text version_text,
        histogram update_duration,
    }
}

/// A resource as a management server names it: the place of what came from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceId {
    /// The message's full name.
    pub type_name: &'static str,
    /// The resource's name.
    pub name: Box<str>,
    /// `version_info` of the response that it came in.
    pub version: Box<str>,
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}' version '{}'", self.type_name, self.name, self.version)
    }
}

/// One discovery response, read and checked.
pub struct Update<'a> {
    /// `version_info`
    pub version: &'a str,
    /// `resources`
    pub resources: &'a [prost_types::Any],
    /// The response's top: `cx.item("resources", i)` is where a resource stands.
    pub cx: &'a CompileContext<'a>,
}

impl Update<'_> {
    /// The resource of a subscription (`what`, such as `EDS`) to a single one: `None` where the response has none.
    ///
    /// # Errors
    /// There are several, or it is of another type, or no such message.
    pub fn single<M: Message + Name + Default>(&self, what: &str) -> Result<Option<M>, Rejected> {
        let [resource] = self.resources else {
            if self.resources.is_empty() {
                return Ok(None);
            }
            return Err(Rejected::because(format!(
                "Unexpected {what} resource length: {}",
                self.resources.len()
            )));
        };
        let type_name = type_name(&resource.type_url);
        if type_name != M::full_name() {
            return Err(Rejected::because(format!("Unexpected {what} resource type: {type_name}")));
        }
        let message = self.cx.item("resources", 0).decode(&resource.value);
        message.map(Some).ok_or(Rejected { resource: None, why: None })
    }
}

/// Why an update was refused. What has a place is in the update's sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The resource, where it is one that was refused.
    pub resource: Option<ResourceId>,
    /// What is to be said besides what the sink has.
    pub why: Option<String>,
}

impl Rejected {
    /// For a reason that concerns the response as a whole.
    pub fn because(why: String) -> Self {
        Self { resource: None, why: Some(why) }
    }

    /// The whole reason in one line, as logs and a NACK's `error_detail` have it.
    pub fn detail(&self, errors: &Errors) -> String {
        let reasons: Vec<String> =
            self.why.iter().cloned().chain(errors.iter().map(ToString::to_string)).collect();
        match &self.resource {
            Some(resource) => format!("{resource}: {}", reasons.join("; ")),
            None => reasons.join("; "),
        }
    }
}

/// Who asked for configuration.
pub trait Subscriber {
    /// Takes an update whole.
    ///
    /// # Errors
    /// It is refused whole, and what was there before stays. So it is where the update's sink has an error.
    fn update(&self, update: &Update<'_>) -> Result<(), Rejected>;
}

/// Hands updates to a subscriber.
pub struct Feed {
    /// `update_*` and `version` of the subscription.
    pub stats: Scope<SubscriptionStats>,
    /// Who is told.
    pub subscriber: Box<dyn Subscriber>,
}

/// Whoever serves subscriptions: what reads files today.
pub trait Sources {
    /// Feeds from `source` from now on; what is there already is handed on before this returns.
    ///
    /// # Errors
    /// The source cannot be followed.
    fn subscribe(&self, source: &FileSource, feed: Feed) -> io::Result<Subscription>;
}

/// A subscription, which ends when this is dropped.
pub struct Subscription(Option<Box<dyn FnOnce()>>);

impl Subscription {
    /// One that `end` ends.
    pub fn new(end: impl FnOnce() + 'static) -> Self {
        Self(Some(Box::new(end)))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

/// A compiled `envoy.config.core.v3.ConfigSource` that is a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileSource {
    /// The file with the discovery response.
    pub path: PathBuf,
    /// `watched_directory`: the response is read anew when something is moved in here, not when the file is.
    pub directory: Option<PathBuf>,
}

impl FileSource {
    /// Compiles the message; the path has to exist, as in Envoy.
    pub fn compile(message: pb::ConfigSource, cx: &CompileContext<'_>) -> Option<Self> {
        let (source, field) = Self::read(message, cx)?;
        source.exists(&cx.field(field))
    }

    /// What the message at `cx` says, and in which field.
    pub fn read(message: pb::ConfigSource, cx: &CompileContext<'_>) -> Option<(Self, &'static str)> {
        use pb::config_source::ConfigSourceSpecifier as Specifier;
        let pb::ConfigSource { config_source_specifier } = message;
        match config_source_specifier {
            Some(Specifier::Path(path)) => Some((Self { path: path.into(), directory: None }, "path")),
            Some(Specifier::PathConfigSource(pb::PathConfigSource { path, watched_directory })) => {
                let directory = watched_directory.map(|pb::WatchedDirectory { path }| path.into());
                Some((Self { path: path.into(), directory }, "path_config_source"))
            }
            None => {
                cx.error("config_source_specifier: value is required");
                None
            }
        }
    }

    /// Itself, where there is something to be read and watched.
    pub fn exists(self, cx: &CompileContext<'_>) -> Option<Self> {
        if !self.path.exists() {
            let path = self.path.display();
            cx.error(format!("paths must refer to an existing path in the system: '{path}' does not exist"));
            return None;
        }
        if let Some(directory) = self.directory.as_deref().filter(|d| !d.is_dir()) {
            let path = directory.display();
            cx.error(format!("unable to add filesystem watch for file {path}/: No such file or directory"));
            return None;
        }
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sink;

    fn compile(path: &str, directory: Option<&str>) -> (Option<FileSource>, String) {
        let sink = Sink::default();
        let watched_directory = directory.map(|path| pb::WatchedDirectory { path: path.to_owned() });
        let message = pb::PathConfigSource { path: path.to_owned(), watched_directory };
        let specifier = pb::config_source::ConfigSourceSpecifier::PathConfigSource(message);
        let message = pb::ConfigSource { config_source_specifier: Some(specifier) };
        let source = FileSource::compile(message, &CompileContext::root(&sink, "", None));
        (source, sink.finish().0.iter().map(|e| e.message.clone()).collect())
    }

    #[test]
    fn what_is_to_be_watched_has_to_be_there() {
        let own = file!().rsplit('/').next().map(|name| format!("src/{name}")).unwrap();
        assert!(compile(&own, None).0.is_some() && compile(&own, Some("src")).0.is_some());
        let (none, why) = compile("/nonexistent/x", None);
        let said = "paths must refer to an existing path in the system: '/nonexistent/x' does not exist";
        assert_eq!((none, &*why), (None, said));
        assert_eq!(compile(&own, Some("/nonexistent")).0, None);
    }

    #[test]
    fn a_refusal_names_the_resource_as_a_server_knows_it() {
        let resource = ResourceId {
            type_name: "envoy.config.route.v3.RouteConfiguration",
            name: "r".into(),
            version: "7".into(),
        };
        let rejected = Rejected { resource: Some(resource), why: Some("no".to_owned()) };
        let said = "envoy.config.route.v3.RouteConfiguration 'r' version '7': no";
        assert_eq!(rejected.detail(&Sink::default().finish().0), said);
    }
}

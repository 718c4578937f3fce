//! Where tags come from: the filter's own message, or a file that is read again when something is moved beside it.

use nuncio_core::config::{CompileContext, Sink};
use nuncio_core::matcher::CidrList;
use nuncio_core::source::FileSource;
use nuncio_net::watch::MoveWatch;
use nuncio_net::worker::Worker;
use nuncio_proto::load::{self, Source};
use nuncio_proto::pb::envoy::config::core::v3::{DataSource, WatchedDirectory, data_source::Specifier};
use nuncio_proto::pb::envoy::extensions::filters::http::ip_tagging::v3::ip_tagging as pb;
use prost::Name;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A name for address ranges.
pub(super) struct Tag {
    pub(super) name: Box<str>,
    pub(super) ranges: CidrList,
}

/// A filter's tags.
pub(super) enum TagSource {
    /// `ip_tags`
    Own(Arc<[Tag]>),
    /// `ip_tags_datasource`
    File(Arc<TagFile>),
}

/// Tags in a file, as all workers have them.
pub(super) struct TagFile {
    source: FileSource,
    tags: Mutex<Arc<[Tag]>>,
    /// Grows when the tags change.
    generation: AtomicU64,
    /// A worker reads it again for all of them.
    is_followed: AtomicBool,
}

impl TagSource {
    pub(super) fn compile(
        own: Vec<pb::IpTag>,
        file: Option<DataSource>,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        match file {
            None if own.is_empty() => {
                cx.field("ip_tags").error(
                    "HTTP IP Tagging Filter requires either ip_tags or ip_tags_datasource to be specified.",
                );
                None
            }
            None => compile_tags(own, cx).map(Self::Own),
            Some(_) if !own.is_empty() => {
                cx.field("ip_tags_datasource")
                    .error("Only one of ip_tags or ip_tags_datasource can be configured.");
                None
            }
            Some(file) => TagFile::compile(file, &cx.field("ip_tags_datasource")).map(Self::File),
        }
    }

    /// Another number wherever the tags are others.
    pub(super) fn generation(&self) -> u64 {
        match self {
            Self::Own(_) => 0,
            Self::File(file) => file.generation.load(Ordering::Acquire),
        }
    }

    /// The tags that hold, and their generation, or an earlier one.
    pub(super) fn now(&self) -> (u64, Arc<[Tag]>) {
        let generation = self.generation();
        let tags = match self {
            Self::Own(tags) => Arc::clone(tags),
            Self::File(file) => Arc::clone(&file.tags.lock().unwrap_or_else(PoisonError::into_inner)),
        };
        (generation, tags)
    }

    /// Has a file with a `watched_directory` read again whenever something is moved in there, by the first worker that
    /// asks; `told` is called when that went well.
    pub(super) fn follow(&self, worker: &Worker, told: impl Fn() + 'static) {
        let Self::File(file) = self else { return };
        // Where requests are only explained there may be no runtime, and nothing to wait for.
        let runs = tokio::runtime::Handle::try_current().is_ok();
        if file.source.directory.is_none() || !runs || file.is_followed.swap(true, Ordering::AcqRel) {
            return;
        }
        let path = file.source.path.display();
        match MoveWatch::of(&file.source) {
            Ok(watch) => worker.spawn(Arc::clone(file).follow(watch, told)),
            Err(error) => tracing::error!(target: "config", "{path} cannot be watched: {error}"),
        }
    }
}

impl TagFile {
    fn compile(source: DataSource, cx: &CompileContext<'_>) -> Option<Arc<Self>> {
        let DataSource { specifier, watched_directory } = source;
        let Some(Specifier::Filename(path)) = specifier else {
            cx.error("Cannot load tags from empty filename in datasource.");
            return None;
        };
        let directory = watched_directory.map(|WatchedDirectory { path }| path.into());
        let source = FileSource { path: path.into(), directory }.exists(cx)?;
        match read(&source.path) {
            Ok(tags) => Some(Arc::new(Self {
                source,
                tags: Mutex::new(tags),
                generation: AtomicU64::default(),
                is_followed: AtomicBool::default(),
            })),
            Err(why) => {
                cx.field("filename").error(why);
                None
            }
        }
    }

    /// Reads the file anew, for ever. What cannot be read leaves the tags as they were.
    async fn follow(self: Arc<Self>, watch: MoveWatch, told: impl Fn()) {
        let path = self.source.path.display();
        loop {
            if let Err(error) = watch.moved().await {
                tracing::error!(target: "config", "{path} is no longer watched: {error}");
                return;
            }
            match read(&self.source.path) {
                Ok(tags) => {
                    *self.tags.lock().unwrap_or_else(PoisonError::into_inner) = tags;
                    self.generation.fetch_add(1, Ordering::AcqRel);
                    told();
                }
                Err(why) => {
                    tracing::error!(target: "config", "Failed to transform data from file '{path}': {why}")
                }
            }
        }
    }
}

/// The tags in a file, whose name says how it is written.
fn read(path: &Path) -> Result<Arc<[Tag]>, String> {
    let name = path.to_string_lossy();
    if !(name.ends_with(".yaml") || name.ends_with(".json")) {
        return Err(format!("Unsupported file format, unable to parse ip tags from file {name}"));
    }
    let bytes = std::fs::read(path).map_err(|error| format!("Invalid path: {name}: {error}"))?;
    parse(&Source::file(&name, &bytes))
}

fn parse(source: &Source<'_>) -> Result<Arc<[Tag]>, String> {
    let sink = Sink::default();
    let tags = load::message(source, &pb::IpTags::full_name(), &sink).and_then(|resource| {
        let cx = resource.context(&sink);
        let pb::IpTags { ip_tags } = cx.decode(resource.bytes())?;
        compile_tags(ip_tags, &cx)
    });
    let (errors, _) = sink.finish();
    let reasons: Vec<String> = errors.iter().map(ToString::to_string).collect();
    tags.filter(|_| reasons.is_empty()).ok_or_else(|| reasons.join("; "))
}

/// The tags in the field `ip_tags`.
fn compile_tags(tags: Vec<pb::IpTag>, cx: &CompileContext<'_>) -> Option<Arc<[Tag]>> {
    let count = tags.len();
    let compiled: Vec<Tag> = tags
        .into_iter()
        .enumerate()
        .filter_map(|(i, message)| {
            let pb::IpTag { ip_tag_name, mut ip_list } = message;
            for range in &mut ip_list {
                // As in Envoy here, and here alone, a length that is too long is the longest.
                let most = if range.address_prefix.contains(':') { 128 } else { 32 };
                range.prefix_len = range.prefix_len.map(|len| len.min(most));
            }
            let ranges = CidrList::compile(&ip_list, &cx.item("ip_tags", i), "ip_list")?;
            Some(Tag { name: ip_tag_name.into(), ranges })
        })
        .collect();
    (compiled.len() == count).then(|| compiled.into())
}

#[cfg(test)]
mod tests;

//! What filters leave behind on a stream: dynamic metadata and filter state.

use super::StreamInfo;
use crate::xx_hash::xx_hash64;
use std::any::Any;
use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// Metadata by namespace, such as `envoy.lb` (`envoy.config.core.v3.Metadata`).
pub type Metadata = BTreeMap<String, prost_types::Struct>;

/// An object of one stream that filters share by name (Envoy's `StreamInfo::FilterState::Object`).
pub trait FilterState: fmt::Debug {
    /// The object itself, for those who know its type.
    fn as_any(&self) -> &dyn Any;

    /// Its text, for logs and matchers; `None` when it has none.
    fn serialize(&self) -> Option<String>;

    /// What it is as JSON, where that is not its text as a string.
    fn json(&self) -> Option<String> {
        None
    }

    /// The address that it is, where it is one.
    fn address(&self) -> Option<IpAddr> {
        None
    }

    /// Its hash, for those that consistent hashing may place connections by.
    fn hash(&self) -> Option<u64> {
        None
    }

    /// Whether connections to upstreams are only for streams that have the same, and what an internal listener is told
    /// of it.
    fn sharing(&self) -> Sharing {
        Sharing::None
    }

    /// Whether it stays where the stream begins anew with another request (Envoy's life span `Request`).
    fn outlives_redirects(&self) -> bool {
        false
    }

    /// Whether it has fields.
    fn has_fields(&self) -> bool {
        false
    }

    /// The text of one of its fields (`FILTER_STATE(KEY:FIELD:NAME)`); most objects have none.
    fn field(&self, _name: &str) -> Option<String> {
        None
    }
}

/// How far an object goes with the connections to upstreams (`shared_with_upstream`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// It stays with its stream.
    #[default]
    None,
    /// To the next connection, and no further.
    Once,
    /// To all that follow.
    Transitive,
}

/// An object that has come with a connection, and goes no further.
#[derive(Debug)]
struct Arrived(Rc<dyn FilterState>);

impl FilterState for Arrived {
    fn as_any(&self) -> &dyn Any {
        self.0.as_any()
    }

    fn serialize(&self) -> Option<String> {
        self.0.serialize()
    }

    fn json(&self) -> Option<String> {
        self.0.json()
    }

    fn hash(&self) -> Option<u64> {
        self.0.hash()
    }

    fn has_fields(&self) -> bool {
        self.0.has_fields()
    }

    fn field(&self, name: &str) -> Option<String> {
        self.0.field(name)
    }
}

/// Objects that a stream shares with its upstream connection.
pub type SharedObjects = Vec<(Box<str>, Rc<dyn FilterState>)>;

/// The filter state of a connection, which all of its streams see. Allocated with the first use.
#[derive(Clone, Debug, Default)]
pub struct ConnectionFilterState(RefCell<Option<Box<Objects>>>);

/// Objects by name.
type Objects = BTreeMap<Box<str>, Rc<dyn FilterState>>;

impl ConnectionFilterState {
    /// Whether nothing was ever set.
    #[inline]
    fn is_unused(&self) -> bool {
        self.0.borrow().is_none()
    }

    /// The object called `name`.
    pub fn get(&self, name: &str) -> Option<Rc<dyn FilterState>> {
        self.0.borrow().as_ref()?.get(name).cloned()
    }

    /// Whether there are objects.
    #[inline]
    fn is_set(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Sets the object called `name`, in place of an older one.
    pub fn set(&self, name: &str, state: Rc<dyn FilterState>) {
        self.0.borrow_mut().get_or_insert_default().insert(name.into(), state);
    }
}

/// Fields of one namespace of dynamic metadata, made once for all the streams that are given them.
#[derive(Debug)]
pub struct NamespaceFields {
    /// Where they are put.
    pub namespace: Box<str>,
    /// They themselves.
    pub fields: prost_types::Struct,
}

/// What filters leave on one stream.
#[derive(Clone, Debug, Default)]
struct State {
    /// The dynamic metadata without what is noted.
    metadata: Metadata,
    /// Fields that belong to it. Most streams are over before anybody looks, so that they are merged with the first look.
    noted: Vec<Arc<NamespaceFields>>,
    /// The dynamic metadata with what is noted.
    merged: OnceCell<Metadata>,
    typed_metadata: BTreeMap<String, prost_types::Any>,
    /// Few: found one after another.
    filter_state: Vec<(Cow<'static, str>, Rc<dyn FilterState>)>,
}

impl State {
    fn metadata(&self) -> &Metadata {
        if self.noted.is_empty() { &self.metadata } else { self.merged.get_or_init(|| self.merge()) }
    }

    fn merge(&self) -> Metadata {
        let mut merged = self.metadata.clone();
        for NamespaceFields { namespace, fields } in self.noted.iter().map(|noted| &**noted) {
            extend(&mut merged, namespace, fields.clone());
        }
        merged
    }

    /// The dynamic metadata, to be changed.
    fn metadata_mut(&mut self) -> &mut Metadata {
        if !self.noted.is_empty() {
            self.metadata = self.merged.take().unwrap_or_else(|| self.merge());
            self.noted.clear();
        }
        &mut self.metadata
    }

    fn filter_state(&self, name: &str) -> Option<&Rc<dyn FilterState>> {
        self.filter_state.iter().find(|(own, _)| own == name).map(|(_, object)| object)
    }

    /// Makes ready for another stream.
    fn clear(&mut self) {
        let Self { metadata, noted, merged, typed_metadata, filter_state } = self;
        noted.clear();
        merged.take();
        filter_state.clear();
        // Most are empty, and clearing takes a map apart.
        if !metadata.is_empty() {
            metadata.clear();
        }
        if !typed_metadata.is_empty() {
            typed_metadata.clear();
        }
    }
}

/// Merges fields into a namespace: what is there under the same key is replaced.
fn extend(metadata: &mut Metadata, namespace: &str, fields: prost_types::Struct) {
    match metadata.get_mut(namespace) {
        Some(old) => old.fields.extend(fields.fields),
        None => {
            metadata.insert(namespace.to_owned(), fields);
        }
    }
}

/// The dynamic metadata and filter state of a stream: storage is taken with the first use, from what the thread keeps of
/// streams that are over.
#[derive(Debug, Default)]
pub struct LazyState(Option<Box<State>>);

/// How much storage a thread keeps.
const KEEP: usize = 64;

thread_local! {
    // Boxed, because streams carry it along.
    #[allow(clippy::vec_box, reason = "see above")]
    static SPARE: RefCell<Vec<Box<State>>> = const { RefCell::new(Vec::new()) };
}

impl LazyState {
    #[inline]
    fn get(&self) -> Option<&State> {
        self.0.as_deref()
    }

    fn get_mut(&mut self) -> &mut State {
        self.0.get_or_insert_with(|| SPARE.with_borrow_mut(Vec::pop).unwrap_or_default())
    }
}

impl Clone for LazyState {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Drop for LazyState {
    #[inline]
    fn drop(&mut self) {
        if let Some(state) = self.0.take() {
            give_back(state);
        }
    }
}

fn give_back(mut state: Box<State>) {
    state.clear();
    // A thread that ends keeps nothing.
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < KEEP {
            spare.push(state);
        }
    });
}

impl StreamInfo {
    /// The dynamic metadata, if any was set.
    pub fn dynamic_metadata(&self) -> Option<&Metadata> {
        self.state.get().map(State::metadata)
    }

    /// The typed dynamic metadata, if any was set.
    pub fn typed_metadata(&self) -> Option<&BTreeMap<String, prost_types::Any>> {
        self.state.get().map(|s| &s.typed_metadata)
    }

    /// Merges `fields` into a namespace of the dynamic metadata: what is there under the same key is replaced.
    pub fn set_dynamic_metadata(&mut self, namespace: &str, fields: prost_types::Struct) {
        extend(self.state.get_mut().metadata_mut(), namespace, fields);
    }

    /// Whether a namespace of the dynamic metadata is there.
    pub fn has_dynamic_metadata(&self, namespace: &str) -> bool {
        self.state.get().is_some_and(|state| {
            state.metadata.contains_key(namespace)
                || state.noted.iter().any(|noted| *noted.namespace == *namespace)
        })
    }

    /// The same of fields that many streams are given: merged when somebody looks.
    pub fn note_dynamic_metadata(&mut self, fields: &Arc<NamespaceFields>) {
        let state = self.state.get_mut();
        if state.merged.get().is_some() {
            // Somebody has looked: what there was is settled.
            state.metadata_mut();
        }
        state.noted.push(Arc::clone(fields));
    }

    /// Sets the typed metadata of a namespace; `replaces`: in place of what is there. False where something is there
    /// that stays.
    pub fn set_typed_metadata(&mut self, namespace: &str, value: prost_types::Any, replaces: bool) -> bool {
        let typed = &mut self.state.get_mut().typed_metadata;
        if !replaces && typed.contains_key(namespace) {
            return false;
        }
        typed.insert(namespace.to_owned(), value);
        true
    }

    /// It tells of the connection itself, of no stream on it: what listener filters left for its logs is taken over.
    pub fn be_connection(&mut self) {
        let connection = Rc::clone(&self.connection);
        for (namespace, fields) in connection.state.metadata.iter().flat_map(|m| m.iter()) {
            self.set_dynamic_metadata(namespace, fields.clone());
        }
    }

    /// The filter state called `name`: the stream's own, or its connection's.
    #[inline]
    pub fn filter_state(&self, name: &str) -> Option<Rc<dyn FilterState>> {
        if self.state.get().is_none_or(|s| s.filter_state.is_empty())
            && self.connection.state.filter_state.is_unused()
        {
            return None;
        }
        self.find_filter_state(name)
    }

    fn find_filter_state(&self, name: &str) -> Option<Rc<dyn FilterState>> {
        let own = self.state.get().and_then(|s| s.filter_state(name));
        own.cloned().or_else(|| self.connection.state.filter_state.get(name))
    }

    /// Whether the stream or its connection may have any filter state.
    #[inline]
    pub fn may_have_filter_state(&self) -> bool {
        self.state.get().is_some_and(|s| !s.filter_state.is_empty())
            || self.connection.state.filter_state.is_set()
    }

    /// What the stream's filter state and its connection's share with upstream connections, as one number; 0 where they
    /// share nothing. Objects without a hash do not count.
    pub fn hash_shared_with_upstream(&self) -> u64 {
        let mut all = 0_u64;
        self.each_shared_object(|name, object| {
            if let Some(hash) = object.hash() {
                // The order does not count.
                all = all.wrapping_add(hash ^ xx_hash64(name.as_bytes(), 0));
            }
        });
        all
    }

    /// What the stream and its connection share with upstream connections, as whoever takes such a connection gets it.
    pub fn objects_shared_with_upstream(&self) -> SharedObjects {
        let mut all = SharedObjects::new();
        self.each_shared_object(|name, object| {
            let object = match object.sharing() {
                Sharing::Transitive => Rc::clone(object),
                Sharing::None | Sharing::Once => Rc::new(Arrived(Rc::clone(object))),
            };
            all.push((name.into(), object));
        });
        all
    }

    fn each_shared_object(&self, mut take: impl FnMut(&str, &Rc<dyn FilterState>)) {
        let own = self.state.get();
        let of_connection = self.connection.state.filter_state.0.borrow();
        let of_connection = of_connection.as_deref().into_iter().flatten();
        // The stream's own takes the place of its connection's.
        let seen = of_connection.filter(|(name, _)| own.is_none_or(|own| own.filter_state(name).is_none()));
        let seen = seen.map(|(name, object)| (&**name, object));
        let own = own.iter().flat_map(|own| &own.filter_state).map(|(name, object)| (&**name, object));
        for (name, object) in seen.chain(own) {
            if object.sharing() != Sharing::None {
                take(name, object);
            }
        }
    }

    /// Takes over what outlives a redirect that is followed here, from the stream as it was before.
    pub fn take_lasting_state(&mut self, before: &Self) {
        let all = before.state.get().into_iter().flat_map(|state| &state.filter_state);
        for (name, object) in all.filter(|(_, object)| object.outlives_redirects()) {
            self.set_filter_state(name.clone(), Rc::clone(object));
        }
    }

    /// Sets the filter state called `name`, in place of an older one.
    pub fn set_filter_state(&mut self, name: impl Into<Cow<'static, str>>, state: Rc<dyn FilterState>) {
        let (name, all) = (name.into(), &mut self.state.get_mut().filter_state);
        match all.iter_mut().find(|(own, _)| *own == name) {
            Some((_, old)) => *old = state,
            None => all.push((name, state)),
        }
    }
}

#[cfg(test)]
mod tests;

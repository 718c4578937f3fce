//! Header changes of the levels of a route table, with where each stands.

use nuncio_codec::head::{RequestHead, ResponseHead};
use nuncio_core::config::{CompileContext, Place};
use nuncio_core::format::FormatContext;
use nuncio_core::header::{HeaderMutations, MutationFields};

/// The levels that say something of one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LevelName {
    /// `RouteConfiguration`
    Table,
    /// `VirtualHost`
    VirtualHost,
    /// `Route`
    Route,
    /// `WeightedCluster.ClusterWeight`
    Weight,
}

impl LevelName {
    /// Its name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "route configuration",
            Self::VirtualHost => "virtual host",
            Self::Route => "route",
            Self::Weight => "weighted cluster",
        }
    }
}

/// What one level changes of the heads of one direction.
#[derive(Debug)]
pub(super) struct LevelChanges {
    pub level: LevelName,
    /// Where they stand.
    pub place: Option<Place>,
    pub changes: HeaderMutations,
}

impl LevelChanges {
    /// The changes of the level at `cx`, which stand in these fields of it.
    pub fn new(
        level: LevelName,
        changes: HeaderMutations,
        fields: MutationFields,
        cx: &CompileContext<'_>,
    ) -> Self {
        let (whole, added) = (cx.place(), cx.field(fields.add).place());
        let place = if added == whole { cx.field(fields.remove).place() } else { added };
        Self { level, place, changes }
    }

    /// Changes a request's head.
    #[inline]
    pub fn apply_request(&self, head: &mut RequestHead, cx: &FormatContext<'_>) {
        self.changes.apply_request(head, cx);
    }

    /// Changes a response's head.
    #[inline]
    pub fn apply_response(&self, head: &mut ResponseHead, cx: &FormatContext<'_>) {
        self.changes.apply_response(head, cx);
    }
}

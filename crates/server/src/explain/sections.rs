//! The sections of an explanation in their order: what both renderings walk.

use nuncio_downstream::explain::{Change, Explanation, Fact, FilterFact, PassedOver};

/// One section.
pub(super) struct Section<'a> {
    /// What people read above it.
    pub title: &'static str,
    /// Its key for machines.
    pub key: &'static str,
    pub content: Content<'a>,
}

/// What is in it.
pub(super) enum Content<'a> {
    Facts(&'a [Fact]),
    /// Routes, and how many more there are.
    PassedOver(&'a [PassedOver], usize),
    Filters(&'a [FilterFact]),
    Changes(&'a [Change]),
    /// Names and values.
    Head(&'a [(String, String)]),
}

/// All of them, empty ones too.
pub(super) fn sections(told: &Explanation) -> [Section<'_>; 14] {
    let Explanation {
        // The renderings begin with these.
        verdict: _,
        notes: _,
        connection,
        routing,
        tracing,
        passed_over,
        more_passed_over,
        filters,
        changes,
        head,
        upstream,
        timeouts,
        retries,
        rate_limits,
        responses,
        overload,
        answer,
    } = told;
    let section = |title, key, content| Section { title, key, content };
    [
        section("connection", "connection", Content::Facts(connection)),
        section("routing", "routing", Content::Facts(routing)),
        section(
            "routes passed over",
            "routes_passed_over",
            Content::PassedOver(passed_over, *more_passed_over),
        ),
        section("tracing", "tracing", Content::Facts(tracing)),
        section("filters", "filters", Content::Filters(filters)),
        section("headers changed", "headers_changed", Content::Changes(changes)),
        section("request to the host", "request", Content::Head(head)),
        section("upstream", "upstream", Content::Facts(upstream)),
        section("timeouts", "timeouts", Content::Facts(timeouts)),
        section("retries", "retries", Content::Facts(retries)),
        section("rate limits", "rate_limits", Content::Facts(rate_limits)),
        section("answer of the host", "responses", Content::Facts(responses)),
        section("overload manager", "overload_manager", Content::Facts(overload)),
        section("answer", "answer", Content::Facts(answer)),
    ]
}

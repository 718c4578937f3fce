//! The constraints that Envoy's proto files state (`validate.rules`, checked by protoc-gen-validate there).

/// One constraint on a field's value. Bounds of durations are nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// The value must be set (messages, `Any`, durations).
    Required,
    /// The value's own rules are not looked at.
    Skip,
    /// The other rules hold only where the value is not empty.
    IgnoreEmpty,
    /// Exactly so many characters.
    Chars(u64),
    /// At least so many characters.
    MinChars(u64),
    /// At most so many characters.
    MaxChars(u64),
    /// Exactly so many bytes.
    Bytes(u64),
    /// At least so many bytes.
    MinBytes(u64),
    /// At most so many bytes.
    MaxBytes(u64),
    /// Matches a regular expression somewhere.
    Pattern(&'static str),
    /// Starts with it.
    Prefix(&'static str),
    /// Ends with it.
    Suffix(&'static str),
    /// Has it within.
    Contains(&'static str),
    /// Does not have it within.
    NotContains(&'static str),
    /// Is one of these.
    StrIn(&'static [&'static str]),
    /// Is none of these.
    StrNotIn(&'static [&'static str]),
    /// Has a well-known form.
    Form(Form),
    /// Integer below.
    IntLt(i128),
    /// Integer at most.
    IntLte(i128),
    /// Integer above.
    IntGt(i128),
    /// Integer at least.
    IntGte(i128),
    /// Integer, enum or bool (0, 1) is one of these.
    IntIn(&'static [i128]),
    /// Integer or enum is none of these.
    IntNotIn(&'static [i128]),
    /// Float below.
    FloatLt(f64),
    /// Float at most.
    FloatLte(f64),
    /// Float above.
    FloatGt(f64),
    /// Float at least.
    FloatGte(f64),
    /// Duration below.
    DurationLt(i128),
    /// Duration at most.
    DurationLte(i128),
    /// Duration above.
    DurationGt(i128),
    /// Duration at least.
    DurationGte(i128),
    /// The number is a value of the enum.
    DefinedOnly,
    /// The `Any` holds one of these type URLs.
    TypeIn(&'static [&'static str]),
    /// At least so many items.
    MinItems(u64),
    /// At most so many items.
    MaxItems(u64),
    /// No two items are equal.
    Unique,
    /// Rules of each item.
    Items(&'static [Rule]),
    /// At least so many entries.
    MinPairs(u64),
    /// At most so many entries.
    MaxPairs(u64),
    /// Rules of each key.
    Keys(&'static [Rule]),
    /// Rules of each value.
    Values(&'static [Rule]),
}

/// A well-known form of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `local@host`.
    Email,
    /// RFC 1034 host name.
    Hostname,
    /// IPv4 or IPv6 address.
    Ip,
    /// IPv4 address.
    Ipv4,
    /// IPv6 address.
    Ipv6,
    /// Host name or IP address.
    Address,
    /// Absolute URI.
    Uri,
    /// Absolute or relative URI reference.
    UriRef,
    /// UUID.
    Uuid,
    /// HTTP header name, RFC 9110 token with `:` in front allowed.
    HeaderName,
    /// HTTP header value: no control characters but tab.
    HeaderValue,
    /// HTTP header name or value with only NUL, CR and LF forbidden.
    HeaderLoose,
}

//! What can be wrong with a message, on each side, and how Envoy names it.

/// A request that cannot be served: the answer is [`status`](Self::status), and the connection ends after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The method is not a known one (or not a token, where others are allowed).
    #[error("invalid method")]
    Method,
    /// The request line is not made of a method, a target and a version.
    #[error("invalid request line")]
    RequestLine,
    /// The target has characters or a form that no target has.
    #[error("invalid request target")]
    Target,
    /// What stands for the version is not `HTTP/` digit `.` digit.
    #[error("invalid version")]
    Version,
    /// A version other than HTTP/1.1, HTTP/1.0 not being accepted.
    #[error("version not served")]
    LowVersion,
    /// The head, or the trailers, are longer than the limit.
    #[error("head too large")]
    HeadersTooLarge,
    /// The head, or the trailers, have more fields than the limit.
    #[error("too many fields")]
    TooManyHeaders,
    /// A line without a colon, an empty name, or a name with characters that are not allowed in one.
    #[error("invalid field name")]
    HeaderName,
    /// A field value with a control character.
    #[error("invalid field value")]
    HeaderValue,
    /// A field name with `_`, which the configuration refuses.
    #[error("underscore in a field name")]
    Underscore,
    /// Content-Length is repeated or not a number.
    #[error("invalid content-length")]
    ContentLength,
    /// Both Content-Length and Transfer-Encoding.
    #[error("content-length with transfer-encoding")]
    ContentLengthAndChunked,
    /// A transfer coding other than `chunked`.
    #[error("unsupported transfer-encoding")]
    TransferEncoding,
    /// CONNECT with a body.
    #[error("body in CONNECT")]
    BodyDisallowed,
    /// Connection nominates headers that must not be removed, or too many.
    #[error("invalid connection header")]
    ConnectionHeader,
    /// An absolute target, or the target of CONNECT, that is not a URL or `host:port`.
    #[error("invalid url")]
    Url,
    /// An absolute target with a scheme that is not `http` or `https`.
    #[error("invalid scheme")]
    Scheme,
    /// Host has characters that no authority has.
    #[error("invalid authority")]
    Authority,
    /// A chunk without a size, with one that is no number or too large, or without its line end.
    #[error("invalid chunk")]
    Chunk,
}

impl RequestError {
    /// Whether the head's fields had been read, and were counted, before this was found.
    pub fn stands_behind_the_fields(self) -> bool {
        matches!(
            self,
            Self::LowVersion
                | Self::Underscore
                | Self::ContentLengthAndChunked
                | Self::TransferEncoding
                | Self::BodyDisallowed
                | Self::ConnectionHeader
                | Self::Url
                | Self::Scheme
                | Self::Authority
        )
    }

    /// Envoy's response code details.
    pub fn details(self) -> &'static str {
        match self {
            Self::Method
            | Self::RequestLine
            | Self::Target
            | Self::Version
            | Self::HeaderName
            | Self::ContentLength
            | Self::Chunk => "http1.codec_error",
            Self::LowVersion => "low_version",
            Self::HeadersTooLarge => "http1.headers_too_large",
            Self::TooManyHeaders => "http1.too_many_headers",
            Self::HeaderValue => "http1.invalid_characters",
            Self::Underscore => "http1.unexpected_underscore",
            Self::ContentLengthAndChunked => "http1.content_length_and_chunked_not_allowed",
            Self::TransferEncoding => "http1.invalid_transfer_encoding",
            Self::BodyDisallowed => "http1.body_disallowed",
            Self::ConnectionHeader => "http1.connection_header_rejected",
            Self::Url => "http1.invalid_url",
            Self::Scheme => "http1.invalid_scheme",
            Self::Authority => "http.invalid_authority",
        }
    }

    /// The status of the answer. Its body is the status's reason phrase.
    pub fn status(self) -> u16 {
        match self {
            Self::LowVersion => 426,
            Self::HeadersTooLarge | Self::TooManyHeaders => 431,
            Self::TransferEncoding => 501,
            _ => 400,
        }
    }
}

/// A response that cannot be used: a protocol error of the upstream. The connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The status line is not `HTTP/` digit `.` digit, three digits, and perhaps a reason.
    #[error("invalid status line")]
    StatusLine,
    /// The head, or the trailers, are longer than the limit.
    #[error("head too large")]
    HeadersTooLarge,
    /// The head, or the trailers, have more fields than the limit.
    #[error("too many fields")]
    TooManyHeaders,
    /// A line without a colon, an empty name, or a name with characters that are not allowed in one.
    #[error("invalid field name")]
    HeaderName,
    /// A field value with a control character.
    #[error("invalid field value")]
    HeaderValue,
    /// Content-Length is repeated or not a number.
    #[error("invalid content-length")]
    ContentLength,
    /// Both Content-Length and Transfer-Encoding.
    #[error("content-length with transfer-encoding")]
    ContentLengthAndChunked,
    /// A transfer coding other than `chunked`, or one where none may stand.
    #[error("unsupported transfer-encoding")]
    TransferEncoding,
    /// A transfer coding in a 1xx or 204.
    #[error("transfer-encoding where none is allowed")]
    TransferEncodingNotAllowed,
    /// A Content-Length other than 0 in a 1xx or 204.
    #[error("content-length where none is allowed")]
    ContentLengthNotAllowed,
    /// A chunk without a size, with one that is no number or too large, or without its line end.
    #[error("invalid chunk")]
    Chunk,
    /// The connection ended within a message.
    #[error("connection ended within a response")]
    Premature,
    /// Bytes came without a request that they could answer.
    #[error("response without a request")]
    Unsolicited,
}

impl ResponseError {
    /// Whether the head's fields had been read, and were counted, before this was found.
    pub fn stands_behind_the_fields(self) -> bool {
        matches!(
            self,
            Self::ContentLengthAndChunked
                | Self::TransferEncoding
                | Self::TransferEncodingNotAllowed
                | Self::ContentLengthNotAllowed
        )
    }

    /// Envoy's response code details.
    pub fn details(self) -> &'static str {
        match self {
            Self::StatusLine
            | Self::HeaderName
            | Self::ContentLength
            | Self::Chunk
            | Self::Premature
            | Self::Unsolicited => "http1.codec_error",
            Self::HeadersTooLarge => "http1.headers_too_large",
            Self::TooManyHeaders => "http1.too_many_headers",
            Self::HeaderValue => "http1.invalid_characters",
            Self::ContentLengthAndChunked => "http1.content_length_and_chunked_not_allowed",
            Self::TransferEncoding => "http1.invalid_transfer_encoding",
            Self::TransferEncodingNotAllowed => "http1.transfer_encoding_not_allowed",
            Self::ContentLengthNotAllowed => "http1.content_length_not_allowed",
        }
    }
}

/// A head that must not be written: it would not mean to the peer what it means here. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// `:method` is absent or not a token.
    #[error("invalid method")]
    Method,
    /// `:path` is absent, empty, or has characters that would end it.
    #[error("invalid path")]
    Path,
    /// `:authority` is absent where it is the target (CONNECT, fully qualified targets).
    #[error("missing authority")]
    Authority,
    /// A name or value has a control character, or a name a colon or a blank.
    #[error("invalid header")]
    Header,
    /// Content-Length is repeated or not a number.
    #[error("invalid content-length")]
    ContentLength,
    /// The status is not of three digits.
    #[error("invalid status")]
    Status,
}

/// What is wrong with field lines, before a side gives it its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldError {
    Name,
    Value,
    TooMany,
    TooLarge,
    Underscore,
}

impl From<FieldError> for RequestError {
    fn from(error: FieldError) -> Self {
        match error {
            FieldError::Name => Self::HeaderName,
            FieldError::Value => Self::HeaderValue,
            FieldError::TooMany => Self::TooManyHeaders,
            FieldError::TooLarge => Self::HeadersTooLarge,
            FieldError::Underscore => Self::Underscore,
        }
    }
}

impl From<FieldError> for ResponseError {
    fn from(error: FieldError) -> Self {
        match error {
            FieldError::Name | FieldError::Underscore => Self::HeaderName,
            FieldError::Value => Self::HeaderValue,
            FieldError::TooMany => Self::TooManyHeaders,
            FieldError::TooLarge => Self::HeadersTooLarge,
        }
    }
}

/// What is wrong with a body, before a side gives it its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    Chunk,
    Trailers(FieldError),
}

impl From<BodyError> for RequestError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Chunk => Self::Chunk,
            BodyError::Trailers(error) => error.into(),
        }
    }
}

impl From<BodyError> for ResponseError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Chunk => Self::Chunk,
            BodyError::Trailers(error) => error.into(),
        }
    }
}

//! What can be wrong with a connection or a stream, and how Envoy names it.

/// Why a connection or a stream ends, as the wire says it (RFC 9113 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0);
    /// A rule of the protocol was broken.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// The sender's own fault.
    pub const INTERNAL_ERROR: Self = Self(2);
    /// More was sent than the window allows.
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// SETTINGS were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: Self = Self(4);
    /// A frame for a stream that is closed.
    pub const STREAM_CLOSED: Self = Self(5);
    /// A frame of a size that it cannot have.
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// The stream was not looked at: another try is safe.
    pub const REFUSED_STREAM: Self = Self(7);
    /// The stream is no longer wanted.
    pub const CANCEL: Self = Self(8);
    /// A header block that cannot be decoded.
    pub const COMPRESSION_ERROR: Self = Self(9);
    /// The tunnel's other end is gone.
    pub const CONNECT_ERROR: Self = Self(10);
    /// The peer does too much of something.
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
    /// Another protocol is needed.
    pub const HTTP_1_1_REQUIRED: Self = Self(13);
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A field that no message may have, or not there (RFC 9113 sections 8.2 and 8.3).
    #[error("invalid header field")]
    Field,
    /// Extended CONNECT, which the options do not allow; to the peer it is a field that no message may have.
    #[error("invalid header field")]
    ConnectProtocol,
    /// A pseudo header is missing, a length does not agree with the body, trailers do not end the message.
    #[error("violation of the messaging rules")]
    Messaging,
    /// More fields than the limit allows.
    #[error("too many headers")]
    TooManyHeaders,
    /// More bytes than the limits allow.
    #[error("headers too large")]
    HeadersTooLarge,
    /// A name with `_`, which the configuration refuses.
    #[error("underscore in a header name")]
    Underscore,
}

impl MessageError {
    /// Envoy's response code details.
    pub fn details(self) -> &'static str {
        match self {
            Self::Field | Self::ConnectProtocol => "http2.invalid.header.field",
            Self::Messaging => "http2.violation.of.messaging.rule",
            Self::TooManyHeaders => "http2.too_many_headers",
            Self::HeadersTooLarge => "http2.header_list_size_too_large",
            Self::Underscore => "http2.unexpected_underscore",
        }
    }

    /// What the stream is reset with.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Field | Self::ConnectProtocol | Self::Messaging => ErrorCode::PROTOCOL_ERROR,
            Self::TooManyHeaders | Self::HeadersTooLarge | Self::Underscore => ErrorCode::INTERNAL_ERROR,
        }
    }

    /// Whether the message is malformed, which ends the connection unless the configuration spares it; else it is
    /// well-formed and not wanted, which ends the stream alone.
    pub fn is_malformed(self) -> bool {
        matches!(self, Self::Field | Self::ConnectProtocol | Self::Messaging)
    }
}

/// Why a connection must end. What is to be sent about it was written already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// What came first is not HTTP/2.
    #[error("Received bad client magic byte string")]
    Preface,
    /// A message is malformed.
    #[error("The user callback function failed")]
    Message {
        /// The stream that it came on.
        stream: u32,
        /// What is wrong with it.
        error: MessageError,
    },
    /// A frame that must not come, or not there.
    #[error("The user callback function failed")]
    Protocol,
    /// A frame that the rules of its kind forbid: its stream, or what it says.
    #[error("The user callback function failed")]
    Forbidden,
    /// A frame that speaks of the connection, on a stream, or a push.
    #[error("The user callback function failed")]
    Stray {
        /// The one that it came on.
        stream: u32,
    },
    /// A frame of a size that it cannot have.
    #[error("The user callback function failed")]
    FrameSize,
    /// A window was overrun, or the connection's overflowed (RFC 9113 section 6.9.1 wants a GOAWAY of it).
    #[error("The user callback function failed")]
    FlowControl,
    /// A window of a stream that cannot be as SETTINGS say, or whose stream never was.
    #[error("The user callback function failed")]
    Window,
    /// A WINDOW_UPDATE by nothing.
    #[error("The user callback function failed")]
    EmptyUpdate {
        /// Of this stream; 0 is the connection.
        stream: u32,
    },
    /// A frame for a stream that is closed.
    #[error("The user callback function failed")]
    StreamClosed,
    /// A header block that cannot be decoded.
    #[error("The user callback function failed")]
    Compression,
    /// A header block that goes on for too long.
    #[error("The user callback function failed")]
    BlockTooLong,
    /// METADATA beyond `max_metadata_size`, or that cannot be decoded.
    #[error("The user callback function failed")]
    Metadata,
    /// `max_consecutive_inbound_frames_with_empty_payload`.
    #[error("Too many consecutive frames with an empty payload")]
    EmptyFramesFlood {
        /// The stream of the last one.
        stream: u32,
    },
    /// `max_inbound_priority_frames_per_stream`.
    #[error("Too many PRIORITY frames")]
    PriorityFlood,
    /// `max_inbound_window_update_frames_per_data_frame_sent`.
    #[error("Too many WINDOW_UPDATE frames")]
    WindowUpdateFlood,
    /// Streams are reset by the peer faster than it may.
    #[error("Too many RST_STREAM frames")]
    ResetFlood,
    /// `max_outbound_frames`.
    #[error("Too many frames in the outbound queue.")]
    OutboundFlood,
    /// `max_outbound_control_frames`.
    #[error("Too many control frames in the outbound queue.")]
    OutboundControlFlood,
    /// A PING of the keepalive was not answered in time.
    #[error("Keepalive timeout")]
    KeepaliveTimeout,
    /// SETTINGS were not acknowledged in time.
    #[error("Settings timeout")]
    SettingsTimeout,
}

impl ConnectionError {
    /// Whether too much came of what is allowed, which to Envoy is no error of the protocol.
    pub fn is_flood(self) -> bool {
        matches!(
            self,
            Self::EmptyFramesFlood { .. }
                | Self::PriorityFlood
                | Self::WindowUpdateFlood
                | Self::ResetFlood
                | Self::OutboundFlood
                | Self::OutboundControlFlood
        )
    }

    /// What GOAWAY says; `None` where the connection ends without one, as Envoy's does.
    pub fn goaway(self) -> Option<ErrorCode> {
        match self {
            Self::Protocol => Some(ErrorCode::PROTOCOL_ERROR),
            Self::FrameSize => Some(ErrorCode::FRAME_SIZE_ERROR),
            Self::FlowControl => Some(ErrorCode::FLOW_CONTROL_ERROR),
            Self::StreamClosed => Some(ErrorCode::STREAM_CLOSED),
            Self::Compression => Some(ErrorCode::COMPRESSION_ERROR),
            Self::SettingsTimeout => Some(ErrorCode::SETTINGS_TIMEOUT),
            Self::ResetFlood => Some(ErrorCode::ENHANCE_YOUR_CALM),
            Self::Preface
            | Self::Forbidden
            | Self::Stray { .. }
            | Self::Message { .. }
            | Self::BlockTooLong
            | Self::Metadata
            | Self::Window
            | Self::EmptyUpdate { .. }
            | Self::EmptyFramesFlood { .. }
            | Self::PriorityFlood
            | Self::WindowUpdateFlood
            | Self::OutboundFlood
            | Self::OutboundControlFlood
            | Self::KeepaliveTimeout => None,
        }
    }
}

/// Why a head could not be written; nothing of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A name that is no token, or a value with control characters.
    #[error("header that cannot be written")]
    Header,
    /// A pseudo header is missing or malformed.
    #[error("pseudo header that cannot be written")]
    Pseudo,
    /// The connection takes no further stream.
    #[error("no stream to be had")]
    NoStream,
}

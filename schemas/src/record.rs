//! Record format v1: an event as the log holds it.
//!
//! ```text
//!   key      the 22 characters of the key id; `~…` for control records
//!   value    the sealed value; null for a delete; text for control records
//!   headers  op  set | delete | heartbeat | declare
//!            v   version                     x  expires, ms or `never` (set only)
//!            k   retain until, ms or `never` s  sequence number
//!            …   every other header, in the order of the event: q seal id, r request id, …
//!            m   record MAC, base64url, last (see `mac`)
//! ```
//!
//! All header values are text, so that any Kafka tool shows them. The bytes of every released format stand in
//! `golden/` and stay readable.

use bytes::Bytes;

use crate::{
    Beacon, Change, Control, DECLARED_PREFIX, Declaration, Event, HEARTBEAT_PREFIX, Headers, HeadersError,
    Heartbeat, KeyId, Sealed, Sequence, Until, Version, WriterId, caps::HEADER_BYTES_MAX,
    headers::HeadersMut, mac,
};

/// Names of the headers that are fields of [`Event`] or belong to the record alone. All others travel with the event.
const OWN_NAMES: [&str; 6] = ["op", "v", "x", "k", "s", mac::HEADER];

/// A record as a log holds it: bytes, whoever wrote them.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// What log compaction goes by.
    pub key: Bytes,
    /// What describes the value.
    pub headers: Headers,
    /// `None` is Kafka's null: a delete.
    pub value: Option<Bytes>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("key", &self.key)
            .field("headers", &self.headers)
            .field("value_bytes", &self.value.as_ref().map(Bytes::len))
            .finish()
    }
}

/// The header of a heartbeat that is a beacon: the request that it was appended for, as in events.
const BEACON: &str = "r";

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Something happened to a session.
    Event {
        /// What.
        event: Event,
        /// Its number among the records of its appender.
        sequence: Sequence,
    },
    /// Something about the log itself.
    Control(Control),
}

/// The event does not fit into a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Over [`HEADER_BYTES_MAX`].
    #[error("the headers of the record would take {0} bytes, and {HEADER_BYTES_MAX} are allowed")]
    HeaderBytes(usize),
    /// One header is over the limits of its format.
    #[error(transparent)]
    Headers(#[from] HeadersError),
}

/// The record is not one of format v1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record key is neither a key id nor reserved.
    #[error("the record key is neither a key id nor a reserved key")]
    Key,
    /// A header that must be there is missing, stands twice, or cannot be read.
    #[error("header `{0}` is missing, repeated or unreadable")]
    Header(&'static str),
    /// A set without a value, a delete with one, or a control record whose value cannot be read.
    #[error("the value does not fit the operation")]
    Value,
    /// An operation that this release does not know, on a session.
    #[error("the operation is unknown")]
    Operation,
}

impl Record {
    /// Writes an event as a record that still lacks its MAC.
    ///
    /// # Errors
    /// When the headers, the MAC included, would take more than [`HEADER_BYTES_MAX`].
    pub fn of_event(event: Event, sequence: Sequence) -> Result<Self, EncodeError> {
        let Event { key, version, retain_until, headers: carried, change } = event;
        let (op, expires_at, value) = match change {
            Change::Set { expires_at, sealed } => ("set", Some(expires_at), Some(sealed.0)),
            Change::Delete => ("delete", None, None),
        };
        let mut headers = HeadersMut::of_record();
        headers.put("op", op.as_bytes())?;
        headers.put("v", &version.to_text())?;
        if let Some(expires_at) = expires_at {
            headers.put_text("x", expires_at)?;
        }
        headers.put_text("k", retain_until)?;
        headers.put_text("s", sequence)?;
        for (name, value) in carried.iter() {
            headers.put(name, value)?;
        }
        let headers = headers.freeze();

        let total = headers.content_bytes() + mac::HEADER_BYTES;
        if HEADER_BYTES_MAX < total {
            return Err(EncodeError::HeaderBytes(total));
        }
        Ok(Self { key: Bytes::copy_from_slice(key.text().as_bytes()), headers, value })
    }

    /// Writes a heartbeat as a record that still lacks its MAC.
    pub fn of_heartbeat(appender: WriterId, heartbeat: &Heartbeat) -> Self {
        let headers = Headers::from_pairs([("op", &b"heartbeat"[..])]).expect("a short header fits");
        let key = format!("{HEARTBEAT_PREFIX}{appender}").into();
        Self { key, headers, value: Some(heartbeat.encode().into()) }
    }

    /// Writes a declaration as a record that still lacks its MAC, with the id of the request that ordered it, if any.
    ///
    /// # Errors
    /// When a header does not fit.
    pub fn of_declaration(declaration: &Declaration, request_id: Option<&[u8]>) -> Result<Self, EncodeError> {
        let Declaration { dc, state, id } = declaration;
        let mut headers = HeadersMut::of_record();
        headers.put("op", b"declare")?;
        headers.put("v", &id.to_text())?;
        if let Some(request_id) = request_id {
            headers.put("r", request_id)?;
        }
        let key = format!("{DECLARED_PREFIX}{dc}").into();
        Ok(Self { key, headers: headers.freeze(), value: Some(state.to_string().into()) })
    }

    /// A heartbeat with a name, which is carried as that of a request is.
    pub fn of_beacon(appender: WriterId, heartbeat: &Heartbeat, beacon: Beacon) -> Self {
        let name = beacon.to_string();
        let headers = [("op", &b"heartbeat"[..]), (BEACON, name.as_bytes())];
        let headers = Headers::from_pairs(headers).expect("short headers fit");
        Self { headers, ..Self::of_heartbeat(appender, heartbeat) }
    }

    /// Reads what the record says. Does not look at the MAC: verify that first.
    ///
    /// # Errors
    /// When it is not a record of format v1.
    pub fn decode(&self) -> Result<Message, DecodeError> {
        if self.key.starts_with(b"~") {
            return self.decode_control().map(Message::Control);
        }
        let key = KeyId::parse(&self.key).map_err(|_| DecodeError::Key)?;
        let change = match self.one_header("op")? {
            "set" => Change::Set {
                expires_at: self.parse_header("x", Until::parse)?,
                sealed: Sealed(self.value.clone().ok_or(DecodeError::Value)?),
            },
            "delete" if self.value.is_some() => return Err(DecodeError::Value),
            "delete" => Change::Delete,
            _ => return Err(DecodeError::Operation),
        };
        let event = Event {
            key,
            version: self.parse_header("v", str::parse::<Version>)?,
            retain_until: self.parse_header("k", Until::parse)?,
            headers: self.carried_headers(),
            change,
        };
        Ok(Message::Event { event, sequence: self.parse_header("s", str::parse)? })
    }

    fn decode_control(&self) -> Result<Control, DecodeError> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let value = self.value.as_deref().ok_or(DecodeError::Value)?;
        let op = self.one_header("op")?;
        if let Some(appender) = self.key.strip_prefix(HEARTBEAT_PREFIX.as_bytes())
            && op == "heartbeat"
        {
            let appender = text(appender).and_then(|text| text.parse().ok()).ok_or(DecodeError::Key)?;
            let heartbeat = text(value).and_then(Heartbeat::decode).ok_or(DecodeError::Value)?;
            let beacon = self.headers.get(BEACON).and_then(text).and_then(|name| name.parse().ok());
            return Ok(Control::Heartbeat { appender, heartbeat, beacon });
        }
        if let Some(dc) = self.key.strip_prefix(DECLARED_PREFIX.as_bytes())
            && op == "declare"
        {
            let dc = text(dc).and_then(|text| text.parse().ok()).ok_or(DecodeError::Key)?;
            let state = text(value).and_then(|text| text.parse().ok()).ok_or(DecodeError::Value)?;
            let id = self.parse_header("v", str::parse::<Version>)?;
            return Ok(Control::Declared(Declaration { dc, state, id }));
        }
        Ok(Control::Other)
    }

    fn carried_headers(&self) -> Headers {
        let carried = self.headers.iter().filter(|(name, _)| !OWN_NAMES.contains(name));
        Headers::from_pairs(carried).expect("headers of a record fit into headers")
    }

    fn parse_header<T, E>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, DecodeError> {
        parse(self.one_header(name)?).map_err(|_| DecodeError::Header(name))
    }

    fn one_header(&self, name: &'static str) -> Result<&str, DecodeError> {
        let mut values = self.headers.iter().filter(|&(n, _)| n == name).map(|(_, value)| value);
        match (values.next().map(std::str::from_utf8), values.next()) {
            (Some(Ok(value)), None) => Ok(value),
            _ => Err(DecodeError::Header(name)),
        }
    }
}

#[cfg(test)]
mod tests;

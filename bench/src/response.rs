//! Answers, from the bytes that have come so far. HTTP/1.1, with a length or in chunks.

use std::borrow::Cow;

use thiserror::Error;

/// Headers of an answer at most.
const HEADERS_MAX: usize = 64;

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    /// Freed from its chunks.
    pub(crate) body: Cow<'a, [u8]>,
    /// The server will close, or nobody knows where the next answer would begin.
    pub(crate) last: bool,
}

/// What came is no answer that we could make use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not an answer of HTTP/1.1, or one without a length")]
pub(crate) struct Malformed;

/// What stands behind the head.
enum Length {
    Bytes(usize),
    Chunks,
}

/// The answer, if it is all there. `None` asks for more bytes.
pub(crate) fn parse(received: &[u8]) -> Result<Option<Response<'_>>, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_bytes) = head.parse(received).map_err(|_| Malformed)? else {
        return Ok(None);
    };
    let status = head.code.ok_or(Malformed)?;
    let rest = &received[head_bytes..];
    let mut last = head.version != Some(1);
    let mut length = matches!(status, 204 | 304).then_some(Length::Bytes(0));
    for header in head.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") && length.is_none() {
            let text = std::str::from_utf8(header.value).map_err(|_| Malformed)?;
            length = Some(Length::Bytes(text.trim().parse().map_err(|_| Malformed)?));
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed);
            }
            length = Some(Length::Chunks);
        } else if header.name.eq_ignore_ascii_case("connection") {
            last |= header.value.eq_ignore_ascii_case(b"close");
        }
    }
    let (body, used) = match length.ok_or(Malformed)? {
        Length::Bytes(bytes) if rest.len() < bytes => return Ok(None),
        Length::Bytes(bytes) => (Cow::Borrowed(&rest[..bytes]), bytes),
        Length::Chunks => match unchunk(rest)? {
            Some((body, used)) => (Cow::Owned(body), used),
            None => return Ok(None),
        },
    };
    // We ask one thing at a time: what follows an answer belongs to nothing.
    if used < rest.len() {
        return Err(Malformed);
    }
    Ok(Some(Response { status, body, last }))
}

/// The body and the bytes that it took, if its end is there.
fn unchunk(mut rest: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
    let whole = rest.len();
    let mut body = Vec::new();
    loop {
        let (line_bytes, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Malformed),
        };
        let size = usize::try_from(size).map_err(|_| Malformed)?;
        rest = &rest[line_bytes..];
        if size == 0 {
            return trailers(rest).map(|end| end.map(|end| (body, whole - rest.len() + end)));
        }
        let Some((chunk, after)) = size.checked_add(2).and_then(|with_end| rest.split_at_checked(with_end))
        else {
            return Ok(None);
        };
        let chunk = chunk.strip_suffix(b"\r\n").ok_or(Malformed)?;
        body.extend_from_slice(chunk);
        rest = after;
    }
}

/// Where the trailers end: at an empty line.
fn trailers(rest: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    match httparse::parse_headers(rest, &mut headers) {
        Ok(httparse::Status::Complete((bytes, _))) => Ok(Some(bytes)),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole at its last byte and not before.
    fn whole(text: &str) -> Response<'_> {
        for cut in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..cut]), Ok(None), "cut at {cut}");
        }
        parse(text.as_bytes()).unwrap().expect("a whole answer")
    }

    #[test]
    fn an_answer_with_a_length() {
        let response = whole("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!((response.status, &*response.body, response.last), (200, &b"hello"[..], false));
    }

    #[test]
    fn an_answer_in_chunks_with_and_without_trailers() {
        let response = whole(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
        );
        assert_eq!(&*response.body, b"hello");
        let response =
            whole("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n");
        assert_eq!(&*response.body, b"x");
    }

    #[test]
    fn an_answer_without_a_body() {
        let response = whole("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert_eq!((response.status, response.body.len(), response.last), (204, 0, true));
        assert!(whole("HTTP/1.0 201 Created\r\nContent-Length: 0\r\n\r\n").last);
    }

    #[test]
    fn what_is_no_answer_is_said_to_be_none() {
        for text in [
            "hello there, this is no HTTP\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        ] {
            assert_eq!(parse(text.as_bytes()), Err(Malformed), "{text}");
        }
    }
}

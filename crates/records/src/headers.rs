//! Record headers in their wire encoding: a count, then key and value of each.

use super::varint;

/// The wire encoding of no headers.
pub const NO_HEADERS: &[u8] = &[0];

/// Iterates over encoded headers as `(key, value)`; a value may be null. Stops at the first
/// malformed one, which a walked batch does not have.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: i64,
}

impl<'a> Headers<'a> {
    /// The headers encoded in `bytes`.
    #[inline]
    pub fn new(mut bytes: &'a [u8]) -> Headers<'a> {
        let left = varint::read(&mut bytes).unwrap_or(0);
        Headers { rest: bytes, left }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let key = take(&mut self.rest)??;
        let value = take(&mut self.rest)?;
        Some((key, value))
    }
}

/// The next length-prefixed bytes: the outer `None` is malformed, the inner one null.
#[inline]
fn take<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let len = varint::read(rest)?;
    if len < 0 {
        return Some(None);
    }
    let (bytes, after) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    *rest = after;
    Some(Some(bytes))
}

/// Builds encoded headers.
#[derive(Debug, Default)]
pub struct HeadersWriter {
    count: i64,
    body: Vec<u8>,
}

impl HeadersWriter {
    /// Appends one header.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.count += 1;
        varint::write(&mut self.body, key.len() as i64);
        self.body.extend_from_slice(key);
        varint::write(&mut self.body, value.map_or(-1, |v| v.len() as i64));
        self.body.extend_from_slice(value.unwrap_or_default());
    }

    /// Appends all of `headers`.
    pub fn extend(&mut self, headers: Headers<'_>) {
        for (key, value) in headers {
            self.push(key, value);
        }
    }

    /// The wire encoding.
    pub fn finish(mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + 5);
        self.finish_into(&mut out);
        out
    }

    /// Appends the wire encoding to `out` and begins again.
    pub fn finish_into(&mut self, out: &mut Vec<u8>) {
        varint::write(out, self.count);
        out.extend_from_slice(&self.body);
        self.count = 0;
        self.body.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_as_pushed() {
        let mut writer = HeadersWriter::default();
        writer.push(b"a", Some(b"1"));
        writer.push(b"", None);
        let bytes = writer.finish();
        let all: Vec<_> = Headers::new(&bytes).collect();
        assert_eq!(all, [(&b"a"[..], Some(&b"1"[..])), (b"", None)]);
        assert_eq!(Headers::new(NO_HEADERS).count(), 0);
    }
}

//! A request's body: read to its end, bounded, decoded.
//!
//! Invariants: at most so many bytes of a body are held as its route allows, before and after decompression; a body that
//! is refused unread is still drained, up to `DRAIN_BYTES`, because a connection with unread bytes on it is lost;
//! nothing waits for a slow body longer than `DEADLINE`.

use std::io::Read;
use std::time::Duration;

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use actix_web::web::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout_at};
use weir_http_guard::GuardedBody;

use super::api_error::ApiError;
use super::lone_surrogates::replace_lone_surrogates;

/// The longest body of every route but one, before and after decompression.
pub const MAX_BYTES: usize = 64 << 10;
/// The longest batch.
pub const BATCH_MAX_BYTES: usize = 256 << 10;
/// How much of a refused body is read to keep its connection.
const DRAIN_BYTES: usize = 1 << 20;
/// The largest window that a zstd frame may ask for: 8 MiB, what RFC 8878 tells decoders to support. The library's own
/// limit would let a tiny frame make each worker allocate 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// How a brotli stream with a "large window" begins, in its lowest seven bits. RFC 7932 (section 9.1) forbids it, the library
/// decodes it all the same, into a window of up to 1 GiB: with 105 bytes a worker decoded 128 MiB before the first byte came
/// out of it. What the RFC allows is 16 MiB.
const BROTLI_LARGE_WINDOW: u8 = 0b001_0001;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The longest that a body may take to arrive.
const DEADLINE: Duration = Duration::from_secs(10);

/// Reads a JSON body. An empty one is empty. What hardly any body needs is boxed: its room would be in every request's future.
///
/// # Errors
/// When it is no JSON by its headers, too large, too slow, or not whole.
pub async fn read(headers: &HeaderMap, mut body: GuardedBody, max_bytes: usize) -> Result<Bytes, ApiError> {
    let (true, Some(encoding)) = (is_json(headers), encoding(headers)) else {
        Box::pin(drain(body)).await;
        return Err(ApiError::UnsupportedMediaType);
    };
    body.ready().await;
    let mut deadline = None;
    let mut whole = BytesMut::new();
    let mut only: Option<Bytes> = None;
    while let Some(chunk) = next_chunk(&mut body, &mut deadline).await? {
        if whole.len() + only.as_ref().map_or(0, Bytes::len) + chunk.len() > max_bytes {
            Box::pin(drain(body)).await;
            return Err(ApiError::TooLarge);
        }
        // Nearly every body is one chunk: it is taken as it is.
        match only.take() {
            None if whole.is_empty() => only = Some(chunk),
            first => {
                whole.extend_from_slice(&first.unwrap_or_default());
                whole.extend_from_slice(&chunk);
            }
        }
    }
    let body = decode(only.unwrap_or_else(|| whole.freeze()), encoding, max_bytes)?;
    Ok(replace_lone_surrogates(without_byte_order_mark(body)))
}

/// Some clients begin a file, and what they send of one, with a mark that says nothing about UTF-8.
fn without_byte_order_mark(body: Bytes) -> Bytes {
    if body.starts_with(BYTE_ORDER_MARK) { body.slice(BYTE_ORDER_MARK.len()..) } else { body }
}

/// Reads what is left of a body and forgets it.
pub async fn drain(mut body: GuardedBody) {
    body.ready().await;
    let mut deadline = None;
    let mut drained = 0;
    while drained < DRAIN_BYTES {
        match next_chunk(&mut body, &mut deadline).await {
            Ok(Some(chunk)) => drained += chunk.len(),
            Ok(None) | Err(_) => return,
        }
    }
}

/// The deadline runs from when the body had to be waited for. What has already arrived needs none, and nearly all has.
async fn next_chunk(body: &mut GuardedBody, deadline: &mut Option<Instant>) -> Result<Option<Bytes>, ApiError> {
    let next = if let Some(next) = body.next().now_or_never() {
        next
    } else {
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + DEADLINE);
        Box::pin(timeout_at(deadline, body.next())).await.map_err(|_| ApiError::BodyTimeout)?
    };
    next.transpose().map_err(|_| ApiError::BodyAborted)
}

/// What a body was compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    Brotli,
    Zstd,
}

/// Whether the `Content-Type` is one that is read as JSON.
#[must_use]
pub fn is_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(CONTENT_TYPE) else { return true };
    // What nearly every client says needs no taking apart.
    if content_type == "application/json" {
        return true;
    }
    let Ok(content_type) = content_type.to_str() else { return false };
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let known = ["application/json", "text/plain"].iter().any(|known| essence.eq_ignore_ascii_case(known));
    known
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                ["utf-8", "utf8"].iter().any(|utf8| value.trim().trim_matches('"').eq_ignore_ascii_case(utf8))
            }
            _ => true,
        })
}

/// What the `Content-Encoding` says; `None` when it is not one of these.
#[must_use]
pub fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let Some(encoding) = headers.get(CONTENT_ENCODING) else { return Some(Encoding::Identity) };
    match encoding.to_str().ok()?.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Some(Encoding::Identity),
        "gzip" | "x-gzip" => Some(Encoding::Gzip),
        "br" => Some(Encoding::Brotli),
        "zstd" => Some(Encoding::Zstd),
        _ => None,
    }
}

/// The body as it was before it was compressed.
///
/// # Errors
/// When it does not decode, or is longer than `max_bytes`.
pub fn decode(body: Bytes, encoding: Encoding, max_bytes: usize) -> Result<Bytes, ApiError> {
    let bounded = |reader: &mut dyn Read| {
        let mut decoded = Vec::new();
        // One byte more than allowed tells a longer body from one that fits exactly.
        reader.take(max_bytes as u64 + 1).read_to_end(&mut decoded).map_err(|_| ApiError::MalformedEncoding)?;
        if decoded.len() > max_bytes { Err(ApiError::TooLarge) } else { Ok(Bytes::from(decoded)) }
    };
    match encoding {
        Encoding::Identity => Ok(body),
        _ if body.is_empty() => Ok(body),
        Encoding::Gzip => bounded(&mut flate2::read::MultiGzDecoder::new(body.as_ref())),
        Encoding::Brotli if body[0] & 0x7f == BROTLI_LARGE_WINDOW => Err(ApiError::MalformedEncoding),
        Encoding::Brotli => bounded(&mut brotli_decompressor::Decompressor::new(body.as_ref(), 4096)),
        Encoding::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::new(body.as_ref()).map_err(|_| ApiError::MalformedEncoding)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| ApiError::MalformedEncoding)?;
            bounded(&mut decoder)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(plain: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn body_in_any_encoding_decodes_and_a_bomb_does_not() {
        let plain = br#"{"a":1}"#;
        assert_eq!(decode(gzip(plain), Encoding::Gzip, MAX_BYTES).unwrap(), plain.as_slice());
        let zstd = |plain: &[u8]| Bytes::from(zstd::encode_all(plain, 3).unwrap());
        assert_eq!(decode(zstd(plain), Encoding::Zstd, MAX_BYTES).unwrap(), plain.as_slice());
        let brotli = |plain: &[u8]| {
            let mut encoded = Vec::new();
            brotli::CompressorWriter::new(&mut encoded, 4096, 5, 20).write_all(plain).unwrap();
            Bytes::from(encoded)
        };
        assert_eq!(decode(brotli(plain), Encoding::Brotli, MAX_BYTES).unwrap(), plain.as_slice());
        let fits = vec![b' '; MAX_BYTES];
        let bomb = vec![b' '; 50 << 20];
        for (encoding, encode) in
            [(Encoding::Gzip, &gzip as &dyn Fn(&[u8]) -> Bytes), (Encoding::Zstd, &zstd), (Encoding::Brotli, &brotli)]
        {
            assert_eq!(decode(encode(&fits), encoding, MAX_BYTES).unwrap().len(), MAX_BYTES);
            assert_eq!(decode(encode(&bomb), encoding, MAX_BYTES), Err(ApiError::TooLarge));
            assert_eq!(
                decode(Bytes::from_static(b"not compressed"), encoding, MAX_BYTES),
                Err(ApiError::MalformedEncoding)
            );
        }
    }

    #[test]
    fn brotli_window_larger_than_the_format_has_is_refused() {
        let encode = |large_window| {
            let lgwin = if large_window { 30 } else { 24 };
            let parameters = brotli::enc::BrotliEncoderParams { large_window, lgwin, quality: 2, ..Default::default() };
            let mut encoded = Vec::new();
            brotli::BrotliCompress(&mut &br#"{"a":1}"#[..], &mut encoded, &parameters).unwrap();
            Bytes::from(encoded)
        };
        assert_eq!(decode(encode(false), Encoding::Brotli, MAX_BYTES).unwrap(), br#"{"a":1}"#.as_slice());
        assert_eq!(decode(encode(true), Encoding::Brotli, MAX_BYTES), Err(ApiError::MalformedEncoding));
    }
}

//! How the body of a request is announced to an upstream where hyper would not announce it.

use http::Request;
use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http_body::Body;

use crate::base::body::RequestBody;

/// Says that a body of unknown length comes in chunks: hyper leaves such a body of a GET or HEAD out where the head does
/// not. One that has ended meanwhile stays none.
pub(super) fn announce(request: &mut Request<RequestBody>) {
    let unknown = request.body().size_hint().exact().is_none();
    if unknown && !request.headers().contains_key(CONTENT_LENGTH) {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

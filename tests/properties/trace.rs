//! `traceparent`, as anybody may write it.

use proptest::prelude::*;
use tollgate::base::trace::Trace;

/// Nearly a field: parts of about the right length, of about the right characters.
fn nearly() -> impl Strategy<Value = String> {
    let part =
        |length: usize| proptest::string::string_regex(&format!("[0-9a-fA-F]{{{},{length}}}", length - 1)).unwrap();
    (part(2), part(32), part(16), part(2), "(-.{0,3})?").prop_map(|(a, b, c, d, e)| format!("{a}-{b}-{c}-{d}{e}"))
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(text in prop_oneof![nearly(), ".{0,80}"]) {
        let Some(mut trace) = Trace::parse(text.as_bytes()) else { return Ok(()) };
        prop_assert!(trace.id != 0 && trace.parent != 0 && !trace.takes_part());
        trace.span = trace.parent;
        let written = trace.field().unwrap();
        // But for the version and the flags that this version does not know.
        prop_assert_eq!(&written.to_str().unwrap()[2..53], &text[2..53]);
    }

    #[test]
    fn bytes_that_are_no_text_are_no_field(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Some(trace) = Trace::parse(&bytes) {
            prop_assert!(bytes[..55].is_ascii() && trace.id != 0);
        }
    }
}

//! What the tests share.

mod eventually;

pub(crate) use eventually::eventually;

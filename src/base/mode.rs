//! Whether a layer that refuses does so, or only says what it would refuse. One word for all layers that can be tried out
//! on live traffic first; what a layer lets go on instead is its own affair.

/// Whether refusals are refusals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They are.
    #[default]
    Enforce,
    /// They are counted and logged, and the request goes on.
    Observe,
}

//! What a cache did with a request: one word for the log and the metrics.

/// What came of a request on a route with a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheNote {
    /// Answered from the store.
    Hit,
    /// Answered from the store with what is stale.
    Stale,
    /// Answered from the store, once the upstream had said that nothing has changed.
    Revalidated,
    /// Answered by the upstream.
    Miss,
    /// Answered by what another request had fetched.
    Collapsed,
    /// None of the cache's business.
    Bypass,
    /// Not in the store, and the client wanted nothing else.
    NotCached,
}

impl CacheNote {
    /// All there are.
    pub const ALL: [Self; 7] =
        [Self::Hit, Self::Stale, Self::Revalidated, Self::Miss, Self::Collapsed, Self::Bypass, Self::NotCached];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Collapsed => "collapsed",
            Self::Bypass => "bypass",
            Self::NotCached => "not_cached",
        }
    }
}

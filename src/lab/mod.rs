//! Floor 5: the pieces for trying the gateway: backends that say who they are, a DNS server that names them, a probe
//! that counts them, a set of replicas that grows and shrinks, an issuer of tokens, and a plain client. Used by commands, by
//! `mint-token` and by tests; nothing here serves production traffic, and nothing here knows the gateway.

pub mod dns;
pub mod events;
pub mod fetch;
pub mod hello;
pub mod issuer;
pub mod probe;
pub mod replicas;
pub mod serve;

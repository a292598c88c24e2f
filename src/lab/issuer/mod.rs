//! An issuer of tokens for trials: keys, tokens, the key sets that it publishes, and the forgeries that whoever checks
//! tokens must refuse. It signs with the cryptographic library alone, so that what it makes is judged by other code than
//! what made it. Knows no command line and no gateway.

pub mod algorithm;
pub mod attack;
mod der;
pub mod jwk;
pub mod key;
pub mod keyring;
pub mod order;
mod pem;
pub mod server;
pub mod token;

//! An issuer whose keys and manners a test chooses, and that counts how often it is asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Backend;
use super::tokens::{Signer, jwks};

const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";

/// A running issuer; it ends with the value.
pub(crate) struct Issuer {
    backend: Backend,
    manner: Arc<Mutex<Manner>>,
}

/// What it does when it is asked.
#[derive(Clone)]
pub(crate) enum Manner {
    /// Answers with these bytes.
    Says(Vec<u8>),
    /// Answers by target; the rest gets a 404.
    Knows(Vec<(String, Vec<u8>)>),
    /// Never answers.
    Silent,
    /// Ends the connection.
    Dead,
}

impl Issuer {
    /// Publishes the keys of these signers.
    pub(crate) async fn of(signers: &[&Signer]) -> Self {
        let issuer = Self::behaving(Manner::Dead).await;
        issuer.publish(signers);
        issuer
    }

    /// Does what it is told.
    pub(crate) async fn behaving(manner: Manner) -> Self {
        let manner = Arc::new(Mutex::new(manner));
        let told = manner.clone();
        let backend = Backend::start(move |mut peer| {
            let told = told.clone();
            async move {
                while let Some(seen) = peer.request().await {
                    let manner = told.lock().unwrap().clone();
                    match manner {
                        Manner::Says(bytes) => peer.send(bytes).await,
                        Manner::Knows(all) => {
                            let known = all.into_iter().find(|(target, _)| target == seen.head.target());
                            peer.send(known.map_or_else(|| NOT_FOUND.to_vec(), |(_, bytes)| bytes)).await;
                        }
                        Manner::Silent => tokio::time::sleep(Duration::from_secs(3600)).await,
                        Manner::Dead => return,
                    }
                }
            }
        });
        Self { backend: backend.await, manner }
    }

    /// Changes its manners.
    pub(crate) fn now(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// Publishes the keys of these signers from now on.
    pub(crate) fn publish(&self, signers: &[&Signer]) {
        self.now(Manner::Says(answer("", &jwks(signers))));
    }

    /// Where its keys are.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/jwks", self.backend.address())
    }

    /// What it is called.
    pub(crate) fn name(&self) -> String {
        format!("http://{}", self.backend.address())
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.backend.seen().len()
    }
}

/// An answer with these further fields, each with its line end.
pub(crate) fn answer(fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\n{fields}content-length: {length}\r\n\r\n{body}").into_bytes()
}

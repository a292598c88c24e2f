//! Brings a body from the upstream into the store and to all who read it: at once where it has come already, else in a
//! task of its own, so that no client's pace or end is that of the others.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http_body::Body;

use super::entry::{Entry, Meta};
use super::fill::Fill;
use super::flight::Lead;
use super::key::Key;
use super::store::{Store, Ticket};
use super::tier::Mark;
use crate::base::body::ResponseBody;

/// A body on its way, and where it goes.
pub struct Pump {
    /// What stores it.
    pub store: Arc<Store>,
    /// Under which key.
    pub key: Key,
    /// The state of the second tier when it was asked for, and who asked.
    pub mark: (Option<Mark>, usize),
    /// When it was asked for.
    pub ticket: Ticket,
    /// Its head.
    pub meta: Arc<Meta>,
    /// What it takes the place of.
    pub instead: Option<Entry>,
    /// Who reads it.
    pub fill: Arc<Fill>,
    /// Where it comes from.
    pub body: ResponseBody,
    /// Others who may still join.
    pub lead: Option<Lead>,
}

/// What came of a piece of work.
enum Came {
    /// All of it.
    Whole,
    /// Nothing more comes.
    Broken,
}

impl Pump {
    /// Takes what has come already. The whole body, if that is all of it and is stored; the pump again, if more is to
    /// come; and nothing if it broke off.
    pub async fn begin(mut self) -> Result<Bytes, Option<Self>> {
        let came = poll_fn(|cx| {
            Poll::Ready(loop {
                // What has come is handed out even when nobody has room for more.
                if self.fill.poll_room(cx).is_pending() {
                    break None;
                }
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Pending => break None,
                    Poll::Ready(Some(Ok(frame))) => {
                        if let Ok(data) = frame.into_data() {
                            self.fill.push(data);
                        }
                    }
                    Poll::Ready(Some(Err(_))) => break Some(Came::Broken),
                    Poll::Ready(None) => break Some(Came::Whole),
                }
                if self.body.is_end_stream() {
                    break Some(Came::Whole);
                }
            })
        });
        match came.await {
            Some(came) => self.end(&came).ok_or(None),
            None => Err(Some(self)),
        }
    }

    /// Brings the rest.
    pub async fn run(mut self) {
        let came = loop {
            poll_fn(|cx| self.fill.poll_room(cx)).await;
            if !self.fill.is_wanted() {
                break Came::Broken;
            }
            match poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.fill.push(data);
                    }
                }
                Some(Err(_)) => break Came::Broken,
                None => break Came::Whole,
            }
            if self.body.is_end_stream() {
                break Came::Whole;
            }
        };
        self.end(&came);
    }

    /// No more comes: stores what is whole.
    fn end(self, came: &Came) -> Option<Bytes> {
        let body = match came {
            Came::Whole => self.fill.finish(),
            Came::Broken => {
                self.fill.break_off();
                return None;
            }
        };
        match body {
            Some(body) => {
                let entry = Entry { meta: self.meta, body: body.clone() };
                self.store.put(self.key.bytes(), self.ticket, entry.clone(), self.instead.as_ref());
                self.store.hand_on(self.mark.1, &self.key, self.mark.0, &entry);
                Some(body)
            }
            None => {
                // Where there was only no memory for it, there may be the next time.
                if self.fill.is_too_large() {
                    self.store.note_shared(self.key.bytes(), false, self.store.now().instant);
                }
                None
            }
        }
        // Those who lead tell nobody any more: whoever comes from now on finds it in the store.
    }
}

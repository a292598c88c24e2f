//! What the tests of both logs write to.

use std::io::{self, Write};
use std::sync::mpsc::Receiver;

/// Takes a piece only when it is told to: like a pipe that nobody reads.
pub(super) struct Stuck(pub(super) Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

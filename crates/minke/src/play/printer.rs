//! Standard output in a thread of its own: a reader who does not read blocks that thread, never the signals.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use tokio::sync::{mpsc, oneshot};

/// Pieces that may wait for a slow reader.
const WAITING: usize = 8;

/// Prints in order.
pub struct Printer {
    pieces: mpsc::Sender<Vec<u8>>,
    written: oneshot::Receiver<()>,
}

impl Printer {
    /// Starts the thread.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start() -> Result<Self> {
        let (pieces, mut waiting) = mpsc::channel::<Vec<u8>>(WAITING);
        let (done, written) = oneshot::channel();
        let work = move || {
            let mut out = std::io::stdout().lock();
            // A closed pipe is the reader's choice, not an error: what follows goes nowhere.
            let mut open = true;
            while let Some(piece) = waiting.blocking_recv() {
                open = open && out.write_all(&piece).and_then(|()| out.flush()).is_ok();
            }
            // Nobody waits after a signal.
            let _ = done.send(());
        };
        std::thread::Builder::new()
            .name("printer".to_owned())
            .spawn(work)
            .context("no thread to print in")?;
        Ok(Self { pieces, written })
    }

    /// Prints a piece, as soon as the reader has taken what came before.
    pub async fn print(&self, piece: Vec<u8>) {
        if !piece.is_empty() && self.pieces.send(piece).await.is_err() {
            tracing::error!("the printer has ended");
        }
    }

    /// Waits until everything is printed.
    pub async fn finish(self) {
        drop(self.pieces);
        if self.written.await.is_err() {
            tracing::error!("the printer ended badly");
        }
    }
}

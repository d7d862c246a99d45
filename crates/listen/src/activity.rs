//! Whether a connection has anything to do: requests that are not answered to the last byte.
//!
//! Invariant: a request counts until its answer's body is dropped, so that a watch keeps its connection alive.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::watch;

use crate::gate::Place;

#[derive(Debug, Clone, Copy, Default)]
struct State {
    busy: usize,
    /// Whether there has been a request.
    asked: bool,
}

/// One connection's requests.
#[derive(Debug, Clone)]
pub(crate) struct Activity {
    state: Arc<watch::Sender<State>>,
    place: Place,
}

impl Activity {
    pub(crate) fn new(place: Place) -> Self {
        Self { state: Arc::default(), place }
    }

    /// A request has come.
    pub(crate) fn begin(&self) -> Busy {
        self.state.send_modify(|s| {
            self.place.works();
            *s = State { busy: s.busy + 1, asked: true };
        });
        Busy(self.clone())
    }

    /// Returns once nothing has been asked for so long: `first` while nothing ever was, else `idle`.
    pub(crate) async fn idle(&self, first: Duration, idle: Duration) {
        let mut changes = self.state.subscribe();
        loop {
            let state = *changes.borrow_and_update();
            // The sender is ours, so that waiting cannot fail.
            if state.busy > 0 {
                let _ = changes.changed().await;
                continue;
            }
            let patience = if state.asked { idle } else { first };
            if tokio::time::timeout(patience, changes.changed()).await.is_err() {
                return;
            }
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Busy(Activity);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.state.send_modify(|s| {
            s.busy -= 1;
            if s.busy == 0 {
                self.0.place.rests();
            }
        });
    }
}

/// A body that says when it is over.
#[derive(Debug)]
pub(crate) struct Answer<B> {
    pub(crate) body: B,
    pub(crate) _busy: Busy,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(3);
    const IDLE: Duration = Duration::from_secs(9);

    #[tokio::test(start_paused = true)]
    async fn idle_is_counted_from_the_end_of_the_last_answer() {
        let gate = crate::Gate::new(crate::Limits::of_descriptors(64));
        let permit = gate.enter(std::net::Ipv4Addr::LOCALHOST.into()).unwrap();
        let activity = Activity::new(permit.place());
        let began = tokio::time::Instant::now();
        activity.idle(FIRST, IDLE).await;
        assert_eq!(began.elapsed(), FIRST);
        let busy = activity.begin();
        let idle = activity.idle(FIRST, IDLE);
        tokio::pin!(idle);
        assert!(tokio::time::timeout(IDLE * 100, &mut idle).await.is_err());
        drop(busy);
        let began = tokio::time::Instant::now();
        idle.await;
        assert_eq!(began.elapsed(), IDLE);
    }
}

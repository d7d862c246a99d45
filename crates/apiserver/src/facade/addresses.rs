//! Addresses of Services that somebody deletes: their objects come back while their Services have them.
//!
//! Invariant: only deletions are looked at, each by itself; what a crash or a lost place leaves is found by the comparison of
//! all (`context::allocation::repair`).

use std::sync::Arc;

use futures_util::future::join_all;
use kinds::ipaddress::KIND as ADDRESSES;
use store::{Event, Interest};

use super::server::Server;
use crate::context::allocation::repair;
use crate::context::object;

/// Follows until the server stops.
pub(crate) async fn run(server: Arc<Server>) {
    let mut closing = server.closing();
    let follow = async {
        loop {
            let revision = server.store().revision();
            let mut watcher = match server.store().watch(&[Interest::whole(&ADDRESSES.bucket)], revision) {
                Ok(watcher) => watcher,
                Err(error) => return tracing::error!(%error, "deletions of addresses are not followed"),
            };
            while let Ok(events) = watcher.next().await {
                join_all(events.iter().filter(|event| event.deleted).map(|event| again(&server, event)))
                    .await;
            }
            repair::run(&server.services().allocator, true).await;
        }
    };
    tokio::select! {
        () = follow => {}
        _ = closing.wait_for(|closing| *closing) => {}
    }
}

async fn again(server: &Server, event: &Event) {
    let address = object::parse(&ADDRESSES, &event.entry.value);
    repair::returned(&server.services().allocator, &address).await;
}

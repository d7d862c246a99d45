//! What a request costs does not depend on how many other Pods, nodes and watchers there are. Counted in allocations of all
//! threads, the store's writer too, so this program has one test. `FLAT_PODS` says how many others, 5,000 if it does not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod crowded;

use crowded::{WHAT, World};

#[global_allocator]
static ALLOCATOR: counting::Allocator = counting::Allocator;

/// How often each thing is done, so that what happens now and then does not count.
const TIMES: u64 = 50;

#[tokio::test]
async fn no_request_grows_with_the_pods() {
    let many = std::env::var("FLAT_PODS").map_or(5_000, |text| text.parse().unwrap());
    let few = World::with(10).await.turns(TIMES, counting::everywhere).await;
    let many = World::with(many).await.turns(TIMES, counting::everywhere).await;
    for (what, (few, many)) in WHAT.iter().zip(few.iter().zip(many)) {
        let (few, many) = (few / TIMES, many / TIMES);
        println!("{what}: {few} allocations beside few Pods, {many} beside many");
        assert!(
            counting::is_flat(few, many),
            "{what}: {few} allocations beside few Pods, {many} beside many"
        );
    }
}

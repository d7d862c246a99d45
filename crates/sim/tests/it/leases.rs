//! Who leads.

use crate::world::{World, pod};

#[tokio::test(start_paused = true)]
async fn the_lease_passes_on_and_work_goes_on() {
    let world = World::at_rest().await.running("first");
    let holder = |w: &World, lease: &str| {
        Some(w.find("leases", "kube-system", lease)?["spec"]["holderIdentity"].as_str()?.to_owned())
    };
    for lease in ["kube-controller-manager", "kube-scheduler"] {
        world.until("the lease", |w| holder(w, lease).filter(|h| h == "first")).await;
    }
    let world = world.stop().await;
    assert_eq!(holder(&world, "kube-scheduler").as_deref(), Some(""));
    let world = world.running("second");
    world.node("n1", "4").await;
    world.until("the account", |w| w.find("serviceaccounts", "default", "default")).await;
    world.create("pods", pod("p", "1")).await;
    world.bound_pod().await;
    assert_eq!(holder(&world, "kube-scheduler").as_deref(), Some("second"));
    world.stop().await;
}

//! How long attaching and detaching Pods takes, one by one and fifty at once, in namespaces of its own; needs root.

use std::io::Write as _;
use std::time::{Duration, Instant};

use net::{Attachment, Config, Network};

const ROUNDS: usize = 50;

fn line(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    writeln!(std::io::stdout(), "net: {name}: median {median:.1?}, worst {worst:.1?}").expect("stdout");
}

fn all_at_once(name: &str, started: Instant) {
    writeln!(std::io::stdout(), "net: {name}: {:.1?}", started.elapsed()).expect("stdout");
}

async fn attach(network: &Network, uid: String) -> Attachment {
    network.attach(&uid, &[]).await.expect("the kernel makes links")
}

async fn detach(network: &Network, uid: String) {
    network.detach(&uid).await.expect("the kernel removes links");
}

async fn measure(network: &Network) {
    let (mut attached, mut detached) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let started = Instant::now();
        let pod = attach(network, format!("pod-{round}")).await;
        attached.push(started.elapsed());
        // As in life, the namespace still exists when it is detached.
        let started = Instant::now();
        detach(network, format!("pod-{round}")).await;
        detached.push(started.elapsed());
        drop(pod);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    line("attach", attached);
    line("detach", detached);
    let started = Instant::now();
    let all = (0..ROUNDS).map(|round| attach(network, format!("pod-{round}")));
    let pods = futures_util::future::join_all(all).await;
    all_at_once("attach 50 at once", started);
    let started = Instant::now();
    futures_util::future::join_all((0..ROUNDS).map(|round| detach(network, format!("pod-{round}")))).await;
    all_at_once("detach 50 at once", started);
    drop(pods);
}

fn main() {
    // SAFETY: before any other thread exists.
    let alone = unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) };
    assert_eq!(alone, 0, "needs root: {}", std::io::Error::last_os_error());
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: constant strings; the mounts are in this process's own namespace.
    let mounted = unsafe {
        libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null())
            | libc::mount(c"tmpfs".as_ptr(), c"/run".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null())
    };
    assert_eq!(mounted, 0, "{}", std::io::Error::last_os_error());
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = Config { instance_id: 1, data_dir: dir.path().to_owned(), ..Config::default() };
    let started = Instant::now();
    let network = Network::open(config).expect("the network opens");
    all_at_once("open", started);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(measure(&network));
    let started = Instant::now();
    runtime.block_on(network.teardown()).expect("everything is removed");
    all_at_once("teardown", started);
}

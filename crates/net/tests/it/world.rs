//! A host to break: namespaces, an uplink, sockets on either side.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use net::{Config, Network};

pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const PATIENCE: Duration = Duration::from_secs(5);

/// The machine that a test runs on.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) host: OwnedFd,
    pub(crate) outside: OwnedFd,
}

/// Runs a test on such a machine.
pub(crate) fn on_a_host(test: impl AsyncFnOnce(World) + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let world = World::make();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(test(world));
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn unshare(flags: i32) {
    // SAFETY: concerns this thread only, which the test made for it.
    assert_eq!(unsafe { libc::unshare(flags) }, 0, "{}", io::Error::last_os_error());
}

pub(crate) fn current() -> OwnedFd {
    File::open("/proc/thread-self/ns/net").unwrap().into()
}

/// Runs a command that must succeed and returns what it prints.
pub(crate) fn run(command: &str) -> String {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Does something in another network namespace.
pub(crate) fn inside<T: Send>(netns: impl AsFd, work: impl FnOnce() -> T + Send) -> T {
    let netns = netns.as_fd().try_clone_to_owned().unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: moves this new thread only.
            assert_eq!(unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl World {
    fn make() -> Self {
        unshare(libc::CLONE_NEWNS | libc::CLONE_NEWNET);
        run("mount --make-rprivate /");
        run("mount -t tmpfs tmpfs /run");
        let outside = {
            unshare(libc::CLONE_NEWNET);
            run("ip link set lo up");
            current()
        };
        unshare(libc::CLONE_NEWNET);
        run("ip link set lo up");
        run("ip link add uplink type veth peer name outside");
        name("outside", &outside);
        run("ip link set outside netns outside");
        run("ip addr add 198.51.100.1/24 dev uplink");
        run("ip link set uplink up");
        run("ip route add default via 198.51.100.2");
        inside(&outside, || {
            run("ip addr add 198.51.100.2/24 dev outside");
            run("ip link set outside up");
        });
        Self { dir: tempfile::tempdir().unwrap(), host: current(), outside }
    }

    pub(crate) fn config(&self) -> Config {
        Config { instance_id: 0x1f2e_3d4c, data_dir: self.dir.path().to_owned(), ..Config::default() }
    }

    pub(crate) fn open(&self) -> Arc<Network> {
        Network::open(self.config()).unwrap()
    }
}

/// Gives a namespace a name under `/run/netns`, where `ip` looks.
fn name(name: &str, netns: &OwnedFd) {
    std::fs::create_dir_all("/run/netns").unwrap();
    let path = format!("/run/netns/{name}");
    File::create(&path).unwrap();
    let source = CString::new(format!("/proc/self/fd/{}", netns.as_raw_fd())).unwrap();
    let target = CString::new(path).unwrap();
    let (none, flags) = (std::ptr::null(), libc::MS_BIND);
    // SAFETY: the strings live through the call; it happens in this thread's own mount namespace.
    let mounted = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), none, flags, none.cast()) };
    assert_eq!(mounted, 0, "{}", io::Error::last_os_error());
}

/// Binds as soon as nobody has the address any more: a child that another test is just starting holds every socket of
/// this process, the last server's too, until it executes its own program.
fn bound<T>(bind: impl Fn() -> io::Result<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result.unwrap(),
        }
    }
}

/// Answers one connection with the address it came from.
pub(crate) fn tcp_server(at: &str) -> impl FnOnce() -> SocketAddr + Send + use<> {
    let listener = bound(|| TcpListener::bind(at));
    move || {
        let (mut stream, from) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).unwrap();
        stream.write_all(&word).unwrap();
        from
    }
}

/// Says a word and hears it back.
pub(crate) fn tcp_client(to: impl Into<SocketAddr>) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to.into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"ping")?;
    let mut word = [0; 4];
    stream.read_exact(&mut word)?;
    assert_eq!(&word, b"ping");
    Ok(())
}

pub(crate) fn udp_server(at: &str) -> impl FnOnce() -> SocketAddr + Send + use<> {
    let socket = bound(|| UdpSocket::bind(at));
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    move || {
        let mut word = [0; 4];
        let (_, from) = socket.recv_from(&mut word).unwrap();
        socket.send_to(&word, from).unwrap();
        from
    }
}

pub(crate) fn udp_client(to: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(to)?;
    socket.send(b"ping")?;
    let mut word = [0; 4];
    socket.recv(&mut word)?;
    assert_eq!(&word, b"ping");
    Ok(())
}

/// A server in one namespace, a client in another; the address that the server saw.
pub(crate) fn exchange<S, F>(
    server_in: impl AsFd + Sync + Send,
    server: impl FnOnce() -> S + Send,
    client_in: impl AsFd + Send,
    client: F,
) -> SocketAddr
where
    S: FnOnce() -> SocketAddr + Send,
    F: FnOnce() -> io::Result<()> + Send,
{
    let serve = inside(&server_in, server);
    std::thread::scope(|scope| {
        let server = scope.spawn(serve);
        inside(client_in, client).expect("the client is answered");
        server.join().unwrap()
    })
}

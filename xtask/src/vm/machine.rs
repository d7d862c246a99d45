//! One qemu: started, watched, killed. Invariant: it does not outlive the value.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::build::Built;
use crate::shell::command;

/// How long a machine may run at most.
const CEILING: Duration = Duration::from_secs(300);

/// What differs between machines.
#[derive(Debug, Default)]
pub struct Extra<'a> {
    /// More words for the kernel's command line.
    pub append: String,
    /// Raw images after the root disk, `/dev/vdb` and on.
    pub disks: Vec<&'a Path>,
    /// Where the second serial line, `/dev/ttyS1`, goes.
    pub serial: Option<&'a Path>,
}

/// A running machine.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    console: PathBuf,
    until: Instant,
}

impl Machine {
    /// Boots. The root disk forgets what this machine writes to it, so that all machines share one; the other disks
    /// keep it (`cache=writeback`: the guest's flushes reach the host's disk, its other writes the host's page cache,
    /// which survives a killed qemu).
    ///
    /// # Errors
    /// If qemu does not start.
    pub fn boot(built: &Built, extra: &Extra<'_>) -> Result<Self> {
        let console = built.dir.path().join("console.log");
        fs::write(&console, "")?;
        let mut qemu = command("qemu-system-x86_64");
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"])
            .args(["-display", "none", "-no-reboot", "-nic", "none", "-monitor", "none"])
            .arg("-append")
            .arg(format!("console=ttyS0 quiet panic=-1 cgroup_no_v1=all net.ifnames=0 {}", extra.append))
            .arg("-kernel")
            .arg(&built.kernel)
            .arg("-initrd")
            .arg(&built.initramfs)
            .arg("-drive")
            .arg(format!("file={},format=raw,if=virtio,cache=unsafe,snapshot=on", built.disk.display()));
        for disk in &extra.disks {
            qemu.arg("-drive").arg(format!("file={},format=raw,if=virtio,cache=writeback", disk.display()));
        }
        for line in [Some(console.as_path()), extra.serial].into_iter().flatten() {
            qemu.arg("-serial").arg(format!("file:{}", line.display()));
        }
        let child = qemu.stdin(Stdio::null()).spawn().context("cannot start qemu-system-x86_64")?;
        Ok(Self { child, console, until: Instant::now() + CEILING })
    }

    /// Waits until the machine has switched itself off (or its time is up) and returns its console.
    ///
    /// # Errors
    /// If qemu fails.
    pub fn wait(mut self) -> Result<String> {
        self.wait_until(|| false)?;
        self.console()
    }

    /// Waits for a condition on the host and kills the machine as soon as it holds.
    ///
    /// # Errors
    /// If the machine ends by itself before that, with its console.
    pub fn kill_when(mut self, holds: impl FnMut() -> bool) -> Result<()> {
        if self.wait_until(holds)? {
            return Ok(());
        }
        bail!("the machine ended before its time\n{}", self.console()?)
    }

    /// Whether the condition came to hold before the machine ended.
    fn wait_until(&mut self, mut holds: impl FnMut() -> bool) -> Result<bool> {
        while Instant::now() < self.until {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!("qemu ended with {status}\n{}", self.console()?);
                }
                return Ok(false);
            }
            if holds() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(false)
    }

    fn console(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.console)?).into_owned())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SIGKILL; a machine that has ended already is no error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

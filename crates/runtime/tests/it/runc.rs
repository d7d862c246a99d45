//! A container of runc's, to hold beside ours.
//!
//! Absent: what is compared; see `oracle` and `boundary`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::kit::Kit;
use crate::oracle::runc_config;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Deleted when dropped.
pub struct Runc {
    root: PathBuf,
    bundle: PathBuf,
    id: String,
}

impl Runc {
    /// Starts a container whose configuration and root `change` has altered; the text is runc's own.
    pub fn start(kit: &Kit, args: &[&str], change: impl FnOnce(&mut Value, &Path)) -> Result<Self, String> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let new = Self {
            root: kit.dir.join("runc"),
            bundle: kit.dir.join(format!("runc-bundle{number}")),
            id: format!("boundary-{}-{number}", std::process::id()),
        };
        let rootfs = new.bundle.join("rootfs");
        std::fs::create_dir_all(&new.bundle).unwrap();
        assert!(
            Command::new("cp").args(["-a", "/tmp/minke-it/layer"]).arg(&rootfs).status().unwrap().success()
        );
        let mut config = runc_config(&format!("{}/{}", kit.config.cgroup_root, new.id));
        config["process"]["args"] = args.iter().map(|arg| (*arg).to_owned()).collect();
        change(&mut config, &rootfs);
        std::fs::write(new.bundle.join("config.json"), config.to_string()).unwrap();
        let mut command = new.command(&["run", "--detach", "--bundle"]);
        command.arg(&new.bundle).arg(&new.id);
        let out = std::fs::File::create(new.bundle.join("out")).unwrap();
        let errors = std::fs::File::create(new.bundle.join("errors")).unwrap();
        let done = command.stdin(Stdio::null()).stdout(out).stderr(errors).status().unwrap();
        let words = std::fs::read_to_string(new.bundle.join("errors")).unwrap();
        if done.success() { Ok(new) } else { Err(words) }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(&self.root).args(args);
        command
    }

    /// Runs a command in it.
    pub fn exec(&self, options: &[&str], args: &[&str]) -> Output {
        let mut command = self.command(&["exec"]);
        command.args(options).arg(&self.id).args(args).stdin(Stdio::null()).output().unwrap()
    }

    /// What its first process has said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.bundle.join("out")).unwrap()
    }
}

impl Drop for Runc {
    fn drop(&mut self) {
        // One that never ran is not known, which is fine.
        let _ = self.command(&["delete", "--force", &self.id]).stderr(Stdio::null()).status();
    }
}

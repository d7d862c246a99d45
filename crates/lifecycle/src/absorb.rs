//! Takes the results of ended actions into memory and says what users read about them.

use std::time::Duration;

use crate::step::{Run, retry_name};
use crate::text::{normal, warning};
use crate::types::{ContainerState, Failure, Finished, Hook, Key, Outcome, Retry, Time};
use crate::view::{alive, pod_spec};

/// Volumes are tried this long before the Pod's event says that they cannot be mounted.
const MOUNT_PATIENCE: i64 = 123;
/// Seconds before a failed creation or start is tried again.
const START_RETRY: i64 = 10;

impl Run<'_> {
    /// Takes in everything that ended.
    pub(crate) fn absorb(&mut self) {
        for f in &self.o.finished {
            match &f.outcome {
                Outcome::Failed(why) => self.failed(&f.key, why),
                // Said to be over and seen to be not.
                Outcome::Done if self.still_runs(&f.key) => {
                    let message = "it still runs after it was stopped".to_owned();
                    self.failed(&f.key, &Failure { message, ..Failure::default() });
                }
                _ => {
                    self.mem.retry.remove(&retry_name(&f.key));
                    self.succeeded(f);
                }
            }
        }
    }

    /// Whether this is the end of a stop, and its container lives.
    fn still_runs(&self, key: &Key) -> bool {
        let Key::Stop(id, _) = key else { return false };
        self.o.containers.iter().any(|c| c.id == *id && alive(c))
    }

    fn succeeded(&mut self, f: &Finished) {
        match (&f.key, &f.outcome) {
            (Key::StopSandbox(id), _) => {
                self.mem.stopped.insert(id.clone());
            }
            (Key::Pull(name), Outcome::Pulled { image_ref, took, waited, size }) => {
                self.pulled(name, image_ref, (*took, *waited), *size);
            }
            (Key::Create(name), _) => {
                self.emit_for(name, "Created", "Container created");
                let cm = self.cm(name);
                cm.pulled = None;
            }
            (Key::Start(id), _) => {
                if let Some(name) = self.name_of(id) {
                    self.emit_for(&name, "Started", "Container started");
                    let cm = self.cm(&name);
                    cm.start_error = None;
                    cm.started = Some(id.clone());
                }
            }
            (Key::Hook(Hook::PostStart, id), _) => {
                if let Some(name) = self.name_of(id) {
                    self.cm(&name).post_start_done = Some(id.clone());
                }
            }
            (Key::Hook(Hook::PreStop, id), _) => self.hook_over(id),
            (Key::Probe(kind, id), Outcome::Probed(verdict)) => self.probed(*kind, id, verdict),
            (Key::Allocate, _) => self.allocated(),
            (Key::Resize, _) => self.resized(),
            (Key::Unmount, _) => self.mem.volumes_down = true,
            (Key::RemoveCgroup, _) => self.mem.cgroup_down = true,
            (Key::Delete, _) => self.mem.deleted = true,
            _ => {}
        }
    }

    fn failed(&mut self, key: &Key, why: &Failure) {
        // Failures are told and paced by themselves.
        self.mem.asked.remove(&retry_name(key));
        match key {
            Key::Pull(name) => return self.pull_failed(name, why),
            Key::Create(name) => return self.create_failed(name, why),
            Key::Start(id) => return self.start_failed(id, why),
            Key::Hook(Hook::PostStart, id) => return self.post_start_failed(id),
            Key::Hook(Hook::PreStop, id) => {
                if let Some(name) = self.name_of(id) {
                    let path = self.path_of(&name);
                    self.emit(warning(&path, "FailedPreStopHook", "PreStopHook failed"));
                }
                return self.hook_over(id);
            }
            Key::Probe(..) => return,
            Key::Prepare => {
                let text = format!("unable to ensure pod container exists: {}", why.message);
                self.emit(warning("", "FailedCreatePodContainer", text));
            }
            Key::CreateSandbox if why.reason == "NetworkNotReady" => {
                self.emit(warning("", "NetworkNotReady", format!("network is not ready: {}", why.message)));
            }
            Key::CreateSandbox => {
                let text = format!("Failed to create pod sandbox: {}", why.message);
                self.emit(warning("", "FailedCreatePodSandBox", text));
            }
            Key::StopSandbox(_)
            | Key::Stop(..)
            | Key::RemoveSandbox(_)
            | Key::Remove(_)
            | Key::Unmount
            | Key::RemoveCgroup
            | Key::Delete => {
                self.emit(warning("", "FailedKillPod", format!("error killing pod: {}", why.message)));
            }
            Key::MountVolumes => self.mount_failed(why),
            Key::Allocate => self.refused(why),
            Key::Resize => self.resize_failed(why),
            _ => {}
        }
        self.back_off(key, &why.message);
    }

    /// Half a second doubling to 10 s; volumes to 2 min 2 s.
    fn back_off(&mut self, key: &Key, message: &str) {
        let cap = if *key == Key::MountVolumes { 122_000 } else { 10_000 };
        let now = self.now;
        let retry =
            self.mem.retry.entry(retry_name(key)).or_insert_with(|| Retry { since: now, ..Retry::default() });
        retry.delay_ms = if retry.delay_ms == 0 { 500 } else { (retry.delay_ms * 2).min(cap) };
        retry.at = now.plus(Duration::from_millis(retry.delay_ms));
        retry.message = message.to_owned();
        let at = retry.at;
        self.wake_at(at);
    }

    fn mount_failed(&mut self, why: &Failure) {
        let text = format!("MountVolume.SetUp failed for volume {:?} : {}", why.reason, why.message);
        self.emit(warning("", "FailedMount", text));
        let since = self.mem.retry.get(&retry_name(&Key::MountVolumes)).map(|r| r.since);
        if since.is_some_and(|s| self.now.secs_since(s) >= MOUNT_PATIENCE) {
            let names: Vec<String> =
                pod_spec(&self.d.pod).volumes.iter().flatten().map(|v| v.name.clone()).collect();
            let text = format!(
                "Unable to attach or mount volumes: unmounted volumes=[{}], unattached volumes=[], failed to process \
                 volumes=[]: timed out waiting for the condition ({} in all)",
                why.reason,
                names.len()
            );
            self.emit(warning("", "FailedMount", text));
            self.mem.retry.remove(&retry_name(&Key::MountVolumes));
        }
    }

    fn pulled(&mut self, name: &str, image_ref: &str, times: (Duration, Duration), size: u64) {
        let Some(image) = self.image_of(name) else { return };
        let go = |d: Duration| {
            base::duration::format_go(
                i64::try_from(d.as_millis()).unwrap_or(i64::MAX).saturating_mul(1_000_000),
            )
        };
        let text = format!(
            "Successfully pulled image {image:?} in {} ({} including waiting). Image size: {size} bytes.",
            go(times.0),
            go(times.1)
        );
        self.emit_for(name, "Pulled", &text);
        self.mem.images.remove(&image);
        let cm = self.cm(name);
        cm.pulled = Some(image_ref.to_owned());
        cm.start_error = None;
    }

    fn pull_failed(&mut self, name: &str, why: &Failure) {
        let Some(image) = self.image_of(name) else { return };
        let path = self.path_of(name);
        let reason = if why.reason.is_empty() { "ErrImagePull" } else { &why.reason };
        self.emit(warning(&path, "Failed", format!("Failed to pull image {image:?}: {}", why.message)));
        self.emit(warning(&path, "Failed", format!("Error: {reason}")));
        self.image_backoff(&image, reason, &why.message);
        self.cm(name).start_error = Some(Failure { reason: reason.to_owned(), message: why.message.clone() });
    }

    fn create_failed(&mut self, name: &str, why: &Failure) {
        let path = self.path_of(name);
        self.emit(warning(&path, "Failed", format!("Error: {}", why.message)));
        let reason =
            if why.reason.is_empty() { "CreateContainerError".to_owned() } else { why.reason.clone() };
        let at = self.now.plus_secs(START_RETRY);
        let cm = self.cm(name);
        cm.start_error = Some(Failure { reason, message: why.message.clone() });
        cm.retry_at = at;
    }

    fn start_failed(&mut self, id: &str, why: &Failure) {
        let Some(name) = self.name_of(id) else { return };
        let path = self.path_of(&name);
        self.emit(warning(&path, "Failed", format!("Error: {}", why.message)));
        let at = self.now.plus_secs(START_RETRY);
        let cm = self.cm(&name);
        cm.start_error = Some(Failure { reason: "RunContainerError".into(), message: why.message.clone() });
        cm.failed_start = id.to_owned();
        cm.retry_at = at;
    }

    fn post_start_failed(&mut self, id: &str) {
        let Some(name) = self.name_of(id) else { return };
        let path = self.path_of(&name);
        self.emit(warning(&path, "FailedPostStartHook", "PostStartHook failed"));
        let cm = self.cm(&name);
        cm.post_start_done = Some(id.to_owned());
        cm.start_error =
            Some(Failure { reason: "PostStartHookError".into(), message: "PostStartHook failed".into() });
        if self.o.containers.iter().any(|c| c.id == id && c.state == ContainerState::Running) {
            self.kill(id, None, "FailedPostStartHook");
        }
    }

    fn hook_over(&mut self, id: &str) {
        if let Some(name) = self.name_of(id)
            && let Some(s) = self.cm(&name).stopping.as_mut().filter(|s| s.id == id)
        {
            s.hook_done = true;
        }
    }

    /// The Pod's name for a container id.
    pub(crate) fn name_of(&self, id: &str) -> Option<String> {
        self.o.containers.iter().find(|c| c.id == id).map(|c| c.name.clone())
    }

    fn image_of(&self, name: &str) -> Option<String> {
        self.ctrs.iter().find(|c| c.name() == name).map(|c| c.image().to_owned())
    }

    pub(crate) fn path_of(&self, name: &str) -> String {
        self.ctrs.iter().find(|c| c.name() == name).map(crate::view::Ctr::field_path).unwrap_or_default()
    }

    /// A Normal event about a container.
    pub(crate) fn emit_for(&mut self, name: &str, reason: &str, message: &str) {
        let path = self.path_of(name);
        self.emit(normal(&path, reason, message));
    }

    /// When this Pod's start was first told.
    pub(crate) fn start_time(&self) -> Option<Time> {
        let of = |s: &Option<k8s_openapi::api::core::v1::PodStatus>| {
            s.as_ref().and_then(|s| s.start_time.as_ref()).map(Time::from_api)
        };
        of(&self.d.pod.status).or_else(|| of(&self.mem.status))
    }
}

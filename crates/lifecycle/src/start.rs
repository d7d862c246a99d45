//! Brings one container up: back-off, image, creation, start, postStart hook, each an action of its own.

use crate::step::Run;
use crate::text::{normal, warning};
use crate::types::{
    Action, Container, ContainerState, Failure, Hook, ImageState, Key, ProbeKind, Role, Sandbox, Time,
};
use crate::view::{Ctr, newest};

/// How far a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Something is being done; those after it wait.
    Busy,
    /// Backing off; those after it may go on.
    Waiting,
    /// Runs, its hook is over.
    Up,
}

/// Seconds between looks at an image that cannot be used.
const IMAGE_RETRY: i64 = 10;

impl Run<'_> {
    /// The next thing to do so that the container runs in `sandbox`; `inst` is its newest instance there.
    pub(crate) fn bring_up(
        &mut self,
        ctr: &Ctr<'_>,
        sandbox: &Sandbox,
        inst: Option<&Container>,
    ) -> Progress {
        let name = ctr.name();
        if self.o.in_flight.contains(&Key::Create(name.to_owned())) {
            return Progress::Busy;
        }
        let here = inst.filter(|i| i.sandbox_id == sandbox.id);
        match here.map(|i| (i, i.state)) {
            Some((i, ContainerState::Running)) => self.running(ctr, i),
            Some((i, ContainerState::Created)) if self.peek(name).is_none_or(|m| m.failed_start != i.id) => {
                self.act(Action::StartContainer { id: i.id.clone(), container: name.to_owned() });
                Progress::Busy
            }
            _ => self.fresh(ctr, sandbox),
        }
    }

    fn running(&mut self, ctr: &Ctr<'_>, inst: &Container) -> Progress {
        let name = ctr.name();
        if self.o.in_flight.contains(&Key::Start(inst.id.clone())) {
            return Progress::Busy;
        }
        let hook = ctr.spec.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some());
        let m = self.cm(name);
        m.started = Some(inst.id.clone());
        if m.start_error.as_ref().is_some_and(|e| e.reason != "PostStartHookError") {
            m.start_error = None;
        }
        if !hook || m.post_start_done.as_ref() == Some(&inst.id) {
            return Progress::Up;
        }
        self.act(Action::RunHook {
            id: inst.id.clone(),
            container: name.to_owned(),
            hook: Hook::PostStart,
            timeout: None,
        });
        Progress::Busy
    }

    fn fresh(&mut self, ctr: &Ctr<'_>, sandbox: &Sandbox) -> Progress {
        let name = ctr.name().to_owned();
        let last = newest(self.o, &name).cloned();
        if let Some(last) = &last {
            let changed = self.replaced(ctr, last);
            if let Some(until) = self.crash_backoff(&name, last, changed) {
                self.tell_crash_backoff(&name, &last.id, until);
                return Progress::Waiting;
            }
        }
        let retry_at = self.peek(&name).map_or(Time::default(), |m| m.retry_at);
        if self.now < retry_at {
            self.wake_at(retry_at);
            return Progress::Waiting;
        }
        if !self.enforced() {
            // The Pod's cgroup comes first; its action is under way.
            return Progress::Busy;
        }
        let Some(target) = self.target_id(ctr) else { return Progress::Waiting };
        let image_ref = match self.image(ctr) {
            Ok(image_ref) => image_ref,
            Err(progress) => return progress,
        };
        let restart_count = self.next_count(&name, last.as_ref());
        self.act(Action::CreateContainer {
            container: name,
            role: ctr.role,
            sandbox: sandbox.id.clone(),
            restart_count,
            image_ref,
            target,
        });
        Progress::Busy
    }

    /// `Some(None)` without a target; `None` if the target is unknown, which is shown.
    fn target_id(&mut self, ctr: &Ctr<'_>) -> Option<Option<String>> {
        let Some(target) = ctr.target else { return Some(None) };
        if let Some(c) = newest(self.o, target).filter(|c| c.state == ContainerState::Running) {
            return Some(Some(c.id.clone()));
        }
        let message = format!("unable to find target container {target:?}");
        let at = self.now.plus_secs(IMAGE_RETRY);
        self.cannot_start(
            ctr,
            "CreateContainerConfigError",
            &message.clone(),
            Some(warning("", "Failed", format!("Error: {message}"))),
            at,
        );
        None
    }

    /// The reference to create from, or how far getting it is.
    fn image(&mut self, ctr: &Ctr<'_>) -> Result<String, Progress> {
        let (name, image) = (ctr.name().to_owned(), ctr.image().to_owned());
        if let Some(pulled) = self.peek(&name).and_then(|m| m.pulled.clone()) {
            return Ok(pulled);
        }
        if self.o.in_flight.contains(&Key::Pull(name.clone())) {
            return Err(Progress::Busy);
        }
        let policy = pull_policy(ctr);
        match self.images().get(&image).cloned().unwrap_or(ImageState::Absent) {
            ImageState::Invalid(why) => {
                let message = format!(
                    "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: {why}"
                );
                let at = self.now.plus_secs(IMAGE_RETRY);
                let event = warning("", "InspectFailed", message.clone());
                self.cannot_start(ctr, "InvalidImageName", &message, Some(event), at);
                return Err(Progress::Waiting);
            }
            ImageState::Present(image_ref) if policy != "Always" => {
                let text = format!(
                    "Container image {image:?} already present on machine and can be accessed by the pod"
                );
                self.emit_for(&name, "Pulled", &text);
                self.cm(&name).pulled = Some(image_ref.clone());
                return Ok(image_ref);
            }
            ImageState::Absent if policy == "Never" => {
                let message = format!("Container image {image:?} is not present with pull policy of Never");
                let at = self.now.plus_secs(IMAGE_RETRY);
                let event = warning("", "ErrImageNeverPull", message.clone());
                self.cannot_start(ctr, "ErrImageNeverPull", &message, Some(event), at);
                return Err(Progress::Waiting);
            }
            _ => {}
        }
        if self.image_backs_off(&name, &image) {
            return Err(Progress::Waiting);
        }
        let path = ctr.field_path();
        self.emit(normal(&path, "Pulling", format!("Pulling image {image:?}")));
        self.act(Action::PullImage { container: name, image });
        Err(Progress::Busy)
    }

    /// Shows why a container waits, says it once, and looks again at `at`.
    fn cannot_start(
        &mut self,
        ctr: &Ctr<'_>,
        reason: &str,
        message: &str,
        event: Option<crate::types::Event>,
        at: Time,
    ) {
        let failure = Failure { reason: reason.into(), message: message.into() };
        let path = ctr.field_path();
        let m = self.cm(ctr.name());
        let news = m.start_error.as_ref() != Some(&failure);
        m.start_error = Some(failure);
        m.retry_at = at;
        self.wake_at(at);
        if news {
            let same = event.as_ref().is_some_and(|e| e.reason == "Failed");
            if let Some(event) = event {
                self.emit(crate::types::Event { field_path: path.clone(), ..event });
            }
            if !same {
                self.emit(warning(&path, "Failed", format!("Error: {reason}")));
            }
        }
    }

    /// restartCount of the coming instance; it never falls.
    fn next_count(&self, name: &str, last: Option<&Container>) -> u32 {
        let told = self.told(name).filter(|s| {
            s.container_id.is_some() || s.last_state.as_ref().is_some_and(|l| l.terminated.is_some())
        });
        let told = told.map_or(0, |s| {
            u32::try_from(s.restart_count).unwrap_or(0)
                + u32::from(last.is_none() && s.container_id.is_some())
        });
        let logs = if last.is_none() { self.o.next_log.get(name).copied().unwrap_or(0) } else { 0 };
        last.map_or(0, |l| l.attempt + 1).max(told).max(logs)
    }

    /// Whether the instance counts as started: it runs and its startup probe, if any, passed.
    pub(crate) fn has_started(&self, ctr: &Ctr<'_>, inst: &Container) -> bool {
        if inst.state != ContainerState::Running || self.hook_pending(ctr, inst) {
            return false;
        }
        ctr.spec.startup_probe.is_none()
            || self.probe_result(ctr.name(), ProbeKind::Startup, &inst.id) == Some(true)
    }

    /// Whether the start is not complete: the postStart hook still runs.
    fn hook_pending(&self, ctr: &Ctr<'_>, inst: &Container) -> bool {
        ctr.role == Role::Sidecar
            && ctr.spec.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some())
            && self.peek(ctr.name()).and_then(|m| m.post_start_done.as_ref()) != Some(&inst.id)
    }
}

/// The container's policy, or the default by tag.
fn pull_policy(ctr: &Ctr<'_>) -> String {
    if let Some(p) = ctr.spec.image_pull_policy.as_deref().filter(|p| !p.is_empty()) {
        return p.to_owned();
    }
    let image = ctr.image();
    let last = image.rsplit('/').next().unwrap_or(image);
    let latest = !image.contains('@') && last.rsplit_once(':').is_none_or(|(_, tag)| tag == "latest");
    if latest { "Always".into() } else { "IfNotPresent".into() }
}

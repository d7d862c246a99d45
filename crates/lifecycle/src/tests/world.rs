//! A node in fake time: carries actions out at once (unless told to hold or fail them) and writes down what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerState as State, ContainerStatus, Pod, PodStatus};
use serde_json::Value;

use crate::types::{
    Action, Container, ContainerState, Desired, EventType, Failure, Finished, Hook, ImageState, Key, Memory,
    Observed, Outcome, ProbeKind, ProbeVerdict, Sandbox, Time, Verdict,
};
use crate::{containers, step};

#[derive(Default)]
pub(super) struct World {
    pub(super) log: Vec<String>,
    now: i64,
    ids: u32,
    desired: Desired,
    observed: Observed,
    memory: Memory,
    fails: BTreeMap<String, Failure>,
    held: BTreeSet<String>,
    /// Actions that end well and do nothing.
    idle: BTreeSet<String>,
    /// How often each was carried out.
    done: BTreeMap<String, u32>,
    waiting: Vec<Action>,
    verdicts: BTreeMap<String, ProbeVerdict>,
    stop_code: i32,
    last: String,
    over: bool,
}

/// Limit of steps without time passing: a machine that never rests is wrong.
const RESTLESS: usize = 60;

impl World {
    pub(super) fn command(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if self.arrange(word, rest) {
            return;
        }
        let args: Vec<&str> = rest.split_whitespace().collect();
        match word {
            "pod" => self.pod(rest),
            "release" => self.release(rest),
            "exit" => self.exit(args[0], args[1].parse().unwrap(), args.get(2).copied().unwrap_or_default()),
            "lose-sandbox" => self.lose_sandbox(),
            "lose-record" => self.observed.containers.retain(|c| c.name != rest),
            "lose-all" => {
                self.observed.containers.clear();
                self.observed.sandboxes.clear();
                self.restart_node();
            }
            "restart-node" => self.restart_node(),
            "delete" => self.desired.deleting = Some(rest.parse().unwrap()),
            "gone" => {
                self.desired.gone = true;
                self.desired.deleting.get_or_insert(1);
            }
            "evict" => {
                let (reason, message) = rest.split_once(": ").unwrap();
                let (reason, message) = (reason.into(), message.into());
                self.desired.verdict = Some(Verdict::Evicted { reason, message, grace: 1, disruption: true });
            }
            "image" => {
                let spec = Arc::make_mut(&mut self.desired.pod).spec.as_mut().unwrap();
                spec.containers[0].image = Some(rest.into());
            }
            "resize" => {
                let pod = Arc::make_mut(&mut self.desired.pod);
                pod.metadata.generation = pod.metadata.generation.map(|g| g + 1);
                let new: Value = serde_json::from_str(rest).unwrap();
                for c in &mut pod.spec.as_mut().unwrap().containers {
                    if let Some(resources) = new.get(&c.name) {
                        c.resources = Some(serde_json::from_value(resources.clone()).unwrap());
                    }
                }
            }
            "sleep" => return self.sleep(rest.parse().unwrap()),
            "conditions" => return self.conditions(),
            "show" => return self.show(rest),
            other => panic!("unknown command {other:?}"),
        }
        self.settle();
    }

    /// Commands that only set how later actions end; true if it was one.
    fn arrange(&mut self, word: &str, rest: &str) -> bool {
        match word {
            "fail" => {
                let (what, text) = rest.split_once(": ").unwrap_or((rest, "it broke"));
                let (reason, message) = text.split_once(" - ").unwrap_or(("", text));
                self.fails.insert(what.into(), Failure { reason: reason.into(), message: message.into() });
            }
            "mend" => drop(self.fails.remove(rest)),
            "idle" => drop(self.idle.insert(rest.into())),
            "count" => {
                let times = self.done.get(rest).copied().unwrap_or_default();
                self.log.push(format!("  {times} times"));
            }
            "hold" => drop(self.held.insert(rest.into())),
            "probe" => {
                let (what, verdict) = rest.split_once(": ").unwrap();
                let verdict = match verdict.split_once(' ').unwrap_or((verdict, "")) {
                    ("ok", _) => ProbeVerdict::Success,
                    ("fail", text) => ProbeVerdict::Failure(text.into()),
                    ("error", text) => ProbeVerdict::Error(text.into()),
                    other => panic!("verdict {other:?}"),
                };
                self.verdicts.insert(what.into(), verdict);
            }
            "stopcode" => self.stop_code = rest.parse().unwrap(),
            "absent" => drop(self.observed.images.insert(rest.into(), ImageState::Absent)),
            "invalid" => {
                let state = ImageState::Invalid("invalid reference format".into());
                self.observed.images.insert(rest.into(), state);
            }
            "reject" => {
                let (reason, message) = rest.split_once(": ").unwrap();
                let (reason, message) = (reason.into(), message.into());
                self.desired.verdict = Some(Verdict::Rejected { reason, message });
            }
            _ => return false,
        }
        true
    }

    /// What the node forgets when its daemon ends; memory goes through its file's form.
    fn restart_node(&mut self) {
        self.observed.in_flight.clear();
        self.waiting.clear();
        self.observed.mounted = false;
        let json = serde_json::to_string(&self.memory).unwrap();
        self.memory = serde_json::from_str(&json).unwrap();
    }

    fn pod(&mut self, json: &str) {
        let mut value: Value = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {json}"));
        value["metadata"] = serde_json::json!({"name": "p", "namespace": "ns", "uid": "u", "generation": 1});
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            for c in value["spec"][list].as_array_mut().into_iter().flatten() {
                c.as_object_mut().unwrap().entry("image").or_insert_with(|| "img:1".into());
            }
        }
        self.now = 1_000_000;
        let pod: Pod = serde_json::from_value(value).unwrap();
        for c in containers(&pod) {
            self.observed
                .images
                .entry(c.image().to_owned())
                .or_insert_with(|| ImageState::Present("ref".into()));
        }
        self.desired = Desired {
            pod: Arc::new(pod),
            host_ips: vec!["10.0.0.1".into()],
            runtime_name: "minke".into(),
            verdict: self.desired.verdict.take(),
            ..Desired::default()
        };
    }

    /// Steps until nothing happens any more.
    fn settle(&mut self) {
        for _ in 0..RESTLESS {
            let before = (self.memory.clone(), self.observed.in_flight.clone(), self.last.clone());
            let step = step(Time::from_secs(self.now), &self.desired, &self.observed, &self.memory);
            self.observed.finished.clear();
            self.observed.published =
                Arc::make_mut(&mut self.desired.pod).status.as_ref() == Some(&step.status);
            self.memory = step.memory;
            Arc::make_mut(&mut self.desired.pod).status = Some(step.status.clone());
            self.tell(&step.status);
            let quiet = step.actions.is_empty();
            for action in step.actions {
                self.execute(action);
            }
            let still = before == (self.memory.clone(), self.observed.in_flight.clone(), self.last.clone());
            if self.over {
                return;
            }
            if quiet && still && self.observed.finished.is_empty() && self.observed.published {
                return;
            }
        }
        self.log.push("  NEVER RESTS".into());
    }

    fn wake(&self) -> Option<i64> {
        let s = step(Time::from_secs(self.now), &self.desired, &self.observed, &self.memory);
        s.wake_at.map(|t| (t.0 + 999_999_999).div_euclid(1_000_000_000))
    }

    fn sleep(&mut self, seconds: i64) {
        let end = self.now + seconds;
        while let Some(at) = self.wake().filter(|at| *at <= end) {
            self.now = at.max(self.now + 1);
            if self.now > end {
                break;
            }
            let lines = self.log.len();
            self.settle();
            if self.log.len() > lines {
                self.log.insert(lines, format!("  [{}s]", self.now - 1_000_000));
            }
        }
        self.now = end;
        self.settle();
    }

    fn execute(&mut self, action: Action) {
        if let Action::EmitEvent(e) = &action {
            let kind = if e.kind == EventType::Normal { "N" } else { "W" };
            self.log.push(format!(
                "  event {kind} {} {}{}{}",
                e.reason,
                e.field_path,
                if e.field_path.is_empty() { "" } else { ": " },
                e.message
            ));
            return;
        }
        let name = self.title(&action);
        if !matches!(action, Action::RunProbe { .. }) {
            self.log.push(format!("  do {name}"));
        }
        let word = name.split(" grace").next().unwrap().split(" #").next().unwrap().to_owned();
        if self.held.contains(&word) {
            self.observed.in_flight.insert(action.key().unwrap());
            self.waiting.push(action);
            return;
        }
        self.finish(&word, &action);
    }

    fn release(&mut self, word: &str) {
        self.held.remove(word);
        for action in std::mem::take(&mut self.waiting) {
            let title = self.title(&action);
            if title.starts_with(word) {
                self.observed.in_flight.remove(&action.key().unwrap());
                self.finish(word, &action);
            } else {
                self.waiting.push(action);
            }
        }
    }

    fn finish(&mut self, word: &str, action: &Action) {
        let key = action.key().unwrap();
        *self.done.entry(word.to_owned()).or_default() += 1;
        let outcome = match self.fails.get(word) {
            Some(f) => Outcome::Failed(f.clone()),
            None if self.idle.contains(word) => Outcome::Done,
            None => self.effect(action),
        };
        self.observed.finished.push(Finished { key, outcome });
    }

    fn title(&self, action: &Action) -> String {
        let name = |id: &str| {
            self.observed.containers.iter().find(|c| c.id == id).map_or(id.to_owned(), |c| c.name.clone())
        };
        match action {
            Action::Prepare => "prepare".into(),
            Action::MountVolumes => "mount".into(),
            Action::CreateSandbox { attempt } => format!("sandbox #{attempt}"),
            Action::StopSandbox { id } => format!("stop-sandbox #{id}"),
            Action::RemoveSandbox { id } => format!("remove-sandbox #{id}"),
            Action::PullImage { image, .. } => format!("pull {image}"),
            Action::CreateContainer { container, restart_count, .. } => {
                format!("create {container} #{restart_count}")
            }
            Action::StartContainer { container, .. } => format!("start {container}"),
            Action::StopContainer { container, grace, .. } => format!("stop {container} grace {grace}"),
            Action::RemoveContainer { id } => format!("remove {}", name(id)),
            Action::RunHook { container, hook, timeout, .. } => {
                let hook = if *hook == Hook::PostStart { "postStart" } else { "preStop" };
                format!("{hook} {container}{}", timeout.map_or(String::new(), |t| format!(" grace {t}")))
            }
            Action::RunProbe { container, probe, .. } => {
                format!("probe {container} {}", crate::text::probe_word(*probe))
            }
            Action::UnmountVolumes => "unmount".into(),
            Action::RemoveCgroup => "remove-cgroup".into(),
            Action::DeleteFromApi => "delete".into(),
            Action::Forget => "forget".into(),
            Action::Allocate { .. } => "allocate".into(),
            Action::Resize { running, .. } => {
                let names: Vec<&str> = running.iter().map(|(_, name)| name.as_str()).collect();
                format!("resize [{}]", names.join(" "))
            }
            Action::EmitEvent(_) => String::new(),
        }
    }

    fn effect(&mut self, action: &Action) -> Outcome {
        let now = Time::from_secs(self.now);
        match action {
            Action::Prepare => self.observed.prepared = true,
            Action::MountVolumes => self.observed.mounted = true,
            Action::CreateSandbox { attempt } => {
                self.ids += 1;
                let host_network = self.desired.pod.spec.as_ref().unwrap().host_network == Some(true);
                let ips = if host_network { vec![] } else { vec![format!("10.1.0.{}", self.ids)] };
                let id = format!("s{}", self.ids);
                self.observed.sandboxes.push(Sandbox {
                    id,
                    attempt: *attempt,
                    ready: true,
                    created_at: now,
                    host_network,
                    ips,
                });
            }
            Action::StopSandbox { id } => {
                self.observed.sandboxes.iter_mut().filter(|s| s.id == *id).for_each(|s| s.ready = false);
                let gone = |c: &&mut Container| c.sandbox_id == *id && c.state == ContainerState::Running;
                self.observed.containers.iter_mut().filter(gone).for_each(|c| {
                    c.state = ContainerState::Exited;
                    c.exit_code = 137;
                    c.finished_at = now;
                });
            }
            Action::RemoveSandbox { id } => self.observed.sandboxes.retain(|s| s.id != *id),
            Action::PullImage { image, .. } => {
                self.observed.images.insert(image.clone(), ImageState::Present("ref".into()));
                let (took, waited) = (Duration::from_millis(1500), Duration::from_millis(2000));
                return Outcome::Pulled { image_ref: "ref".into(), took, waited, size: 42 };
            }
            Action::CreateContainer { container, sandbox, restart_count, image_ref, .. } => {
                self.create(container, sandbox, *restart_count, image_ref);
            }
            Action::StartContainer { id, .. } => self.change(id, |c| {
                c.state = ContainerState::Running;
                c.started_at = now;
            }),
            Action::StopContainer { id, .. } => {
                let code = self.stop_code;
                self.change(id, |c| {
                    c.state = ContainerState::Exited;
                    c.exit_code = code;
                    c.finished_at = now;
                });
            }
            Action::RemoveContainer { id } => self.observed.containers.retain(|c| c.id != *id),
            Action::RunProbe { container, probe, .. } => {
                let key = format!("{container} {}", crate::text::probe_word(*probe));
                return Outcome::Probed(self.verdicts.get(&key).cloned().unwrap_or(ProbeVerdict::Success));
            }
            Action::DeleteFromApi => self.desired.gone = true,
            Action::Forget => self.over = true,
            _ => {}
        }
        Outcome::Done
    }

    fn create(&mut self, container: &str, sandbox: &str, restart_count: u32, image_ref: &str) {
        let now = Time::from_secs(self.now);
        self.ids += 1;
        let image =
            containers(&self.desired.pod).iter().find(|c| c.name() == container).unwrap().image().to_owned();
        self.observed.containers.push(Container {
            id: format!("c{}", self.ids),
            sandbox_id: sandbox.to_owned(),
            name: container.to_owned(),
            attempt: restart_count,
            image_spec: image.clone(),
            image,
            image_ref: image_ref.to_owned(),
            resources: self.memory.allocated.as_ref().and_then(|a| a.get(container)).cloned(),
            created_at: now.plus(Duration::from_nanos(u64::from(self.ids))),
            ..Container::default()
        });
    }

    fn change(&mut self, id: &str, f: impl FnOnce(&mut Container)) {
        f(self.observed.containers.iter_mut().find(|c| c.id == id).unwrap());
    }

    fn exit(&mut self, name: &str, code: i32, reason: &str) {
        let now = Time::from_secs(self.now);
        let live = |c: &&mut Container| c.name == name && c.state == ContainerState::Running;
        let Some(c) = self.observed.containers.iter_mut().find(live) else {
            return self.log.push(format!("  {name} DOES NOT RUN"));
        };
        c.state = ContainerState::Exited;
        c.exit_code = code;
        c.finished_at = now;
        reason.clone_into(&mut c.reason);
    }

    fn lose_sandbox(&mut self) {
        let now = Time::from_secs(self.now);
        self.observed.sandboxes.iter_mut().for_each(|s| s.ready = false);
        for c in self.observed.containers.iter_mut().filter(|c| c.state == ContainerState::Running) {
            c.state = ContainerState::Exited;
            c.exit_code = 255;
            c.reason = "Unknown".into();
            c.finished_at = now;
        }
    }

    fn tell(&mut self, s: &PodStatus) {
        let lists = [&s.init_container_statuses, &s.container_statuses, &s.ephemeral_container_statuses];
        let each: Vec<String> = lists.into_iter().flatten().flatten().map(container_line).collect();
        let line = format!(
            "  = {}{} {}",
            s.phase.as_deref().unwrap_or("-"),
            s.reason.as_ref().map_or(String::new(), |r| format!("({r})")),
            each.join(" ")
        );
        if line != self.last {
            self.log.push(line.clone());
            self.last = line;
        }
    }

    fn conditions(&mut self) {
        let status = self.memory.status.clone().unwrap_or_default();
        for c in status.conditions.iter().flatten() {
            let mut line = format!("  {}={}", c.type_, c.status);
            for part in [&c.reason, &c.message].into_iter().flatten() {
                line.push_str(&format!(" {part}"));
            }
            self.log.push(line);
        }
    }

    /// The messages of a container's states.
    fn show(&mut self, name: &str) {
        let status = self.memory.status.clone().unwrap_or_default();
        let lists = [
            &status.init_container_statuses,
            &status.container_statuses,
            &status.ephemeral_container_statuses,
        ];
        for s in lists.into_iter().flatten().flatten().filter(|s| s.name == name) {
            self.log.push(format!("  {}", serde_json::to_string(s).unwrap()));
        }
    }
}

fn state_word(s: Option<&State>) -> String {
    let Some(s) = s else { return "none".into() };
    if let Some(w) = &s.waiting {
        return format!("waiting:{}", w.reason.as_deref().unwrap_or("-"));
    }
    if let Some(t) = &s.terminated {
        return format!("{}:{}", t.reason.as_deref().unwrap_or("-"), t.exit_code);
    }
    if s.running.is_some() { "running".into() } else { "none".into() }
}

fn container_line(s: &ContainerStatus) -> String {
    let mut out = format!("{}={}", s.name, state_word(s.state.as_ref()));
    if s.last_state.as_ref().is_some_and(|l| l.terminated.is_some()) {
        out.push_str(&format!(",last={}", state_word(s.last_state.as_ref())));
    }
    if s.restart_count > 0 {
        out.push_str(&format!(",restarts={}", s.restart_count));
    }
    if s.ready {
        out.push_str(",ready");
    } else if s.started == Some(true) {
        out.push_str(",started");
    }
    out
}

#[test]
fn a_key_names_every_action_but_events() {
    assert_eq!(Action::Prepare.key(), Some(Key::Prepare));
    let probe = Action::RunProbe { id: "x".into(), container: "a".into(), probe: ProbeKind::Liveness };
    assert_eq!(probe.key(), Some(Key::Probe(ProbeKind::Liveness, "x".into())));
}

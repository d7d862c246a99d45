//! Carries one action out. Chooses nothing: what to do and when comes from the machine.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod, PodSpec, Probe};
use lifecycle::{Action, Failure, Finished, Hook, Outcome, ProbeKind};
use net::{HostPort, PodName, Protocol};
use runtime::{NamespaceMode, SandboxSpec};

use super::make::Making;
use super::write_in_place;
use crate::calls;
use crate::config::Shared;
use crate::container::{dns, hosts, resources};
use crate::credentials;
use crate::probes::Place;
use crate::resolver;
use crate::volumes::{HostPaths, ImageLayers, MountError};

/// An ended action and what the actor keeps of it.
pub(super) struct Done {
    pub(super) finished: Finished,
    pub(super) effect: Effect,
}

/// What an action leaves for the actor.
pub(super) enum Effect {
    None,
    Prepared,
    Volumes(HostPaths),
    Unmounted,
    Sandbox(String, Vec<String>),
}

/// The surroundings of one action.
pub(super) struct Work {
    pub(super) shared: Arc<Shared>,
    pub(super) pod: Arc<Pod>,
    pub(super) uid: String,
    pub(super) ips: Vec<String>,
    pub(super) volumes: Option<Arc<HostPaths>>,
}

pub(super) fn failed(reason: &str, message: impl ToString) -> Outcome {
    Outcome::Failed(Failure { reason: reason.into(), message: message.to_string() })
}

fn done<E: ToString>(result: Result<(), E>) -> Outcome {
    result.map_or_else(|e| failed("", e), |()| Outcome::Done)
}

impl Work {
    pub(super) async fn run(&self, action: Action) -> (Outcome, Effect) {
        let runtime = &self.shared.config.runtime;
        let outcome = match action {
            Action::Prepare => {
                return match self.prepare().await {
                    Ok(()) => (Outcome::Done, Effect::Prepared),
                    Err(e) => (failed("", e), Effect::None),
                };
            }
            Action::MountVolumes => {
                return match self.mount().await {
                    Ok(paths) => (Outcome::Done, Effect::Volumes(paths)),
                    Err(e) => (failed(&e.volume, &e.message), Effect::None),
                };
            }
            Action::CreateSandbox { attempt } => {
                return match self.sandbox(attempt).await {
                    Ok((id, ips)) => (Outcome::Done, Effect::Sandbox(id, ips)),
                    Err(e) => (failed("", e), Effect::None),
                };
            }
            Action::UnmountVolumes => {
                return match self.shared.volumes.teardown(&self.uid).await {
                    Ok(()) => (Outcome::Done, Effect::Unmounted),
                    Err(e) => (failed(&e.volume, &e.message), Effect::None),
                };
            }
            Action::StopSandbox { id } => self.stop_sandbox(&id).await,
            Action::RemoveSandbox { id } => done(runtime.remove_sandbox(&id).await),
            Action::PullImage { image, .. } => self.pull(&image).await,
            Action::CreateContainer { .. } => self.create(action).await,
            Action::StartContainer { id, .. } => done(runtime.start_container(&id).await),
            Action::StopContainer { id, grace, .. } => done(
                runtime.stop_container(&id, Duration::from_secs(u64::try_from(grace).unwrap_or(2))).await,
            ),
            Action::RemoveContainer { id } => done(runtime.remove_container(&id).await),
            Action::RunHook { id, container, hook, timeout } => match self.container(&container) {
                Some(c) => self.hook(&id, &c, (hook, timeout)).await,
                None => Outcome::Done,
            },
            Action::RunProbe { id, container, probe } => self.probe(&id, &container, probe).await,
            Action::RemoveCgroup => done(runtime.remove_cgroup(&self.cgroup()).await),
            Action::DeleteFromApi => self.delete().await,
            Action::Allocate { resources } => self.allocate(&resources),
            Action::Resize { running, from } => self.resize(&running, &from).await,
            Action::Forget | Action::EmitEvent(_) => Outcome::Done,
        };
        (outcome, Effect::None)
    }

    fn ip(&self) -> &str {
        self.ips.first().map(String::as_str).unwrap_or_default()
    }

    fn place<'w>(&'w self, id: &'w str, container: &'w Container) -> Place<'w> {
        Place { runtime: &*self.shared.config.runtime, id, container, ip: self.ip() }
    }

    pub(super) fn cgroup(&self) -> String {
        resources::pod_cgroup(&self.shared.config.cgroup_root, &self.pod)
    }

    pub(super) fn container(&self, name: &str) -> Option<Container> {
        lifecycle::containers(&self.pod).into_iter().find(|c| c.name() == name).map(|c| c.spec.into_owned())
    }

    fn meta(&self) -> (&str, &str) {
        let m = &self.pod.metadata;
        (m.namespace.as_deref().unwrap_or_default(), m.name.as_deref().unwrap_or_default())
    }

    /// cgroup, directories and the files that do not change while the Pod lives.
    async fn prepare(&self) -> Result<(), String> {
        let runtime = &self.shared.config.runtime;
        runtime
            .apply_cgroup(&self.cgroup(), &resources::of_pod(&self.pod))
            .await
            .map_err(|e| e.to_string())?;
        let (ns, name) = self.meta();
        let dir = self.shared.pod_dir(&self.uid);
        let logs = self.shared.log_dir(ns, name, &self.uid);
        for d in [dir.join("volumes"), dir.join(super::make::LAST_WORDS), logs] {
            std::fs::create_dir_all(&d).map_err(|e| format!("mkdir {}: {e}", d.display()))?;
        }
        let mode = std::fs::Permissions::from_mode(0o750);
        std::fs::set_permissions(&dir, mode).map_err(|e| format!("chmod {}: {e}", dir.display()))?;
        let config = &self.shared.config;
        let host_network = self.pod.spec.as_ref().is_some_and(|s| s.host_network == Some(true));
        let host = resolver::of_pods(config.resolv_conf.as_deref(), host_network);
        let cluster = dns::ClusterDns {
            servers: config.cluster_dns.iter().map(ToString::to_string).collect(),
            domain: config.cluster_domain.clone(),
        };
        let dns = dns::of_pod(&self.pod, &host, &cluster);
        self.tell_dns(&dns);
        let (hostname, _) = hosts::hostname(&self.pod, &config.cluster_domain);
        write_in_place(&dir.join("resolv.conf"), &dns.resolver.text())?;
        write_in_place(&dir.join("hostname"), &format!("{hostname}\n"))
    }

    fn tell_dns(&self, dns: &dns::Outcome) {
        let say = |reason: &str, message: String| {
            let event = lifecycle::Event {
                kind: lifecycle::EventType::Warning,
                reason: reason.into(),
                message,
                field_path: String::new(),
            };
            self.shared.events.say(super::about(&self.pod), event);
        };
        if dns.missing_cluster_dns {
            let (ns, name) = self.meta();
            let pod = format!("{name}_{ns}({})", self.uid);
            let text = "kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. \
                        Falling back to \"Default\" policy.";
            say("MissingClusterDNS", format!("pod: {pod:?}. {text}"));
        }
        dns.warnings.iter().for_each(|w| say("DNSConfigForming", w.clone()));
    }

    async fn hook(&self, id: &str, c: &Container, (hook, timeout): (Hook, Option<i64>)) -> Outcome {
        match self.place(id, c).hook(hook, timeout).await {
            Ok(told) => {
                let warning = told.map(|message| lifecycle::Event {
                    kind: lifecycle::EventType::Warning,
                    reason: "LifecycleHTTPFallback".into(),
                    message,
                    field_path: String::new(),
                });
                warning.into_iter().for_each(|w| self.shared.events.say(super::about(&self.pod), w));
                Outcome::Done
            }
            Err(e) => failed("", e),
        }
    }

    /// The runtime has one handler, of its own name.
    async fn handler(&self, spec: &PodSpec) -> Result<(), String> {
        let Some(class) = spec.runtime_class_name.as_deref().filter(|c| !c.is_empty()) else { return Ok(()) };
        let Some(api) = &self.shared.config.api else {
            return Err(format!("RuntimeClass {class:?} cannot be read without an API server"));
        };
        let found = calls::get(&**api, calls::target(calls::RUNTIME_CLASSES, "", class)).await;
        let found = found.map_err(|e| format!("failed to get runtime handler: {e}"))?;
        let handler = found["handler"].as_str().unwrap_or_default();
        if handler == self.shared.config.runtime.version().0 {
            return Ok(());
        }
        Err(format!("failed to get sandbox runtime: no runtime for {handler:?} is configured"))
    }

    /// All volumes, after the images that some of them show were pulled under their own policy.
    async fn mount(&self) -> Result<HostPaths, MountError> {
        let mut layers = ImageLayers::new();
        for (volume, source) in self.shared.volumes.images_needed(&self.pod) {
            let reference = source.reference.as_deref().unwrap_or_default();
            let policy = source.pull_policy.as_deref().unwrap_or("IfNotPresent");
            let here = self.shared.config.images.resolve(reference);
            let image = match here {
                Some(image) if policy != "Always" => Ok(image),
                None if policy == "Never" => {
                    Err(format!("Container image {reference:?} is not present with pull policy of Never"))
                }
                _ => self.pull_image(reference).await,
            };
            let image = image.map_err(|message| MountError { volume: volume.to_owned(), message })?;
            layers.insert(volume.to_owned(), image.layers);
        }
        self.shared.volumes.setup(&self.pod, &layers).await
    }

    async fn pull_image(&self, reference: &str) -> Result<images::Image, String> {
        let credentials = credentials::of(&self.shared, &self.pod).await;
        let pulled = self.shared.pulls.pull(reference, &credentials).await;
        pulled.map(|p| p.image).map_err(|e| format!("Failed to pull image {reference:?}: {}", chain(&e)))
    }

    async fn sandbox(&self, attempt: u32) -> Result<(String, Vec<String>), String> {
        let spec = self.pod.spec.clone().unwrap_or_default();
        let host_network = spec.host_network == Some(true);
        if spec.host_users == Some(false) {
            return Err("hostUsers: false: this runtime does not support user namespaces".into());
        }
        self.handler(&spec).await?;
        let attached = if host_network {
            None
        } else {
            let (namespace, name) = self.meta();
            let pod = PodName { namespace, name, uid: &self.uid };
            let attach = self.shared.config.network.attach(pod, &host_ports(&spec)).await;
            Some(attach.map_err(|e| format!("failed to setup network for sandbox: {}", chain(&e)))?)
        };
        let (netns, ips) = match attached {
            Some(a) => (Some(a.netns), a.ips.iter().map(ToString::to_string).collect()),
            None => (None, Vec::new()),
        };
        let sandbox = self.sandbox_spec(&spec, attempt, netns)?;
        match self.shared.config.runtime.run_sandbox(sandbox).await {
            Ok(status) => Ok((status.id, ips)),
            Err(e) => {
                if !host_network && let Err(e) = self.shared.config.network.detach(&self.uid).await {
                    tracing::warn!(uid = self.uid, "network not given back: {e}");
                }
                Err(e.to_string())
            }
        }
    }

    fn sandbox_spec(
        &self,
        spec: &PodSpec,
        attempt: u32,
        netns: Option<std::os::fd::OwnedFd>,
    ) -> Result<SandboxSpec, String> {
        let (ns, name) = self.meta();
        let hostname = hosts::kernel_hostname(&self.pod, &self.shared.config.cluster_domain)?;
        let sysctls = spec.security_context.as_ref().and_then(|s| s.sysctls.as_ref());
        let labels = [
            ("io.kubernetes.pod.name", name),
            ("io.kubernetes.pod.namespace", ns),
            ("io.kubernetes.pod.uid", &self.uid),
        ];
        Ok(SandboxSpec {
            name: name.into(),
            namespace: ns.into(),
            uid: self.uid.clone(),
            attempt,
            hostname: if netns.is_none() { String::new() } else { hostname },
            log_directory: self.shared.log_dir(ns, name, &self.uid),
            netns,
            host_ipc: spec.host_ipc == Some(true),
            pid: if spec.host_pid == Some(true) {
                NamespaceMode::Node
            } else if spec.share_process_namespace == Some(true) {
                NamespaceMode::Pod
            } else {
                NamespaceMode::Container
            },
            cgroup_parent: self.cgroup(),
            sysctls: sysctls.into_iter().flatten().map(|s| (s.name.clone(), s.value.clone())).collect(),
            shm_size: None,
            labels: labels.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect::<BTreeMap<_, _>>(),
        })
    }

    async fn stop_sandbox(&self, id: &str) -> Outcome {
        if let Err(e) = self.shared.config.runtime.stop_sandbox(id).await {
            return failed("", e);
        }
        let host_network = self.pod.spec.as_ref().is_some_and(|s| s.host_network == Some(true));
        if host_network {
            return Outcome::Done;
        }
        done(self.shared.config.network.detach(&self.uid).await.map_err(|e| chain(&e)))
    }

    async fn pull(&self, image: &str) -> Outcome {
        let credentials = credentials::of(&self.shared, &self.pod).await;
        match self.shared.pulls.pull(image, &credentials).await {
            Ok(p) => Outcome::Pulled {
                image_ref: crate::pulls::image_ref(&p.image),
                took: p.took,
                waited: p.waited,
                size: p.image.size,
            },
            Err(e @ images::PullError::InvalidName { .. }) => failed("InvalidImageName", chain(&e)),
            Err(e) => failed("ErrImagePull", chain(&e)),
        }
    }

    async fn create(&self, action: Action) -> Outcome {
        let Action::CreateContainer { container, sandbox, restart_count, target, .. } = action else {
            return Outcome::Done;
        };
        let Some(c) = self.container(&container) else {
            return failed(
                "CreateContainerConfigError",
                format!("container {container:?} is not in the Pod"),
            );
        };
        let Some(image) = self.shared.config.images.resolve(c.image.as_deref().unwrap_or_default()) else {
            return failed(
                "CreateContainerError",
                format!("image {:?} is gone", c.image.as_deref().unwrap_or_default()),
            );
        };
        let none = HostPaths::new();
        let making = Making {
            shared: &self.shared,
            pod: &self.pod,
            container: &c,
            restart_count,
            target,
            image: &image,
            pod_ips: &self.ips,
            volumes: self.volumes.as_deref().unwrap_or(&none),
        };
        match making.build().await {
            Ok(spec) => match self.shared.config.runtime.create_container(&sandbox, spec).await {
                Ok(_) => Outcome::Done,
                Err(e) => failed("CreateContainerError", e),
            },
            Err(e) => failed(e.reason, e.message),
        }
    }

    async fn probe(&self, id: &str, container: &str, kind: ProbeKind) -> Outcome {
        let Some(c) = self.container(container) else { return failed("", "no such container") };
        let probe: Option<Probe> = match kind {
            ProbeKind::Startup => c.startup_probe.clone(),
            ProbeKind::Liveness => c.liveness_probe.clone(),
            ProbeKind::Readiness => c.readiness_probe.clone(),
        };
        match probe {
            Some(p) => Outcome::Probed(self.place(id, &c).probe(&p).await),
            None => failed("", "no such probe"),
        }
    }

    async fn delete(&self) -> Outcome {
        let Some(api) = &self.shared.config.api else { return Outcome::Done };
        let (ns, name) = self.meta();
        match calls::delete_now(&**api, calls::target(calls::PODS, ns, name), &self.uid).await {
            Ok(_) => Outcome::Done,
            // Gone, or its name belongs to another Pod now.
            Err(e) if e.code == 404 || e.code == 409 => Outcome::Done,
            Err(e) => failed("", e),
        }
    }
}

/// An error with its causes.
pub(crate) fn chain(e: &dyn std::error::Error) -> String {
    let mut out = e.to_string();
    let mut cause = e.source();
    while let Some(c) = cause {
        let text = c.to_string();
        if !out.contains(&text) {
            out = format!("{out}: {text}");
        }
        cause = c.source();
    }
    out
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.flat_map(|c| c.ports.iter().flatten()).filter_map(host_port).collect()
}

fn host_port(p: &ContainerPort) -> Option<HostPort> {
    let host_port = p.host_port.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0)?;
    let ip: Option<std::net::IpAddr> = p.host_ip.as_ref().and_then(|ip| ip.parse().ok());
    Some(HostPort {
        host_ip: ip.filter(|ip| !ip.is_unspecified()),
        host_port,
        container_port: u16::try_from(p.container_port).ok()?,
        protocol: match p.protocol.as_deref() {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Tcp,
        },
    })
}

//! What the machine is shown: the runtime's sandboxes and containers of this Pod, images, logs.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use lifecycle::{Container, ContainerState, ImageState, Observed, Sandbox, Time};
use runtime::{ContainerStatus, RuntimeError, SandboxState};

use super::Body;
use super::make::{IMAGE_FIELD, RESOURCES, last_words};
use crate::pulls::image_ref;

impl Body {
    /// Takes over sandboxes that lived before this start of the daemon.
    pub(super) async fn adopt(&mut self) {
        let Ok(all) = self.shared.config.runtime.sandboxes(Some(&self.uid)).await else { return };
        for s in all.iter().filter(|s| s.state == SandboxState::Ready && !s.host_network) {
            let Some(pid) = s.pid else { continue };
            let path = format!("/proc/{pid}/ns/net");
            match self.shared.config.network.adopt(&self.uid, Path::new(&path)).await {
                Ok(at) => {
                    self.ips.insert(s.id.clone(), at.ips.iter().map(ToString::to_string).collect());
                }
                Err(e) => tracing::warn!(uid = self.uid, "the sandbox has lost its network: {e}"),
            }
        }
    }

    pub(super) async fn observe(&mut self, pod: &Pod) -> Result<Observed, RuntimeError> {
        let runtime = self.shared.config.runtime.clone();
        let mut out = Observed {
            prepared: self.prepared,
            mounted: self.volumes.is_some(),
            in_flight: self.in_flight.clone(),
            ..Observed::default()
        };
        self.seen = (None, BTreeMap::new());
        for s in runtime.sandboxes(Some(&self.uid)).await? {
            for c in runtime.containers(Some(&s.id)).await? {
                self.seen.1.entry(c.name.clone()).or_default().push(c.clone());
                if c.state == runtime::ContainerState::Exited && !self.messages.contains_key(&c.id) {
                    self.messages.insert(c.id.clone(), last_words(pod, &c));
                }
                let message = self.messages.get(&c.id).cloned().unwrap_or_default();
                out.containers.push(self.container(c, message));
            }
            let ready = s.state == SandboxState::Ready;
            if ready {
                self.seen.0 = Some(s.id.clone());
            } else {
                self.ips.remove(&s.id);
            }
            out.sandboxes.push(Sandbox {
                ips: self.ips.get(&s.id).cloned().unwrap_or_default(),
                ready,
                attempt: s.attempt,
                created_at: Time(s.created_at),
                host_network: s.host_network,
                id: s.id,
            });
        }
        for list in self.seen.1.values_mut() {
            list.sort_by_key(|c| std::cmp::Reverse((c.created_at, c.attempt)));
        }
        self.messages.retain(|id, _| out.containers.iter().any(|c| c.id == *id));
        let log_dir = self.shared.log_dir(
            pod.metadata.namespace.as_deref().unwrap_or_default(),
            pod.metadata.name.as_deref().unwrap_or_default(),
            &self.uid,
        );
        for ctr in lifecycle::containers(pod) {
            out.images.entry(ctr.image().to_owned()).or_insert_with_key(|image| self.image(image));
            if !out.containers.iter().any(|c| c.name == ctr.name()) {
                out.next_log.insert(ctr.name().to_owned(), next_log(&log_dir.join(ctr.name())));
            }
        }
        Ok(out)
    }

    fn image(&self, name: &str) -> ImageState {
        match self.shared.config.images.resolve(name) {
            Some(image) => ImageState::Present(image_ref(&image)),
            None => match images::Name::parse(name) {
                Ok(_) => ImageState::Absent,
                Err(e) => ImageState::Invalid(e.to_string()),
            },
        }
    }

    fn container(&self, c: ContainerStatus, message: String) -> Container {
        let resources = c.labels.get(RESOURCES).and_then(|json| serde_json::from_str(json).ok());
        let image_spec = c.labels.get(IMAGE_FIELD).cloned().unwrap_or_else(|| c.image.clone());
        Container {
            state: match c.state {
                runtime::ContainerState::Created => ContainerState::Created,
                runtime::ContainerState::Running => ContainerState::Running,
                runtime::ContainerState::Exited => ContainerState::Exited,
            },
            id: c.id,
            sandbox_id: c.sandbox_id,
            name: c.name,
            attempt: c.attempt,
            image_spec,
            image: c.image,
            image_ref: c.image_ref,
            created_at: Time(c.created_at),
            started_at: Time(c.started_at),
            finished_at: Time(c.finished_at),
            exit_code: c.exit_code,
            reason: c.reason,
            message,
            user: c.user,
            resources,
        }
    }
}

/// One more than the highest number among `N.log`.
fn next_log(dir: &Path) -> u32 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|e| e.file_name().to_str()?.split('.').next()?.parse::<u32>().ok());
    numbers.max().map_or(0, |n| n + 1)
}

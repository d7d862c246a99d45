//! Registry credentials of a Pod: its imagePullSecrets, as the node may read them.

use base64::Engine as _;
use images::Credential;
use k8s_openapi::api::core::v1::Pod;

use crate::actor::about;
use crate::calls;
use crate::config::Shared;

/// All credentials that can be read; what cannot is told as an Event and left out.
pub(crate) async fn of(shared: &Shared, pod: &Pod) -> Vec<Credential> {
    let mut out = Vec::new();
    let mut missing = Vec::new();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    for secret in pod.spec.iter().flat_map(|s| s.image_pull_secrets.iter().flatten()) {
        let name = &secret.name;
        let Some(api) = &shared.config.api else {
            missing.push(name.clone());
            continue;
        };
        match calls::get(&**api, calls::target(calls::SECRETS, namespace, name)).await {
            Ok(object) => match parse(&object) {
                Ok(list) => out.extend(list),
                Err(e) => tracing::warn!("imagePullSecret {namespace}/{name}: {e}"),
            },
            Err(e) => {
                tracing::debug!("imagePullSecret {namespace}/{name}: {e}");
                missing.push(name.clone());
            }
        }
    }
    if !missing.is_empty() {
        let message = format!(
            "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
            missing.join(", ")
        );
        let reason = "FailedToRetrieveImagePullSecret".to_owned();
        shared.events.say(
            about(pod),
            lifecycle::Event {
                kind: lifecycle::EventType::Warning,
                reason,
                message,
                field_path: String::new(),
            },
        );
    }
    out
}

fn parse(secret: &serde_json::Value) -> Result<Vec<Credential>, String> {
    let data = &secret["data"];
    let text = data[".dockerconfigjson"]
        .as_str()
        .or_else(|| data[".dockercfg"].as_str())
        .ok_or("no docker configuration in it")?;
    let json = base64::engine::general_purpose::STANDARD.decode(text).map_err(|e| e.to_string())?;
    images::parse_docker_config(&json)
}

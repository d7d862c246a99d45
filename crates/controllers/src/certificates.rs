//! Requests for certificates: approves nodes' own, signs what is approved, removes what is old; what it decides is
//! `kinds::certificatesigningrequest::reconcile`.
//!
//! Invariant: the key of the cluster's CA is not here, only somebody who signs with it. Upstream runs four controllers under the
//! one account.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Answer, Delta, Gvr, Status, Target, Verb};
use kinds::Catalogue;
use kinds::certificatesigningrequest::reconcile::{Next, RequestView, concluded, next, removed, signed};
use kinds::certificatesigningrequest::{APPROVED, FAILED, KIND as REQUESTS};
use kinds::node::KIND as NODES;
use kinds::plan::Plan;
use serde_json::{Value, json};

use crate::context::{Context, plain};
use crate::driver::{Controller, Key, Turn};
use crate::reconcile::resources;

/// What is to be signed.
#[derive(Debug)]
pub struct ToSign<'a> {
    /// The request, PEM.
    pub request: &'a [u8],
    /// What the certificate is good for, as `spec.usages` names it.
    pub usages: &'a [String],
    /// For how many seconds from now.
    pub seconds: i64,
}

/// Signs with the cluster's CA: the certificate in PEM, or why not.
pub type Sign = Arc<dyn Fn(&ToSign<'_>) -> Result<String, String> + Send + Sync>;

/// The controller.
pub(crate) struct Certificates {
    pub(crate) sign: Sign,
}

#[async_trait]
impl Controller for Certificates {
    fn name(&self) -> &'static str {
        "certificate-controller"
    }

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&REQUESTS])
    }

    fn keys(&self, _: &Context, delta: &Delta) -> Vec<Key> {
        vec![Key::of(delta)]
    }

    async fn sync(&self, context: &Context, key: &Key) -> Turn {
        let Some(object) = context.read::<Value>(&REQUESTS, "", &key.name)? else { return Ok(None) };
        let csr: RequestView = serde_json::from_value(object.clone())?;
        let node = csr.spec.username.strip_prefix("system:node:").unwrap_or_default();
        let node = context.read::<Value>(&NODES, "", node)?;
        let now = context.now();
        let plan = match next(now, &csr, node.as_ref()) {
            Next::Wait(until) => return Ok(until),
            Next::Remove => removed(&csr),
            Next::Ask { subresource, message } => match may(context, &csr, subresource).await? {
                true => concluded(now, object, APPROVED, "AutoApproved", message),
                // Somebody else may approve it; it is looked at again with its next change.
                false => Plan::default(),
            },
            Next::Approve(message) => concluded(now, object, APPROVED, "AutoApproved", message),
            Next::Refuse(why) => concluded(now, object, FAILED, "SignerValidationFailure", &why),
            Next::Sign(seconds) => match self.sign(&csr, seconds) {
                Ok(certificate) => signed(object, &certificate),
                Err(why) => concluded(now, object, FAILED, "SignerValidationFailure", &why),
            },
        };
        context.execute(plan).await
    }
}

impl Certificates {
    fn sign(&self, csr: &RequestView, seconds: i64) -> Result<String, String> {
        let request = STANDARD.decode(&csr.spec.request).map_err(|error| error.to_string())?;
        let pem = (self.sign)(&ToSign { request: &request, usages: &csr.spec.usages, seconds })?;
        Ok(STANDARD.encode(pem))
    }
}

/// Whether who asks may create that subresource of requests: by it an administrator says whose requests are approved.
async fn may(context: &Context, csr: &RequestView, subresource: &str) -> Result<bool, Status> {
    let spec = &csr.spec;
    let review = json!({"spec": {
        "user": spec.username, "uid": spec.uid, "groups": spec.groups, "extra": spec.extra,
        "resourceAttributes": {"group": REQUESTS.group, "resource": REQUESTS.plural, "verb": "create",
            "subresource": subresource}}});
    let target = Target {
        gvr: Gvr::new("authorization.k8s.io", "v1", "subjectaccessreviews"),
        namespace: String::new(),
        name: String::new(),
        subresource: String::new(),
    };
    let answer = context.call(plain(target, Verb::Create(review))).await.and_then(Answer::value)?;
    Ok(answer["status"]["allowed"] == true)
}

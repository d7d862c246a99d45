//! What the server sets in a Job: status, selector and labels (`pkg/registry/batch/job/strategy.go`).

use serde_json::Value;

use super::default::inherit_labels;
use crate::value::{child, default_to, is_true, text};

/// The label, and the matchLabel, that ties Pods to a Job: its uid.
pub const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
/// The label with the Job's name.
pub const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// [`CONTROLLER_UID`] before it had a domain; both are set.
pub const LEGACY_CONTROLLER_UID: &str = "controller-uid";
/// [`JOB_NAME`] before it had a domain; both are set.
pub const LEGACY_JOB_NAME: &str = "job-name";

/// No status, and unless `manualSelector` says otherwise, the selector and the template's labels. What the user set
/// there stays, and is refused by validation if it differs.
pub(super) fn prepare_create(job: &mut Value) {
    if is_true(&job["spec"]["manualSelector"]) {
        return;
    }
    let uid = text(&job["metadata"]["uid"]).to_owned();
    let name = text(&job["metadata"]["name"]).to_owned();
    let spec = child(job, "spec");
    let labels = child(child(child(spec, "template"), "metadata"), "labels");
    for (key, value) in
        [(LEGACY_JOB_NAME, &name), (JOB_NAME, &name), (LEGACY_CONTROLLER_UID, &uid), (CONTROLLER_UID, &uid)]
    {
        default_to(labels, key, value.as_str());
    }
    default_to(child(child(spec, "selector"), "matchLabels"), CONTROLLER_UID, uid);
    inherit_labels(job);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selector_and_labels_are_made_from_the_uid() {
        let mut job = json!({"metadata": {"name": "j", "uid": "u"}, "status": {"active": 3},
                             "spec": {"template": {"metadata": {"labels": {"app": "x"}}}}});
        super::super::KIND.prepare_create(&mut job);
        assert_eq!(job["status"], json!({}));
        assert_eq!(job["spec"]["selector"], json!({"matchLabels": {CONTROLLER_UID: "u"}}));
        let labels = json!({"app": "x", "controller-uid": "u", "batch.kubernetes.io/controller-uid": "u",
                            "job-name": "j", "batch.kubernetes.io/job-name": "j"});
        assert_eq!(job["spec"]["template"]["metadata"]["labels"], labels);
        assert_eq!(job["metadata"]["labels"], labels);
        let manual = json!({"metadata": {"uid": "u"}, "spec": {"manualSelector": true}, "status": {}});
        let mut same = manual.clone();
        prepare_create(&mut same);
        assert_eq!(same, manual);
    }
}

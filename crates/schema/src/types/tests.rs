//! The committed table holds what the rest relies on.

use super::*;

fn field(root_type: (&str, &str, &str), path: &str) -> FieldRef<'static> {
    let (parent, last) = path.rsplit_once('.').unwrap_or(("", path));
    let ty = root(root_type.0, root_type.1, root_type.2).expect("root").at(parent).expect(parent);
    let ty = if let Shape::List(item) = ty.shape() { item } else { ty };
    ty.field(last).expect(last)
}

const POD: (&str, &str, &str) = ("", "v1", "Pod");

#[test]
fn every_ga_root_is_there() {
    let table = [
        ("", "v1", "Pod"),
        ("", "v1", "PodList"),
        ("apps", "v1", "Deployment"),
        ("batch", "v1", "CronJob"),
        ("networking.k8s.io", "v1", "Ingress"),
        ("policy", "v1", "PodDisruptionBudget"),
        ("rbac.authorization.k8s.io", "v1", "ClusterRole"),
        ("storage.k8s.io", "v1", "CSIDriver"),
        ("scheduling.k8s.io", "v1", "PriorityClass"),
        ("coordination.k8s.io", "v1", "Lease"),
        ("discovery.k8s.io", "v1", "EndpointSlice"),
        ("events.k8s.io", "v1", "Event"),
        ("autoscaling", "v2", "HorizontalPodAutoscaler"),
        ("autoscaling", "v1", "Scale"),
        ("certificates.k8s.io", "v1", "CertificateSigningRequest"),
        ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration"),
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
        ("apiregistration.k8s.io", "v1", "APIService"),
        ("authentication.k8s.io", "v1", "TokenReview"),
        ("authorization.k8s.io", "v1", "SubjectAccessReview"),
        ("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema"),
        ("node.k8s.io", "v1", "RuntimeClass"),
        ("resource.k8s.io", "v1", "ResourceSlice"),
        ("meta.k8s.io", "v1", "PartialObjectMetadataList"),
        ("apps", "v1", "DeleteOptions"),
        ("", "v1", "Status"),
    ];
    for (g, v, k) in table {
        let ty = root(g, v, k).unwrap_or_else(|| panic!("{g}/{v}/{k}"));
        assert_eq!(ty.as_struct().expect("an object").go_name(), k);
    }
    assert!(root("apps", "v1beta1", "Deployment").is_none());
}

#[test]
fn lists_maps_and_patches() {
    let containers = field(POD, "spec.containers");
    assert!(containers.required() && containers.keeps_empty() && !containers.pointer());
    assert_eq!(containers.list_type(), Some(ListType::Map));
    assert_eq!(containers.merge_key(), Some("name"));
    assert_eq!(containers.numbers(), [2]);
    let ports = field(POD, "spec.containers.ports");
    assert_eq!(ports.list_keys(), ["containerPort", "protocol"]);
    assert_eq!(ports.merge_key(), Some("containerPort"));
    let volumes = field(POD, "spec.volumes").patch_strategy();
    assert!(volumes.merge && volumes.retain_keys && !volumes.replace);
    assert_eq!(field(POD, "spec.volumes.hostPath").numbers(), [2, 1]);
    let protocol = field(POD, "spec.containers.ports.protocol");
    assert_eq!(protocol.default(), Some(&Value::from("TCP")));
    assert_eq!(protocol.go_scalar(), Some("v1.Protocol"));
    assert!(field(POD, "spec.nodeSelector").map_atomic());
    assert!(
        field(POD, "metadata.ownerReferences")
            .ty()
            .element()
            .expect("items")
            .as_struct()
            .expect("object")
            .atomic()
    );
}

#[test]
fn scalars() {
    let table = [
        ("metadata.creationTimestamp", Scalar::Time),
        ("metadata.managedFields.fieldsV1", Scalar::Fields),
        ("spec.activeDeadlineSeconds", Scalar::Int64),
        ("spec.containers.livenessProbe.httpGet.port", Scalar::IntOrString),
        ("spec.containers.env.valueFrom.resourceFieldRef.divisor", Scalar::Quantity),
        ("spec.hostNetwork", Scalar::Bool),
    ];
    for (path, scalar) in table {
        assert_eq!(field(POD, path).ty().as_scalar(), Some(scalar), "{path}");
    }
    let at = |g, v, k, path: &str| root(g, v, k).and_then(|t| t.at(path)).and_then(TypeRef::as_scalar);
    assert_eq!(at("", "v1", "Secret", "data.x"), Some(Scalar::Bytes));
    assert_eq!(at("coordination.k8s.io", "v1", "Lease", "spec.renewTime"), Some(Scalar::MicroTime));
    assert_eq!(at("apps", "v1", "ControllerRevision", "data"), Some(Scalar::Raw));
    assert_eq!(at("", "v1", "PodTemplate", "template.spec.overhead.cpu"), Some(Scalar::Quantity));
}

#[test]
fn all_types_resolve_and_have_numbers() {
    let mut bare: Vec<&str> =
        built_in().structs().filter(|s| !s.has_numbers()).map(StructRef::name).collect();
    bare.retain(|n| !n.contains("List") && !n.ends_with("Status"));
    let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.";
    bare.retain(|n| !n.starts_with(meta));
    assert_eq!(bare, Vec::<&str>::new());
}

#[test]
fn malformed_tables_name_the_line() {
    for (text, line) in [
        ("P a", 1),
        ("P a b.a\nT a.X what", 2),
        ("P a b.a\nT a.X\nf 1 a.Y", 3),
        ("P a b.a\nT a.X\nf x int32", 3),
    ] {
        assert_eq!(Table::parse(text).expect_err(text).line, line, "{text}");
    }
}

//! Questions about identities and rights, of authentication.k8s.io and authorization.k8s.io: answered, never stored.

use crate::kind::{CREATE_ONLY, Kind, Strategy};

/// Who a token belongs to.
pub static TOKEN_REVIEW: Kind = Kind {
    group: "authentication.k8s.io",
    version: "v1",
    kind: "TokenReview",
    plural: "tokenreviews",
    singular: "tokenreview",
    short_names: &[],
    categories: &[],
    namespaced: false,
    subresources: &[],
    verbs: CREATE_ONLY,
    bucket: "",
    storage_version_hash: "",
    create_on_update: false,
    unconditional_update: false,
    delete_returns_object: false,
    strategy: &Review,
};

/// Who I am.
pub static SELF_SUBJECT_REVIEW: Kind = Kind {
    group: "authentication.k8s.io",
    version: "v1",
    kind: "SelfSubjectReview",
    plural: "selfsubjectreviews",
    singular: "selfsubjectreview",
    short_names: &[],
    categories: &[],
    namespaced: false,
    subresources: &[],
    verbs: CREATE_ONLY,
    bucket: "",
    storage_version_hash: "",
    create_on_update: false,
    unconditional_update: false,
    delete_returns_object: false,
    strategy: &Review,
};

/// Whether somebody may.
pub static SUBJECT_ACCESS_REVIEW: Kind = Kind {
    group: "authorization.k8s.io",
    version: "v1",
    kind: "SubjectAccessReview",
    plural: "subjectaccessreviews",
    singular: "subjectaccessreview",
    short_names: &[],
    categories: &[],
    namespaced: false,
    subresources: &[],
    verbs: CREATE_ONLY,
    bucket: "",
    storage_version_hash: "",
    create_on_update: false,
    unconditional_update: false,
    delete_returns_object: false,
    strategy: &Review,
};

/// Whether I may.
pub static SELF_SUBJECT_ACCESS_REVIEW: Kind = Kind {
    group: "authorization.k8s.io",
    version: "v1",
    kind: "SelfSubjectAccessReview",
    plural: "selfsubjectaccessreviews",
    singular: "selfsubjectaccessreview",
    short_names: &[],
    categories: &[],
    namespaced: false,
    subresources: &[],
    verbs: CREATE_ONLY,
    bucket: "",
    storage_version_hash: "",
    create_on_update: false,
    unconditional_update: false,
    delete_returns_object: false,
    strategy: &Review,
};

/// Whether somebody may, in one namespace.
pub static LOCAL_SUBJECT_ACCESS_REVIEW: Kind = Kind {
    group: "authorization.k8s.io",
    version: "v1",
    kind: "LocalSubjectAccessReview",
    plural: "localsubjectaccessreviews",
    singular: "localsubjectaccessreview",
    short_names: &[],
    categories: &[],
    namespaced: true,
    subresources: &[],
    verbs: CREATE_ONLY,
    bucket: "",
    storage_version_hash: "",
    create_on_update: false,
    unconditional_update: false,
    delete_returns_object: false,
    strategy: &Review,
};

/// What I may do in a namespace.
pub static SELF_SUBJECT_RULES_REVIEW: Kind = Kind {
    group: "authorization.k8s.io",
    version: "v1",
    kind: "SelfSubjectRulesReview",
    plural: "selfsubjectrulesreviews",
    singular: "selfsubjectrulesreview",
    short_names: &[],
    categories: &[],
    namespaced: false,
    subresources: &[],
    verbs: CREATE_ONLY,
    bucket: "",
    storage_version_hash: "",
    create_on_update: false,
    unconditional_update: false,
    delete_returns_object: false,
    strategy: &Review,
};

/// Their behaviour: metadata is never looked at.
#[derive(Debug)]
pub struct Review;

impl Strategy for Review {}

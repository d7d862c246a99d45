//! Questions about identities and rights, of authentication.k8s.io and authorization.k8s.io: answered, never stored.

use crate::kind::{Kind, Strategy};

/// Who a token belongs to.
pub static TOKEN_REVIEW: Kind =
    Kind::answered(["authentication.k8s.io", "v1"], ["TokenReview", "tokenreviews", "tokenreview"], &Review);

/// Who I am.
pub static SELF_SUBJECT_REVIEW: Kind = Kind::answered(
    ["authentication.k8s.io", "v1"],
    ["SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview"],
    &Review,
);

/// Whether somebody may.
pub static SUBJECT_ACCESS_REVIEW: Kind = Kind::answered(
    ["authorization.k8s.io", "v1"],
    ["SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview"],
    &Review,
);

/// Whether I may.
pub static SELF_SUBJECT_ACCESS_REVIEW: Kind = Kind::answered(
    ["authorization.k8s.io", "v1"],
    ["SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview"],
    &Review,
);

/// Whether somebody may, in one namespace.
pub static LOCAL_SUBJECT_ACCESS_REVIEW: Kind = Kind {
    namespaced: true,
    ..Kind::answered(
        ["authorization.k8s.io", "v1"],
        ["LocalSubjectAccessReview", "localsubjectaccessreviews", "localsubjectaccessreview"],
        &Review,
    )
};

/// What I may do in a namespace.
pub static SELF_SUBJECT_RULES_REVIEW: Kind = Kind::answered(
    ["authorization.k8s.io", "v1"],
    ["SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview"],
    &Review,
);

/// Their behaviour: metadata is never looked at.
#[derive(Debug)]
pub struct Review;

impl Strategy for Review {}

//! How a kind writes its rules down: all of a file in one place, so that the test which resolves them misses none.

/// Defines the [`Rules`](crate::validation::Rules) of the types of one file, each made when it is first used, and `ALL`
/// of them for the test that looks every field up in the table.
///
/// ```
/// use schema::validation::{any, field};
/// schema::rules! {
///     /// A port of a container.
///     pub PORT: "io.k8s.api.core.v1.ContainerPort" = [
///         field("containerPort").required().within(1, 65535),
///         any("hostPort").within(1, 65535),
///         field("protocol").required().one_of(&["SCTP", "TCP", "UDP"]),
///     ];
/// }
/// let port = serde_json::json!({"containerPort": 0, "protocol": "ICMP"});
/// assert_eq!(
///     PORT.validate(&port, None).to_string(),
///     "[containerPort: Required value, protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \
///      \"UDP\"]"
/// );
/// ```
#[macro_export]
macro_rules! rules {
    ($($(#[$doc:meta])* $vis:vis $name:ident: $of:literal = [$($rule:expr),* $(,)?];)*) => {
        $(
            $(#[$doc])*
            $vis static $name: std::sync::LazyLock<$crate::validation::Rules> =
                std::sync::LazyLock::new(|| $crate::validation::Rules::new($of, vec![$($rule),*]));
        )*
        /// All rules of this file.
        #[cfg(test)]
        pub(crate) static ALL: &[&std::sync::LazyLock<$crate::validation::Rules>] = &[$(&$name),*];
    };
}

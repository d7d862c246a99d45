//! The node's own loops over a machine, a network and images that are not there.

mod machine;
mod work;

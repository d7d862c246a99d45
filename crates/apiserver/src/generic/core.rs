//! What every call works with: the services of the layers below, and the chain of admission.

use crate::admission::Chain;
use crate::context::services::Services;

/// See the head of the file. Over HTTP and in the process it is one and the same.
pub(crate) struct Core {
    pub(crate) services: Services,
    pub(crate) admission: Chain,
}

//! The kit against the real registry: an image that was pushed can be read back.

use xtask::kit::{http, image, registry::Registry};

#[test]
fn a_pushed_image_is_served() {
    let registry = Registry::start().expect("docker-registry");
    let busybox = image::busybox().expect("busybox-static");
    registry.push(&busybox, "library/busybox", "latest").expect("push");
    let answer = http::send(
        registry.address,
        "GET",
        "/v2/library/busybox/manifests/latest",
        "application/vnd.oci.image.manifest.v1+json",
        &[],
    )
    .expect("get");
    assert_eq!(answer.code, 200);
}

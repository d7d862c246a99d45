//! minke
fn main() {}

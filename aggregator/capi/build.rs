//! Names the shared library after its binary interface, so that a program finds the one it was built for.

#[expect(unreachable_pub, reason = "the library exports it")]
#[path = "src/abi.rs"]
mod abi;

fn main() {
    println!("cargo:rerun-if-changed=src/abi.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libframelock.so.{}", abi::FRAMELOCK_ABI);
    }
}

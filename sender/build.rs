//! Refuses to build an encoder without SIMD: openh264's build script carries on silently when nasm is
//! missing, and the encoder is then three times slower.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=PATH");
    println!("cargo:rerun-if-env-changed=NASM");
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    if !matches!(arch.as_str(), "x86" | "x86_64") {
        return;
    }
    let nasm = std::env::var("NASM").unwrap_or_else(|_| "nasm".to_owned());
    let runs = Command::new(&nasm).arg("-v").output().is_ok_and(|output| output.status.success());
    if !runs {
        #[expect(clippy::print_stderr, reason = "cargo shows a failed build script's standard error")]
        {
            eprintln!(
                "error: \"{nasm}\" was not found. The H.264 encoder needs nasm to be fast on x86.\n\
             Install it (Debian: apt install nasm), then: cargo clean -p openh264-sys2 && cargo build"
            );
        }
        std::process::exit(1);
    }
}

//! Tells the program which compiler made it, and compiles the check of the processor for any processor.

use std::{env, process::Command};

fn main() {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(rustc).arg("--version").output();
    let version = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    println!("cargo::rustc-env=SOLERA_RUSTC_VERSION={}", version.as_deref().unwrap_or("unknown").trim());
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC");

    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") {
        println!("cargo::rerun-if-changed=src/cpu.c");
        let objects = cc::Build::new()
            .file("src/cpu.c")
            // IMPORTANT: the flags of `.cargo/config.toml` would make the check itself die of what it checks for.
            .inherit_rustflags(false)
            .flag("-march=x86-64")
            .flag("-O1")
            .compile_intermediates();
        for object in objects {
            // The object itself, not a library: nothing refers to a constructor, and a library would be left out.
            println!("cargo::rustc-link-arg-bins={}", object.display());
        }
    }
}

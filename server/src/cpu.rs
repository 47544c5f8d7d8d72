//! Whether this processor can run what this program was compiled to.
//!
//! The whole program, RocksDB's C++ included, is compiled for x86-64-v3 (`.cargo/config.toml`). On an older processor
//! it would die of SIGILL at some instruction, possibly in a C++ constructor before `main`: so the check runs as the
//! first constructor of the program, and says what is wrong.

#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "a constructor that runs before C++'s"))]

/// What x86-64-v3 needs and this processor lacks; empty when it can run this program, or when the program was compiled
/// for any processor of its kind.
#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
pub fn missing_features() -> Vec<&'static str> {
    Vec::new()
}

/// What x86-64-v3 needs and this processor lacks; empty when it can run this program.
#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
pub fn missing_features() -> Vec<&'static str> {
    x86_64_v3::missing()
}

#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
mod x86_64_v3 {
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    /// x86-64-v3 by the psABI, and the carry-less multiplication that RocksDB adds: (leaf, register, bit, name). `is_x86_feature_detected!` would not look: it takes what
    /// the program was compiled for as given.
    const FEATURES: [(u32, Register, u32, &str); 10] = [
        (1, Register::Ecx, 12, "fma"),
        (1, Register::Ecx, 22, "movbe"),
        (1, Register::Ecx, 1, "pclmulqdq"),
        (1, Register::Ecx, 23, "popcnt"),
        (1, Register::Ecx, 20, "sse4.2"),
        (1, Register::Ecx, 28, "avx"),
        (1, Register::Ecx, 29, "f16c"),
        (7, Register::Ebx, 5, "avx2"),
        (7, Register::Ebx, 3, "bmi1"),
        (7, Register::Ebx, 8, "bmi2"),
    ];

    #[derive(Clone, Copy)]
    enum Register {
        Ebx,
        Ecx,
    }

    pub(super) fn missing() -> Vec<&'static str> {
        FEATURES
            .into_iter()
            .filter(|&(leaf, register, bit, _)| !has(leaf, register, bit))
            .map(|(.., name)| name)
            .collect()
    }

    fn has(leaf: u32, register: Register, bit: u32) -> bool {
        if __cpuid(0).eax < leaf {
            return false;
        }
        let found = __cpuid_count(leaf, 0);
        let word = match register {
            Register::Ebx => found.ebx,
            Register::Ecx => found.ecx,
        };
        word & (1 << bit) != 0
    }

    /// Runs before the constructors of C++, whose sections have no number or a higher one.
    #[used]
    // SAFETY: the section holds pointers to functions of this type, which the loader calls once, before `main`.
    #[unsafe(link_section = ".init_array.00001")]
    static FIRST: extern "C" fn() = refuse_old_processors;

    extern "C" fn refuse_old_processors() {
        let missing = missing();
        if !missing.is_empty() {
            // Rust's standard library itself is compiled for any x86-64, so this much can run.
            let list = missing.join(", ");
            eprintln!(
                "solera needs an x86-64-v3 processor (Intel Haswell, AMD Excavator or later); this one lacks {list}"
            );
            std::process::exit(1);
        }
    }
}

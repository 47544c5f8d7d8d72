/*
 * Whether this processor can run what this program was compiled to.
 *
 * The whole program, RocksDB's C++ included, is compiled for x86-64-v3 (.cargo/config.toml). On an older processor it
 * would die of SIGILL at some instruction, or silently compute something else: `lzcnt` runs there as `bsr`. So this
 * runs as the first constructor, before those of C++, and says what is wrong. In C, because build.rs compiles it for
 * any x86-64 whatever the rest is compiled for, and Rust has no such thing within one crate.
 *
 * x86-64-v3 is defined by the psABI, "Micro-Architecture Levels"; bits by Intel's manual, volume 2, CPUID and XGETBV.
 */
#if defined(__x86_64__)

#include <cpuid.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

enum reg { EBX, ECX };

struct feature {
    unsigned leaf;
    enum reg reg;
    unsigned bit;
    const char *name;
};

static const struct feature features[] = {
    {1, ECX, 0, "sse3"},     {1, ECX, 1, "pclmulqdq"}, {1, ECX, 9, "ssse3"}, {1, ECX, 12, "fma"},
    {1, ECX, 19, "sse4.1"},  {1, ECX, 20, "sse4.2"},   {1, ECX, 22, "movbe"}, {1, ECX, 23, "popcnt"},
    {1, ECX, 27, "osxsave"}, {1, ECX, 28, "avx"},      {1, ECX, 29, "f16c"}, {7, EBX, 3, "bmi1"},
    {7, EBX, 5, "avx2"},     {7, EBX, 8, "bmi2"},      {0x80000001, ECX, 5, "lzcnt"},
};

static int has(const struct feature *feature) {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    /* Answers 0 for a leaf that this processor does not know. */
    if (!__get_cpuid_count(feature->leaf, 0, &eax, &ebx, &ecx, &edx)) {
        return 0;
    }
    return ((feature->reg == EBX ? ebx : ecx) >> feature->bit) & 1;
}

/* The system saves the upper halves of AVX registers when it switches tasks. Only to be asked where osxsave is. */
static int system_saves_avx(void) {
    unsigned eax, edx;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return (eax & 6) == 6;
}

static void say(const char *text) {
    /* There is nothing to do if standard error is closed. */
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

/* 101 is the first number that programs may use; constructors of C++ without a number come after all numbers. */
__attribute__((constructor(101))) static void refuse_old_processors(void) {
    int missing = 0, has_osxsave = 0;
    for (size_t n = 0; n < sizeof features / sizeof *features; n++) {
        int found = has(&features[n]);
        if (strcmp(features[n].name, "osxsave") == 0) {
            has_osxsave = found;
        }
        if (!found) {
            say(missing++ ? ", " : "solera needs an x86-64-v3 processor (Intel Haswell, AMD Excavator or later); this one lacks ");
            say(features[n].name);
        }
    }
    if (has_osxsave && !system_saves_avx()) {
        say(missing++ ? ", " : "solera needs a system that saves AVX registers; this one lacks ");
        say("xsave of avx");
    }
    if (missing) {
        say("\n");
        _exit(1);
    }
}

#endif

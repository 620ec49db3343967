//! Arguments, allocator, exit code; everything else is in the library.

use std::process::ExitCode;

/// Fewer and cheaper system calls than the C library's for many small, short-lived buffers.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    masugata::cli::main()
}

//! The `runscribe` program: parses arguments, calls the library, returns its exit code.

use std::process::ExitCode;

#[expect(clippy::disallowed_methods, reason = "the program's own arguments are read here")]
fn main() -> ExitCode {
    runscribe::cli::main(std::env::args_os())
}

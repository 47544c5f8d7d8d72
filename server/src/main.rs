//! The program `solera`.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::commands::run(std::env::args_os().collect())
}

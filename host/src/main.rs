//! The program `rowmill`.

fn main() -> std::process::ExitCode {
    rowmill::command::main()
}

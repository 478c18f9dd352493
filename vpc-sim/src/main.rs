//! The program `vpc-sim`.

fn main() -> std::process::ExitCode {
    vpc_sim::cli::main()
}

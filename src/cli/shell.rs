//! `completions` and `man`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::output::{Outcome, Output};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

pub(super) fn completions(arguments: &Completions, output: &mut Output) -> Outcome {
    let mut text = Vec::new();
    let mut command = super::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "runscribe", &mut text);
    Ok(output.text(&String::from_utf8_lossy(&text))?)
}

pub(super) fn man(output: &mut Output) -> Outcome {
    let mut text = Vec::new();
    clap_mangen::Man::new(super::Arguments::command()).render(&mut text)?;
    Ok(output.text(&String::from_utf8_lossy(&text))?)
}

//! Tests of `command`: its form, and its help as it was reviewed.

use clap::CommandFactory;

use super::Cli;

#[test]
fn the_commands_are_well_formed() {
    Cli::command().debug_assert();
}

/// The short help of a command and of all below it.
fn help(command: &mut clap::Command, path: &str, text: &mut String) {
    text.push_str(&format!("──── {path}\n{}\n", command.render_help()));
    for inner in command.get_subcommands_mut().filter(|c| c.get_name() != "help") {
        let path = format!("{path} {}", inner.get_name());
        help(inner, &path, text);
    }
}

#[test]
fn the_help_is_as_reviewed() {
    let mut text = String::new();
    let mut command = Cli::command().term_width(100);
    command.build();
    help(&mut command, "millrace", &mut text);
    insta::assert_snapshot!(text);
}

use super::*;

/// Calls `visit` with every command, under its full name.
fn each_command(command: &clap::Command, name: &str, visit: &mut impl FnMut(&str, &clap::Command)) {
    visit(name, command);
    for subcommand in command.get_subcommands() {
        each_command(subcommand, &format!("{name} {}", subcommand.get_name()), visit);
    }
}

/// Returns the examples of a command: lines that begin with its prompt, up to a pipe or a redirection.
fn examples(command: &clap::Command) -> Vec<String> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    help.lines()
        .filter_map(|line| {
            line.find("weftctl ").filter(|_| line.starts_with("  ")).map(|at| line[at..].to_owned())
        })
        .map(|line| line.split(['|', '>', '<']).next().unwrap_or_default().trim().to_owned())
        .collect()
}

#[test]
fn the_grammar_holds_together() {
    command().debug_assert();
}

#[test]
fn every_command_has_an_example_that_works() {
    let mut commands = 0;
    each_command(&command(), "weftctl", &mut |name, command| {
        let examples = examples(command);
        assert!(
            examples.iter().any(|example| example.starts_with(name)),
            "{name} has no example: {examples:?}"
        );
        for example in examples {
            let arguments = example.split_whitespace().map(OsString::from);
            assert!(parse(arguments).is_ok(), "{example}");
        }
        commands += 1;
    });
    assert!(commands > 25, "{commands}");
}

#[test]
fn help_fits_a_terminal() {
    each_command(&command(), "weftctl", &mut |name, command| {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines() {
            assert!(line.chars().count() <= 88, "{name}: {line}");
        }
    });
}

fn socket(arguments: &[&str]) -> PathBuf {
    let arguments = std::iter::once("weftctl").chain(arguments.iter().copied()).map(OsString::from);
    parse(arguments).unwrap().cli.socket
}

#[test]
fn the_socket_is_the_daemons_everywhere_but_behind_port_add_and_set() {
    let add = ["port", "add", "d", "--type", "stream", "--access", "1", "--socket", "/port"];
    for (arguments, expected) in [
        (vec!["--socket", "/a", "status"], "/a"),
        (vec!["status", "--socket", "/a"], "/a"),
        (vec!["port", "--socket", "/a", "list"], "/a"),
        (vec!["port", "list", "--socket", "/a"], "/a"),
        (vec!["--socket", "/a", "port", "list", "--socket", "/b"], "/b"),
        ([vec!["--socket", "/a"], add.to_vec()].concat(), "/a"),
        (vec!["--socket", "/a", "port", "set", "d", "--socket", "/port"], "/a"),
    ] {
        assert_eq!(socket(&arguments), PathBuf::from(expected), "{arguments:?}");
    }
}

#[test]
fn colour_is_known_before_the_line_is_read() {
    let early =
        |arguments: &[&str]| early_color(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
    assert_eq!(early(&["weftctl", "--color", "never", "x"]), ColorChoice::Never);
    assert_eq!(early(&["weftctl", "--color=always"]), ColorChoice::Always);
    assert_eq!(early(&["weftctl", "--color"]), ColorChoice::Auto);
}

//! What the README says is what there is: its commands are taken by the programs, its targets are in the
//! Makefile, and what it links to exists.

use std::path::Path;
use std::process::{Command, Stdio};

use framelock_tests::process::program;

const README: &str = include_str!("../../README.md");

/// The commands of `program` in the README, without its name: in indented lines, with lines that go on behind
/// a backslash joined, and between backquotes.
fn commands(program: &str) -> Vec<Vec<String>> {
    let joined = README.replace("\\\n", " ");
    let indented = joined.lines().filter_map(|line| line.strip_prefix("    "));
    let quoted = README.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let words = |text: &str| -> Option<Vec<String>> {
        let text = text.split(" #").next().unwrap_or_default();
        let mut words = text.split_whitespace().filter(|word| *word != "...");
        (words.next() == Some(program)).then(|| words.map(|word| word.replace('\'', "")).collect())
    };
    indented.chain(quoted).filter_map(words).filter(|words| !words.is_empty()).collect()
}

#[test]
fn its_commands_are_taken() {
    for (name, least) in [("framelock-sender", 6), ("framelock-aggregator", 4)] {
        let commands = commands(name);
        assert!(commands.len() >= least, "{name}: {commands:?}");
        for command in commands {
            // All before it has to be right for this to be an answer and no complaint.
            let output = Command::new(program(name))
                .args(&command)
                .arg("--help")
                .stdin(Stdio::null())
                .output()
                .expect("our program starts");
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name} {command:?}: {complaint}");
        }
    }
    // A wrong one would be seen.
    let wrong = Command::new(program("framelock-sender")).args(["run", "--fps", "0", "--help"]).output();
    assert_eq!(wrong.expect("our program starts").status.code(), Some(2));
}

#[test]
fn its_targets_and_files_exist() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let makefile = std::fs::read_to_string(top.join("Makefile")).expect("there is a Makefile");
    let quoted = README.split('`').skip(1).step_by(2);
    let indented = README.lines().filter_map(|line| line.strip_prefix("    "));
    let target = |text: &'static str| text.strip_prefix("make ")?.split_whitespace().next();
    let targets: Vec<&str> = quoted.chain(indented).filter_map(target).collect();
    assert!(targets.len() >= 5, "{targets:?}");
    for target in targets {
        assert!(makefile.contains(&format!("\n{target}:")), "make {target}");
    }
    let links: Vec<&str> = README
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://"))
        .collect();
    assert!(links.len() >= 4, "{links:?}");
    for link in links {
        assert!(top.join(link).exists(), "{link}");
    }
}

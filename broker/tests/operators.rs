//! `mqbroker` as operators meet it beside serving: checks, completions, the man page, and the files in `scripts/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn mqbroker(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mqbroker"))
        .env_remove("NAMESRV_ADDR")
        .args(arguments)
        .output()
        .expect("mqbroker can be run")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn scripts(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../scripts")
        .join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    files.sort();
    files
}

#[test]
fn a_checked_file_is_explained_and_the_exit_code_says_how_bad_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broker.conf");
    let file = path.to_str().unwrap();
    let fine = "brokerIP1=127.0.0.1\nnamesrvAddr=127.0.0.1:9876\n";
    let cases = [
        ("", 0, "fine"),
        ("mapedFileSizeCommitLog=1\n", 1, "write `mappedFileSizeCommitLog`"),
        ("brokerPermission=9\n", 2, "brokerPermission: `9` is refused"),
    ];
    for (text, code, said) in cases {
        std::fs::write(&path, format!("{fine}{text}")).unwrap();
        let output = mqbroker(&["--check-config", file]);
        assert_eq!(output.status.code(), Some(code), "{}", stdout(&output));
        assert!(stdout(&output).contains(said), "{}", stdout(&output));
        // Whatever the check says about a start is what a start does.
        let starts = mqbroker(&["-c", file, "-p"]).status.success();
        assert_eq!(starts, code < 2, "{text}");
    }
}

#[test]
fn every_sample_file_is_accepted_without_a_warning() {
    let samples: Vec<PathBuf> = scripts("conf")
        .into_iter()
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("broker"))
        })
        .collect();
    assert!(samples.len() >= 3, "{samples:?}");
    for sample in samples {
        let output = mqbroker(&["--check-config", sample.to_str().unwrap()]);
        assert_eq!(stdout(&output), format!("{}: fine\n", sample.display()));
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn completions_and_man_page_know_every_option() {
    let man = stdout(&mqbroker(&["--man"]));
    let bash = stdout(&mqbroker(&["--completions", "bash"]));
    for option in [
        "configFile",
        "namesrvAddr",
        "standalone",
        "check-config",
        "completions",
        "printConfigItem",
    ] {
        // Roff writes a dash as `\-`.
        assert!(
            man.replace("\\-", "-").contains(&format!("--{option}")),
            "{option} is missing in the man page"
        );
        assert!(
            bash.contains(&format!("--{option}")),
            "{option} is missing in the completions"
        );
    }
    assert!(
        man.contains(".SH \"EXIT STATUS\"") && man.contains("253"),
        "{man}"
    );
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let output = mqbroker(&["--completions", shell]);
        assert!(
            output.status.success() && stdout(&output).contains("standalone"),
            "{shell}"
        );
    }
}

#[test]
fn wrong_arguments_end_with_2() {
    assert_eq!(mqbroker(&["--no-such-option"]).status.code(), Some(2));
}

#[test]
fn units_start_the_binaries_with_the_sample_files_and_know_their_exit_codes() {
    let units = scripts("systemd");
    assert_eq!(units.len(), 2, "{units:?}");
    for (unit, program, sample, exit_code) in [
        (&units[0], "mqbroker", "broker.conf", 253),
        (&units[1], "mqnamesrv", "namesrv.conf", 255),
    ] {
        let text = std::fs::read_to_string(unit).unwrap();
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(&format!("{key}=")))
                .unwrap_or_else(|| panic!("{key} is missing in {}", unit.display()))
        };
        // An instance is named like its file.
        let command = value("ExecStart").replace("%i", "broker");
        assert_eq!(
            command,
            format!("/usr/local/bin/{program} -c /etc/rocketmq/{sample}")
        );
        assert!(
            scripts("conf").iter().any(|path| path.ends_with(sample)),
            "{sample}"
        );
        assert_eq!(value("RestartPreventExitStatus"), exit_code.to_string());
    }
}

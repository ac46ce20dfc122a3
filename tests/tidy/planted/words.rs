//! Planted paths of other machines.

use expect_test::expect;

use super::house::{check, check_clean};

/// Returns a path under a top-level folder; written out, this file would be a finding itself.
fn under(folder: &str) -> String {
    format!("/{folder}/x")
}

#[test]
fn absolute_paths_of_one_machine_are_found() {
    let (root, work) = (under("root"), under("work"));
    check(
        &[
            ("README.md", &format!("Run it\nin {root} or `{work}`.\n")),
            ("tests/fixtures/log.txt", &format!("\u{fffd}\0saved to {root}\n")),
            ("config/a.toml", &format!("root = \"{work}\"\nurl = \"file://{root}\"\n")),
            ("src/judge.rs", &format!("//! Pure. Gates.\nconst A: &str = \"{root}\";\n")),
        ],
        &expect![[r"
            README.md:2: names an absolute path under `root`, which is one machine's own; write a neutral path, such as `/srv/project`
            config/a.toml:1: names an absolute path under `work`, which is one machine's own; write a neutral path, such as `/srv/project`
            config/a.toml:2: names an absolute path under `root`, which is one machine's own; write a neutral path, such as `/srv/project`
            src/judge.rs:2: names an absolute path under `root`, which is one machine's own; write a neutral path, such as `/srv/project`
            tests/fixtures/log.txt:1: names an absolute path under `root`, which is one machine's own; write a neutral path, such as `/srv/project`
        "]],
    );
}

#[test]
fn relative_and_ordinary_paths_are_not_found() {
    let (root, work) = (under("root"), under("work"));
    check_clean(&[(
        "README.md",
        &format!(
            "project{root} ./a{work} $DIR{root} ${{DIR}}{work} {{dir}}{root} ~{work} ..{root}\n\
             /home/user/project /workspace/x /rootless/x (root/work)\n"
        ),
    )]);
}

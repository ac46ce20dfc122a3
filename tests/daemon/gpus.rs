//! The choice of a device, on the driver's library as a stand-in plays it: the real program loads it
//! in the ordinary way, from `LD_LIBRARY_PATH`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Daemon, FakeReport, Project, code, command, err, out};

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";

/// Builds the stand-in once and returns its folder; `None` where there is no compiler, which is
/// said.
fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    LIBRARY.get_or_init(build).as_deref()
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn build() -> Option<PathBuf> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/nvml/fake_nvml.rs");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fake-nvml");
    fs::create_dir_all(&folder).unwrap();
    let fresh = folder.join(format!("libnvidia-ml.{}.so", std::process::id()));
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let built = Command::new(compiler)
        .args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", "fake_nvml", "-o"])
        .args([fresh.as_os_str(), source.as_ref()])
        .output();
    let output = match built {
        Ok(output) => output,
        Err(error) => {
            let missing = "the stand-in for the driver's library needs `rustc`";
            println!("skipped: {missing}: {error}");
            return None;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Another run of the tests may be using the one that is there.
    fs::rename(fresh, folder.join("libnvidia-ml.so.1")).unwrap();
    Some(folder)
}

/// Says what the stand-in plays from now on.
fn play(project: &Project, lines: &[&str]) {
    fs::write(project.path("nvml.new"), lines.join("\n")).unwrap();
    fs::rename(project.path("nvml.new"), project.path("nvml")).unwrap();
}

fn start(project: &Project, library: &Path) -> Daemon {
    project.start_with(&[("LD_LIBRARY_PATH", library), ("FAKE_NVML", &project.path("nvml"))])
}

/// What each analysis was given, in the order of their starts.
fn given(project: &Project) -> Vec<String> {
    let text = fs::read_to_string(project.path("fake/devices.log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The conditions that the last `analysis_finished` event names.
fn conditions(daemon: &Daemon) -> String {
    let events = daemon.events();
    let last = events.iter().rfind(|event| event["kind"] == "analysis_finished").unwrap();
    last["conditions"].to_string()
}

/// The conditions of the newest observation as the journal holds it.
fn stored_conditions(project: &Project) -> String {
    let journal = rusqlite::Connection::open(project.path("Cache/runscribe/journal.db")).unwrap();
    let newest = "SELECT body FROM observations ORDER BY id DESC LIMIT 1";
    let body: String = journal.query_row(newest, [], |row| row.get(0)).unwrap();
    serde_json::from_str::<Value>(&body).unwrap()["conditions"].to_string()
}

#[test]
fn an_analysis_gets_the_gpu_that_nobody_uses_and_else_the_cpu() {
    let Some(library) = library() else { return };
    let project = Project::new();
    let training = "gpu GPU-aaaa NVIDIA_A100 38000 40960 98 4711 4712";
    let lost = "lost 15";
    let full = "gpu GPU-cccc NVIDIA_A100 38000 40960 0";
    play(&project, &[training, lost, full, "gpu GPU-dddd NVIDIA_A100 450 40960 0"]);
    let daemon = start(&project, library);
    project.script_file("checkpoint-20", "slow", "1");
    project.script("checkpoint-20", FakeReport::healthy());
    let status = daemon.wait_until("the GPUs", |status| {
        status["host"]["gpus"].as_array().is_some_and(|gpus| gpus.len() == 4)
    });
    let gpus = &status["host"]["gpus"];
    assert_eq!(gpus[0]["uuid"], "GPU-aaaa");
    assert_eq!(gpus[0]["processes"], serde_json::json!([4711, 4712]));
    assert_eq!(gpus[0]["memory_used"], 38000_u64 << 20);
    assert_eq!(gpus[0]["utilization"], 0.98);
    assert!(gpus[1]["problem"].as_str().unwrap().contains("fallen off the bus"), "{gpus}");
    assert_eq!(gpus[1]["memory_used"], Value::Null);
    project.save(RUN, 20);
    let running = daemon.wait_until("where it runs", |status| {
        status["running"][0]["device"].as_str().is_some_and(|device| device.contains("GPU-dddd"))
    });
    assert_eq!(running["running"][0]["checkpoint"], "checkpoint-20");
    daemon.wait_for_observations(1);
    let reason = "cuda:3 (NVIDIA A100, GPU-dddd): nobody computes on it, 39.5 GiB free";
    assert!(conditions(&daemon).contains(reason), "{}", conditions(&daemon));
    assert!(stored_conditions(&project).contains(reason), "{}", stored_conditions(&project));
    // The trainer takes the last one as well, between two analyses.
    play(&project, &[training, lost, full, "gpu GPU-dddd NVIDIA_A100 3000 40960 50 4713"]);
    project.save(RUN, 40);
    daemon.wait_for_observations(2);
    let why = stored_conditions(&project);
    for part in [
        "cpu: GPU 0 is used by 2 processes",
        "GPU 1 cannot be used (it has fallen off the bus",
        "GPU 2 has only 2.8 GiB of 4.0 GiB free",
        "GPU 3 is used by process 4713",
    ] {
        assert!(why.contains(part), "no `{part}` in {why}");
    }
    let given = given(&project);
    assert!(given[0].starts_with("checkpoint-20 gpu=GPU-dddd threads="), "{given:?}");
    assert!(given[1].starts_with("checkpoint-40 gpu= threads="), "{given:?}");
    let text = String::from_utf8(project.run(&["status"]).stdout).unwrap();
    assert!(text.contains("GPU 0 NVIDIA A100: 37.1 GiB of 40.0 GiB, 98%, 2 processes"), "{text}");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_driver_that_is_reset_or_updated_is_no_gpu_for_as_long_as_that_takes() {
    let Some(library) = library() else { return };
    let project = Project::new();
    let free = "gpu GPU-aaaa T4 10 16000 0";
    play(&project, &[free]);
    let daemon = start(&project, library);
    for (step, lines, device, reason) in [
        (20, [free, ""], "gpu=GPU-aaaa ", "cuda:0 (T4, GPU-aaaa)"),
        (40, ["init 18", ""], "gpu= ", "driver/library version mismatch"),
        (60, ["lost 16", "lost 16"], "gpu= ", "requires a reset"),
        (80, [free, ""], "gpu=GPU-aaaa ", "cuda:0 (T4, GPU-aaaa)"),
    ] {
        play(&project, &lines);
        project.save(RUN, step);
        daemon.wait_for_observations(step / 20);
        assert!(conditions(&daemon).contains(reason), "{step}: {}", conditions(&daemon));
        let given = given(&project).pop().unwrap();
        assert!(given.contains(device), "{step}: {given}");
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_configured_number_is_handed_on_by_uuid() {
    let Some(library) = library() else { return };
    let project = Project::new();
    let text = fs::read_to_string(project.path("runscribe.toml")).unwrap();
    project.configure(&text.replacen("[analysis]\n", "[analysis]\ndevice = \"cuda:1\"\n", 1));
    play(&project, &["gpu GPU-aaaa T4 0 16000 0", "gpu GPU-bbbb T4 9000 16000 70 99"]);
    let daemon = start(&project, library);
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    assert!(given(&project)[0].starts_with("checkpoint-20 gpu=GPU-bbbb "), "{:?}", given(&project));
    assert!(conditions(&daemon).contains("cuda:1 (T4, GPU-bbbb): as configured"));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_library_without_a_driver_and_a_broken_library_are_no_gpu() {
    let Some(library) = library() else { return };
    let broken = Project::new();
    fs::create_dir(broken.path("lib")).unwrap();
    fs::write(broken.path("lib/libnvidia-ml.so.1"), "not a library").unwrap();
    let unloaded = Project::new();
    let empty = Project::new();
    for (project, library, init, note) in [
        (&unloaded, library.to_path_buf(), "init 9", "the NVIDIA driver is not loaded"),
        (&broken, broken.path("lib"), "", "library cannot be loaded"),
        (&empty, library.to_path_buf(), "", "the NVIDIA driver knows no GPU"),
    ] {
        play(project, &[init]);
        let daemon = start(project, &library);
        let status = daemon.wait_until("a note", |status| status["host"]["gpu_note"].is_string());
        let said = status["host"]["gpu_note"].as_str().unwrap();
        assert!(said.contains(note), "{said}");
        assert_eq!(status["problems"].as_array().unwrap().len(), 0, "{status:#}");
        project.save(RUN, 20);
        daemon.wait_for_observations(1);
        assert!(given(project)[0].starts_with("checkpoint-20 gpu= "), "{:?}", given(project));
        assert!(conditions(&daemon).contains(note), "{}", conditions(&daemon));
        assert_eq!(daemon.stop(), Some(0));
    }
}

#[test]
fn a_driver_that_hangs_holds_up_neither_analyses_nor_the_stop() {
    let Some(library) = library() else { return };
    let project = Project::new();
    play(&project, &["init hang"]);
    let daemon = start(&project, library);
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    assert!(conditions(&daemon).contains("cpu: the NVIDIA driver did not answer within"));
    let asked = Instant::now();
    assert_eq!(daemon.stop(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn an_evaluation_is_refused_a_gpu_on_which_somebody_computes() {
    let Some(library) = library() else { return };
    let project = crate::evaluation::evaluated_project(20.0);
    assert_eq!(code(&project.run(&["watch", "--once"])), 0);
    let evaluate = |arguments: &[&str]| {
        let mut evaluate = command(&["evaluate", RUN, "--task", "mrpc"]);
        evaluate.args(arguments).arg("--root").arg(project.root());
        evaluate.env("LD_LIBRARY_PATH", library).env("FAKE_NVML", project.path("nvml"));
        evaluate.output().unwrap()
    };
    play(&project, &["gpu GPU-aaaa NVIDIA_A100 30000 40960 97 4711"]);
    for arguments in [&[][..], &["--device", "cuda:0"]] {
        let refused = evaluate(arguments);
        assert_eq!(code(&refused), 1, "{}", out(&refused));
        let why = "GPU 0 is used by process 4711; wait for it";
        assert!(err(&refused).contains(why), "{}", err(&refused));
    }
    assert!(!project.path("fake_glue.log").exists(), "nothing was run");
    assert_eq!(code(&evaluate(&["--device", "cpu"])), 0);
    play(&project, &["gpu GPU-aaaa NVIDIA_A100 450 40960 0"]);
    let ran = evaluate(&[]);
    assert_eq!(code(&ran), 0, "{}", out(&ran));
    let calls = fs::read_to_string(project.path("fake_glue.log")).unwrap();
    let given: Vec<bool> = calls.lines().map(|line| line.contains("gpu=GPU-aaaa ")).collect();
    assert_eq!(given, [false, true], "{calls}");
}

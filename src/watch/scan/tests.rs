//! The scan on real files. Time is an argument: a look "in the future" finds files old enough to
//! be trusted, one in the past finds files of a clock that is ahead.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::SystemTime;

use super::*;
use crate::model::checkpoint::{CompleteCheckpoint, Condition};
use crate::settings::Backend;
use crate::watch::testing::{
    DIVERGED_STATE, LARGE_CONFIG, Project, RUN, SavedFile, checkpoint_files, final_files, now_plus,
    one_file, run_id, safetensors, save_checkpoint, torch_archive, touch, write_all,
};

fn scanner(project: &Project) -> Scanner {
    let mut scanner = Scanner::new(project.config(Backend::Poll).scan_settings());
    scanner.list_training_folder();
    scanner
}

/// Looks with no memory, when all files are a minute old.
fn cold(project: &Project, name: CheckpointName) -> Option<Condition> {
    let sighting = scanner(project).scan_run(&run_id(), now_plus(60)).ok()?;
    sighting.checkpoints.into_iter().find(|seen| seen.name == name).map(|seen| seen.condition)
}

fn complete(condition: Option<Condition>) -> Option<CompleteCheckpoint> {
    match condition {
        Some(Condition::Complete(complete)) => Some((*complete).clone()),
        _ => None,
    }
}

fn missing(condition: Option<Condition>) -> String {
    match condition {
        Some(Condition::Incomplete { missing }) => missing.join("; "),
        other => format!("{other:?}"),
    }
}

fn step(step: u64) -> CheckpointName {
    CheckpointName::Step(step)
}

fn shards(form: &str, last: Vec<u8>, first: Vec<u8>) -> Vec<SavedFile> {
    let (stem, ending) = form.rsplit_once('.').unwrap();
    let name = |index| format!("{stem}-0000{index}-of-00002.{ending}");
    let index = format!(r#"{{"weight_map": {{"a": "{}", "b": "{}"}}}}"#, name(1), name(2));
    vec![(name(1), first), (name(2), last), (format!("{form}.index.json"), index.into_bytes())]
}

fn all_forms() -> Vec<Vec<SavedFile>> {
    vec![
        one_file(1),
        vec![("pytorch_model.bin".into(), torch_archive(100_000, 1))],
        shards("model.safetensors", safetensors(2, 1), safetensors(3, 2)),
        shards("pytorch_model.bin", torch_archive(70_000, 1), torch_archive(70_000, 2)),
    ]
}

#[test]
fn complete_exactly_when_the_last_file_of_a_save_is_written() {
    for weights in all_forms() {
        let project = Project::new();
        let folder = project.run(RUN).join("checkpoint-20");
        fs::create_dir_all(&folder).unwrap();
        let mut warm = scanner(&project);
        let files = checkpoint_files(20, weights);
        for (number, (name, content)) in files.iter().enumerate() {
            let is_last = number + 1 == files.len();
            for part in [0, content.len() / 2, content.len() - 1, content.len()] {
                fs::write(folder.join(name), content.get(..part).unwrap()).unwrap();
                let seen = warm.scan_run(&run_id(), now_plus(0)).unwrap();
                let is_complete = matches!(seen.checkpoints[0].condition, Condition::Complete(_));
                let is_whole = is_last && part == content.len();
                let condition = &seen.checkpoints[0].condition;
                assert_eq!(is_complete, is_whole, "{name} with {part} bytes: {condition:?}");
            }
        }
    }
}

#[test]
fn not_complete_from_the_moment_rotation_removes_the_weights() {
    let project = Project::new();
    let folder = save_checkpoint(&project.run(RUN), 20, 1);
    let mut warm = scanner(&project);
    let mut removed_weights = false;
    for name in [
        "training_args.bin",
        "tokenizer.json",
        "tokenizer_config.json",
        "rng_state.pth",
        "scheduler.pt",
        "optimizer.pt",
        "model.safetensors",
        "special_tokens_map.json",
        "trainer_state.json",
        "config.json",
    ] {
        fs::remove_file(folder.join(name)).unwrap();
        removed_weights |= name == "model.safetensors";
        let seen = warm.scan_run(&run_id(), now_plus(60)).unwrap();
        let is_complete = matches!(seen.checkpoints[0].condition, Condition::Complete(_));
        assert_eq!(is_complete, !removed_weights, "{name}");
        if name == "special_tokens_map.json" {
            let condition = Some(seen.checkpoints[0].condition.clone());
            assert_eq!(missing(condition), "weights are gone (rotation?)");
        }
    }
    fs::remove_dir(&folder).unwrap();
    assert_eq!(warm.scan_run(&run_id(), now_plus(60)).unwrap().checkpoints, []);
}

/// safetensors 0.8 writes a temporary file that has its full length from the start and renames it.
#[test]
fn a_preallocated_temporary_file_is_not_the_weights() {
    let project = Project::new();
    let folder = save_checkpoint(&project.run(RUN), 20, 1);
    let weights = folder.join("model.safetensors");
    fs::rename(&weights, folder.join(".tmpAbCdEf")).unwrap();
    assert_eq!(missing(cold(&project, step(20))), "weights are gone (rotation?)");
    fs::rename(folder.join(".tmpAbCdEf"), &weights).unwrap();
    assert!(complete(cold(&project, step(20))).is_some());
}

#[test]
fn says_what_is_missing() {
    let project = Project::new();
    let folder = save_checkpoint(&project.run(RUN), 20, 1);
    let write = |name: &str, content: &[u8]| fs::write(folder.join(name), content).unwrap();
    let whole = safetensors(8, 1);
    write("model.safetensors", &whole[..100_000]);
    let length = crate::model::numbers::grouped(whole.len() as u64);
    let expected = format!("`model.safetensors` has 100,000 of {length} bytes");
    assert_eq!(missing(cold(&project, step(20))), expected);
    write("model.safetensors", &vec![0; whole.len()]);
    let condition = missing(cold(&project, step(20)));
    assert!(condition.contains("begins with zeros"), "{condition}");
    write("model.safetensors", &whole);
    write("trainer_state.json", br#"{"global_step": 20, "log_h"#);
    let condition = missing(cold(&project, step(20)));
    assert!(condition.starts_with("`trainer_state.json` ends in the middle"), "{condition}");
    write("trainer_state.json", br#"{"global_step": 40}"#);
    assert_eq!(missing(cold(&project, step(20))), "`trainer_state.json` says step 40");
    write("trainer_state.json", br#"{"global_step": 20}"#);
    write("checkpoint-is-incomplete.txt", b"");
    assert_eq!(missing(cold(&project, step(20))), "`checkpoint-is-incomplete.txt` is there");
    fs::remove_file(folder.join("checkpoint-is-incomplete.txt")).unwrap();
    assert!(complete(cold(&project, step(20))).is_some());
}

#[test]
fn a_diverged_run_s_checkpoint_is_complete() {
    let project = Project::new();
    let folder = save_checkpoint(&project.run(RUN), 20, 1);
    fs::write(folder.join("trainer_state.json"), DIVERGED_STATE).unwrap();
    fs::write(folder.join("config.json"), LARGE_CONFIG).unwrap();
    let found = complete(cold(&project, step(20))).unwrap();
    assert_eq!(found.config.hidden, Some(512));
    assert_eq!(found.training.unwrap().not_finite, ["grad_norm", "eval_loss"]);
    // NaN is not equal to itself; a second look must not take that for news.
    let mut warm = scanner(&project);
    warm.scan_run(&run_id(), now_plus(0)).unwrap();
    let change = warm.refresh_run(&run_id(), Thoroughness::All, now_plus(0)).unwrap();
    assert_eq!(change, Change::None);
}

#[test]
fn a_tail_of_zeros_is_damage_and_one_zero_tensor_is_not() {
    let project = Project::new();
    let folder = save_checkpoint(&project.run(RUN), 20, 1);
    let mut weights = safetensors(8, 1);
    let length = weights.len();
    weights[length - 16_384..].fill(0);
    fs::write(folder.join("model.safetensors"), &weights).unwrap();
    assert!(complete(cold(&project, step(20))).is_some(), "one tensor of zeros");
    weights[length - 5 * 16_384..].fill(0);
    fs::write(folder.join("model.safetensors"), &weights).unwrap();
    assert!(matches!(cold(&project, step(20)), Some(Condition::Damaged { .. })));
}

#[test]
fn identity_is_the_content_and_not_the_file() {
    let project = Project::new();
    let folder = save_checkpoint(&project.run(RUN), 20, 1);
    let first = complete(cold(&project, step(20))).unwrap();
    let signature = signature_of(&folder, &project.training()).unwrap();

    touch(&folder.join("model.safetensors"), SystemTime::UNIX_EPOCH);
    assert_ne!(signature_of(&folder, &project.training()).unwrap(), signature);
    assert_eq!(complete(cold(&project, step(20))).unwrap(), first);

    fs::remove_dir_all(&folder).unwrap();
    save_checkpoint(&project.run(RUN), 20, 1);
    assert_eq!(complete(cold(&project, step(20))).unwrap(), first, "a restored copy");

    save_checkpoint(&project.run(RUN), 20, 2);
    let other = complete(cold(&project, step(20))).unwrap();
    assert_ne!(other.digest, first.digest);
    assert_ne!(other.weights_digest, first.weights_digest);

    save_checkpoint(&project.run(RUN), 20, 1);
    fs::write(folder.join("trainer_state.json"), r#"{"global_step": 20}"#).unwrap();
    let other = complete(cold(&project, step(20))).unwrap();
    assert_ne!(other.digest, first.digest);
    assert_eq!(other.weights_digest, first.weights_digest);
}

#[test]
fn a_final_model_has_the_weights_digest_of_its_checkpoint() {
    let project = Project::new();
    save_checkpoint(&project.run(RUN), 20, 1);
    write_all(&project.run(RUN).join(RUN), &final_files(one_file(1)));
    let intermediate = complete(cold(&project, step(20))).unwrap();
    let last = complete(cold(&project, CheckpointName::Final)).unwrap();
    assert_eq!(last.weights_digest, intermediate.weights_digest);
    assert_ne!(last.digest, intermediate.digest);
    assert_eq!(last.training, None);
}

#[test]
fn a_final_model_settles_after_the_last_change_of_any_file() {
    let project = Project::new();
    let folder = project.run(RUN).join(RUN);
    write_all(&folder, &final_files(one_file(1)));
    let mut warm = scanner(&project);
    let look = |warm: &mut Scanner, seconds| {
        warm.scan_run(&run_id(), now_plus(seconds)).unwrap().checkpoints[0].condition.clone()
    };
    assert!(matches!(look(&mut warm, 0), Condition::Settling { .. }));
    assert!(matches!(look(&mut warm, 1), Condition::Settling { .. }));
    fs::write(folder.join("tokenizer.json"), "{ }").unwrap();
    assert!(matches!(look(&mut warm, 1), Condition::Settling { .. }));
    assert!(matches!(look(&mut warm, 3), Condition::Complete(_)));
    // A hard link, as an analysis makes one, changes the files' change times and nothing else.
    fs::hard_link(folder.join("model.safetensors"), project.root().join("pin")).unwrap();
    assert!(matches!(look(&mut warm, 0), Condition::Complete(_)));
}

/// A host whose clock is ahead writes change times that lie in our future.
#[test]
fn a_clock_that_is_ahead_does_not_keep_a_model_settling() {
    let project = Project::new();
    write_all(&project.run(RUN).join(RUN), &final_files(one_file(1)));
    let mut warm = scanner(&project);
    let mut look =
        |seconds| warm.scan_run(&run_id(), now_plus(seconds)).unwrap().checkpoints[0].clone();
    assert!(matches!(look(-3600).condition, Condition::Settling { .. }));
    assert!(matches!(look(-3599).condition, Condition::Settling { .. }));
    assert!(matches!(look(-3597).condition, Condition::Complete(_)));
}

#[test]
fn a_run_folder_with_a_model_is_final_unless_there_is_a_folder_for_it() {
    let project = Project::new();
    fs::create_dir_all(project.run(RUN)).unwrap();
    fs::write(project.run(RUN).join("config.json"), LARGE_CONFIG).unwrap();
    assert_eq!(cold(&project, CheckpointName::Final), None);
    write_all(&project.run(RUN), &final_files(one_file(1)));
    let seen = scanner(&project).scan_run(&run_id(), now_plus(60)).unwrap();
    assert_eq!(seen.checkpoints[0].folder, project.run(RUN));
    assert!(matches!(seen.checkpoints[0].condition, Condition::Complete(_)));
    write_all(&project.run(RUN).join(RUN), &final_files(one_file(2)));
    let seen = scanner(&project).scan_run(&run_id(), now_plus(60)).unwrap();
    assert_eq!(seen.checkpoints.len(), 1);
    assert_eq!(seen.checkpoints[0].folder, project.run(RUN).join(RUN));
}

#[test]
fn only_runs_and_checkpoints_are_seen() {
    let project = Project::new();
    for folder in ["checkpoint-20", "tmp-checkpoint-30", ".checkpoint-40", "checkpoint-050", "runs"]
    {
        write_all(&project.run(RUN).join(folder), &checkpoint_files(20, one_file(1)));
    }
    save_checkpoint(&project.run("mrpc"), 20, 1);
    let mut scanner = scanner(&project);
    let TrainingFolder::Listed { runs, .. } = scanner.list_training_folder() else { panic!() };
    assert_eq!(runs.iter().map(|(run, _)| run.as_str()).collect::<Vec<_>>(), [RUN]);
    let seen = scanner.scan_run(&run_id(), now_plus(60)).unwrap();
    assert_eq!(seen.checkpoints.iter().map(|seen| seen.name).collect::<Vec<_>>(), [step(20)]);
    assert_eq!(seen.checkpoints[0].folder, project.run(RUN).join("checkpoint-20"));
}

#[test]
fn links_are_followed_inside_the_training_folder_only() {
    let project = Project::new();
    let outside = save_checkpoint(&project.root().join("elsewhere"), 20, 1);
    let inside = save_checkpoint(&project.training().join("store"), 40, 1);
    fs::create_dir_all(project.run(RUN)).unwrap();
    symlink(&outside, project.run(RUN).join("checkpoint-20")).unwrap();
    symlink(&inside, project.run(RUN).join("checkpoint-40")).unwrap();
    symlink("nowhere", project.run(RUN).join("checkpoint-60")).unwrap();
    symlink(outside.parent().unwrap(), project.run("linked_20260101_000000")).unwrap();
    let mut scanner = scanner(&project);
    let TrainingFolder::Listed { runs, .. } = scanner.list_training_folder() else { panic!() };
    assert_eq!(runs.len(), 1);
    let seen = scanner.scan_run(&run_id(), now_plus(60)).unwrap();
    assert_eq!(seen.checkpoints.iter().map(|seen| seen.name).collect::<Vec<_>>(), [step(40)]);
    assert!(matches!(seen.checkpoints[0].condition, Condition::Complete(_)));

    fs::remove_file(inside.join("model.safetensors")).unwrap();
    symlink(outside.join("model.safetensors"), inside.join("model.safetensors")).unwrap();
    let condition = cold(&project, step(40)).unwrap();
    let Condition::Unreadable { problem } = condition else { panic!("{condition:?}") };
    assert!(problem.contains("leads out of the training folder"), "{problem}");
}

/// Opening a pipe for reading waits for a writer; the scan must not.
#[test]
fn a_pipe_in_a_file_s_place_stops_nothing() {
    let project = Project::new();
    let folder = save_checkpoint(&project.run(RUN), 20, 1);
    for name in ["config.json", "model.safetensors"] {
        fs::remove_file(folder.join(name)).unwrap();
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, folder.join(name), kind, mode, 0).unwrap();
    }
    assert_eq!(
        missing(cold(&project, step(20))),
        "`config.json` is not a regular file; `model.safetensors` is not a regular file"
    );
}

#[test]
fn files_of_another_user_are_unreadable_and_not_incomplete() {
    let project = Project::new();
    let folder = save_checkpoint(&project.run(RUN), 20, 1);
    let weights = folder.join("model.safetensors");
    let forbid = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(&weights, forbid).unwrap();
    if fs::File::open(&weights).is_ok() {
        eprintln!("skipped: this user may read everything");
        return;
    }
    let condition = cold(&project, step(20)).unwrap();
    let Condition::Unreadable { problem } = condition else { panic!("{condition:?}") };
    assert!(problem.contains("setfacl"), "{problem}");
}

#[test]
fn errors_say_what_to_do() {
    let denied = io::Error::from(io::ErrorKind::PermissionDenied);
    let problem = files::problem_with("model.safetensors", &denied);
    assert!(problem.contains("`model.safetensors` may not be read by this user"), "{problem}");
    assert!(problem.contains("setfacl"), "{problem}");
}

/// Trusting times saves reading; equal times of files that are old enough must be enough.
#[test]
fn contents_are_read_again_only_when_times_cannot_prove_them_the_same() {
    for (seconds, is_read_again) in [(60, false), (0, true)] {
        let project = Project::new();
        let folder = save_checkpoint(&project.run(RUN), 20, 1);
        let mut warm = scanner(&project);
        let first = warm.scan_run(&run_id(), now_plus(seconds)).unwrap();
        let weights = folder.join("model.safetensors");
        let time = fs::metadata(&weights).unwrap().modified().unwrap();
        fs::write(&weights, safetensors(8, 2)).unwrap();
        touch(&weights, time);
        let second = warm.scan_run(&run_id(), now_plus(seconds + 1)).unwrap();
        assert_eq!(first.checkpoints[0].signature, second.checkpoints[0].signature);
        let differs = first.checkpoints[0].condition != second.checkpoints[0].condition;
        assert_eq!(differs, is_read_again, "{seconds}");
    }
}

#[test]
fn folders_are_listed_again_only_when_their_times_changed() {
    let project = Project::new();
    save_checkpoint(&project.run(RUN), 20, 1);
    let mut warm = scanner(&project);
    warm.list_training_folder();
    warm.scan_run(&run_id(), now_plus(60)).unwrap();
    assert_eq!(warm.refresh_as_listed(&run_id(), now_plus(61)), None, "unless it is told so");
    warm.list_anew(false);
    assert_eq!(warm.refresh_as_listed(&run_id(), now_plus(61)), Some(ScanChange::None));
    save_checkpoint(&project.run(RUN), 40, 1);
    assert_eq!(warm.refresh_as_listed(&run_id(), now_plus(62)), None);
    assert_eq!(warm.scan_run(&run_id(), now_plus(63)).unwrap().checkpoints.len(), 2);
    fs::remove_dir_all(project.run(RUN).join("checkpoint-20")).unwrap();
    assert_eq!(warm.scan_run(&run_id(), now_plus(64)).unwrap().checkpoints.len(), 1);
    // A list that was made while the folder was young proves nothing: a change in the same step of
    // the file system's clock would not show.
    let mut early = scanner(&project);
    early.list_training_folder();
    early.list_anew(false);
    early.scan_run(&run_id(), now_plus(0)).unwrap();
    assert_eq!(early.refresh_as_listed(&run_id(), now_plus(65)), None);
}

#[test]
fn the_signature_is_that_of_the_sighting() {
    let project = Project::new();
    let folder = save_checkpoint(&project.run(RUN), 20, 1);
    let seen = scanner(&project).scan_run(&run_id(), now_plus(60)).unwrap();
    let signature = signature_of(&folder, &project.training()).unwrap();
    assert_eq!(seen.checkpoints[0].signature, signature);
    fs::write(folder.join("optimizer.pt"), "other").unwrap();
    fs::hard_link(folder.join("config.json"), project.root().join("pin")).unwrap();
    assert_eq!(signature_of(&folder, &project.training()).unwrap(), signature);
}

#[test]
fn the_training_folder_may_be_missing_a_link_or_no_folder() {
    let project = Project::new();
    let root = project.root();
    let list = |path: &Path| {
        let mut settings = project.config(Backend::Poll).scan_settings();
        path.clone_into(&mut settings.training);
        let mut scanner = Scanner::new(settings);
        (scanner.list_training_folder(), scanner.root().map(Path::to_owned))
    };
    assert_eq!(list(&root.join("nowhere/Training")), (TrainingFolder::Missing, None));
    symlink(project.training(), root.join("link")).unwrap();
    let (folder, real) = list(&root.join("link"));
    assert!(matches!(folder, TrainingFolder::Listed { .. }));
    assert_eq!(real, Some(project.training()));
    fs::write(root.join("file"), "").unwrap();
    assert!(matches!(list(&root.join("file")).0, TrainingFolder::Unreadable(_)));
}

#[test]
fn a_run_that_is_gone_is_an_error_and_not_an_empty_run() {
    let project = Project::new();
    save_checkpoint(&project.run(RUN), 20, 1);
    let mut warm = scanner(&project);
    warm.scan_run(&run_id(), now_plus(60)).unwrap();
    fs::remove_dir_all(project.run(RUN)).unwrap();
    assert_eq!(warm.scan_run(&run_id(), now_plus(60)), Err(ScanProblem::Vanished));
    fs::write(project.run(RUN), "a file now").unwrap();
    assert!(matches!(warm.scan_run(&run_id(), now_plus(60)), Err(ScanProblem::Unreadable(_))));
}

#[test]
fn names_that_are_not_utf8_are_left_out() {
    use std::os::unix::ffi::OsStrExt;
    let project = Project::new();
    let folder = save_checkpoint(&project.run(RUN), 20, 1);
    let odd = std::ffi::OsStr::from_bytes(b"checkpoint-\xff");
    fs::create_dir(project.run(RUN).join(odd)).unwrap();
    fs::write(folder.join(odd), "").unwrap();
    assert!(complete(cold(&project, step(20))).is_some());
}

#[test]
fn real_checkpoints_are_complete() {
    let data = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/checkpoints"));
    if !data.is_dir() {
        eprintln!("skipped: no captures at `{}`", data.display());
        return;
    }
    let project = Project::new();
    let settings =
        ScanSettings { training: data.to_owned(), ..project.config(Backend::Poll).scan_settings() };
    let mut scanner = Scanner::new(settings);
    assert!(matches!(scanner.list_training_folder(), TrainingFolder::Listed { .. }));
    let seen = scanner.scan_run(&run_id(), now_plus(60)).unwrap();
    let found: Vec<_> =
        seen.checkpoints.into_iter().map(|seen| complete(Some(seen.condition)).unwrap()).collect();
    let [intermediate, last] = found.as_slice() else { panic!("{found:?}") };
    // Training went on to step 40 after this checkpoint.
    assert_ne!(intermediate.weights_digest, last.weights_digest);
    assert_eq!(intermediate.weights_bytes, 4_289_008);
    assert_eq!(intermediate.training.as_ref().unwrap().step, 20);
}

mod model {
    //! Whatever happens to a run's folder, a scan with memory sees what one without sees.

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write { checkpoint: u64, file: usize, share: usize },
        Remove { checkpoint: u64, file: usize },
        Save { checkpoint: u64, seed: u32 },
        Drop { checkpoint: u64 },
        Rename { from: u64, to: u64 },
        Final { seed: u32 },
        Look { seconds: i64 },
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let checkpoint = 1..4_u64;
        prop_oneof![
            (checkpoint.clone(), 0..10_usize, 0..5_usize)
                .prop_map(|(checkpoint, file, share)| Step::Write { checkpoint, file, share }),
            (checkpoint.clone(), 0..10_usize)
                .prop_map(|(checkpoint, file)| Step::Remove { checkpoint, file }),
            (checkpoint.clone(), 1..4_u32)
                .prop_map(|(checkpoint, seed)| Step::Save { checkpoint, seed }),
            checkpoint.clone().prop_map(|checkpoint| Step::Drop { checkpoint }),
            (checkpoint.clone(), checkpoint).prop_map(|(from, to)| Step::Rename { from, to }),
            (1..4_u32).prop_map(|seed| Step::Final { seed }),
            prop_oneof![Just(0), Just(60)].prop_map(|seconds| Step::Look { seconds }),
        ]
    }

    fn apply(run: &Path, step: &Step) {
        let folder = |checkpoint: u64| run.join(format!("checkpoint-{checkpoint}"));
        // A step that does not apply to what is there does nothing, which is fine.
        let done = match step {
            Step::Write { checkpoint, file, share } => {
                let files = checkpoint_files(*checkpoint, one_file(1));
                files.get(*file).map_or(Ok(()), |(name, content)| {
                    let part = content.get(..content.len() * share / 4).unwrap_or(content);
                    fs::create_dir_all(folder(*checkpoint))?;
                    fs::write(folder(*checkpoint).join(name), part)
                })
            }
            Step::Remove { checkpoint, file } => {
                let files = checkpoint_files(*checkpoint, Vec::new());
                files
                    .get(*file)
                    .map_or(Ok(()), |(name, _)| fs::remove_file(folder(*checkpoint).join(name)))
            }
            Step::Save { checkpoint, seed } => {
                save_checkpoint(run, *checkpoint, *seed);
                Ok(())
            }
            Step::Drop { checkpoint } => fs::remove_dir_all(folder(*checkpoint)),
            Step::Rename { from, to } => fs::rename(folder(*from), folder(*to)),
            Step::Final { seed } => {
                write_all(&run.join(RUN), &final_files(one_file(*seed)));
                Ok(())
            }
            Step::Look { .. } => Ok(()),
        };
        drop(done);
    }

    fn seen(scanner: &mut Scanner, now: Timestamp) -> Vec<(CheckpointName, Condition, u64)> {
        let sighting = scanner.scan_run(&run_id(), now).unwrap();
        let seen = sighting.checkpoints.into_iter();
        seen.map(|seen| (seen.name, seen.condition, seen.signature)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn memory_changes_nothing(steps in prop::collection::vec(any_step(), 1..24)) {
            let project = Project::new();
            fs::create_dir_all(project.run(RUN)).unwrap();
            let mut warm = scanner(&project);
            for step in &steps {
                apply(&project.run(RUN), step);
                if let Step::Look { seconds } = step {
                    warm.scan_run(&run_id(), now_plus(*seconds)).unwrap();
                }
            }
            // Long after the last step nothing settles any more.
            let now = now_plus(3600);
            prop_assert_eq!(seen(&mut warm, now), seen(&mut scanner(&project), now));
        }
    }
}

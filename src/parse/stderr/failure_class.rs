//! The class of a failed analysis, from its ending and its output.
//!
//! Source of the texts: the analysis program under transformers 4.57 and 5.23 with each of its
//! inputs missing or broken, `huggingface_hub`, `datasets`, `safetensors` and `torch`.

use bstr::ByteSlice;

use crate::model::analysis::{Ending, FailureClass};

use super::super::ansi::strip_ansi;

/// One cause: any of its texts shows it.
type Cause = (FailureClass, &'static [&'static str]);

/// In this order, because a cause often shows itself in the words of a later one: a full disk as
/// a `SafetensorError`, a missing tokenizer as a hub that cannot be reached.
const CAUSES: [Cause; 6] = [
    (
        FailureClass::OutOfMemory,
        &[
            "CUDA out of memory",
            "HIP out of memory",
            "CUDA error: out of memory",
            "OutOfMemoryError",
            "DefaultCPUAllocator: can't allocate memory",
            "DefaultCPUAllocator: not enough memory",
            "Cannot allocate memory",
            "CUBLAS_STATUS_ALLOC_FAILED",
            "std::bad_alloc",
            "\nMemoryError",
        ],
    ),
    (
        FailureClass::Disk,
        &[
            "No space left on device",
            "isk quota exceeded",
            "[Errno 28]",
            "Input/output error",
            "Read-only file system",
            "Stale file handle",
        ],
    ),
    (
        FailureClass::Tokenizer,
        &[
            "Can't load tokenizer",
            "a file named tokenizer",
            "a file named vocab",
            "Couldn't instantiate the backend tokenizer",
            "Unable to load vocabulary from file",
        ],
    ),
    (
        FailureClass::MissingWeights,
        &[
            "Error no file named",
            "no file named model.safetensors",
            "No such file or directory: \"model.safetensors",
            "does not appear to have a file named",
        ],
    ),
    (
        FailureClass::CorruptWeights,
        &[
            "SafetensorError",
            "incomplete metadata",
            "HeaderTooLarge",
            "HeaderTooSmall",
            "InvalidHeader",
            "PytorchStreamReader failed",
            "invalid load key",
            "EOFError: Ran out of input",
            "Unable to load weights from pytorch checkpoint",
            "cannot mmap an empty file",
            "UnpicklingError",
            "is not a valid JSON file",
        ],
    ),
    (
        FailureClass::Shape,
        &[
            "size mismatch for",
            "IndexError: index out of range",
            "shapes cannot be multiplied",
            "The size of tensor a",
            "is invalid for input of size",
            "Sizes of tensors must match",
        ],
    ),
];

/// The hub could not be reached, or answered with an error of its own.
const HUB: &[&str] = &[
    "couldn't connect to",
    "LocalEntryNotFoundError",
    "MaxRetryError",
    "Max retries exceeded",
    "ConnectionError",
    "ConnectError",
    "Connection error",
    "Couldn't reach",
    "ReadTimeout",
    "ConnectTimeout",
    "NameResolutionError",
    "Temporary failure in name resolution",
    "OfflineModeIsEnabled",
    "Server Error",
    "Too Many Requests",
    "Gateway",
];

/// The path was taken for the name of a model on the hub, because it is no folder (any more).
const NO_SUCH_FOLDER: &[&str] = &[
    "Incorrect path_or_model_id",
    "HFValidationError",
    "is not a local folder",
    "Repo id must",
    "Can't load the configuration of",
    "Can't load the model for",
];

const DATASET: &[&str] = &[
    "DatasetNotFoundError",
    "DataFilesNotFoundError",
    "DatasetGenerationError",
    "EmptyDatasetError",
    "Couldn't find a dataset",
    "Couldn't find any data file",
    "neither a `Dataset` directory",
    "is not a `Dataset` directory",
    "doesn't exist on the Hub or cannot be accessed",
];

/// Returns why an analysis failed. Exit code 0 means that it left no readable report.
pub fn failure_class(ending: Ending, stderr: &[u8], stdout: &[u8]) -> FailureClass {
    if ending == Ending::Deadline {
        return FailureClass::Deadline;
    }
    if ending == Ending::Exit(0) {
        return FailureClass::NoReport;
    }
    let stderr = strip_ansi(stderr);
    if let Ending::Exit(2) = ending
        && let Some(class) = usage_class(&stderr)
    {
        return class;
    }
    // Stdout is asked second: libraries of some versions print their errors there.
    let by_text = class_of_text(&stderr).or_else(|| class_of_text(&strip_ansi(stdout)));
    match (by_text, ending) {
        (Some(class), _) => class,
        (None, Ending::Signal(_) | Ending::Exit(137 | 143)) => FailureClass::Killed,
        (None, Ending::Exit(2)) => FailureClass::Usage,
        (None, _) => FailureClass::Unknown,
    }
}

/// Reads argparse's last line.
fn usage_class(stderr: &[u8]) -> Option<FailureClass> {
    let error = stderr.lines().rev().find(|line| line.contains_str("error: "))?;
    let is_model_type = error.contains_str("--model_type") && error.contains_str("invalid choice");
    Some(if is_model_type { FailureClass::ModelType } else { FailureClass::Usage })
}

fn class_of_text(text: &[u8]) -> Option<FailureClass> {
    let has = |needles: &[&str]| needles.iter().any(|needle| text.contains_str(needle));
    let known = CAUSES.iter().find(|(_, needles)| has(needles)).map(|(class, _)| *class);
    let is_offline = has(HUB);
    let looked_up_tokenizer = has(&["AutoTokenizer", "/tokenization_", "tokenizer.json"]);
    let loaded_data = has(&["load_dataset", "load_from_disk", "/datasets/"]);
    if known.is_some() {
        known
    } else if looked_up_tokenizer && !loaded_data && (is_offline || has(NO_SUCH_FOLDER)) {
        Some(FailureClass::Tokenizer)
    } else if has(DATASET) {
        Some(FailureClass::Dataset)
    } else if has(NO_SUCH_FOLDER) {
        Some(FailureClass::MissingWeights)
    } else if is_offline {
        Some(FailureClass::Hub)
    } else if has(&["ImportError: ", "ModuleNotFoundError: ", "No module named "]) {
        Some(FailureClass::Import)
    } else if has(&["FileNotFoundError"]) {
        Some(missing_file(text, loaded_data))
    } else {
        None
    }
}

/// Returns what a missing file means, by what was read at that point.
fn missing_file(text: &[u8], loaded_data: bool) -> FailureClass {
    if loaded_data {
        FailureClass::Dataset
    } else if [".safetensors", "pytorch_model", "config.json"]
        .iter()
        .any(|name| text.contains_str(name))
    {
        FailureClass::MissingWeights
    } else {
        FailureClass::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureClass::{
        CorruptWeights, Dataset, Deadline, Disk, Hub, Import, Killed, MissingWeights, ModelType,
        NoReport, OutOfMemory, Shape, Tokenizer, Unknown, Usage,
    };

    const WRONG_CHOICE: &str = "usage: x [-h]\nx: error: argument --model_type: invalid choice: 'diffusion' (choose from 'perceiver_mlm')";
    const OFFLINE: &str =
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files";

    #[test]
    fn the_ending_decides_where_it_can() {
        for (ending, stderr, expected) in [
            (Ending::Deadline, "CUDA out of memory", Deadline),
            (Ending::Exit(0), "", NoReport),
            (Ending::Exit(2), WRONG_CHOICE, ModelType),
            (Ending::Exit(2), "x: error: unrecognized arguments: --y", Usage),
            (Ending::Exit(2), "x: error: argument --batch_size: invalid choice: 3", Usage),
            (Ending::Exit(2), "python: can't open file", Usage),
            (Ending::Exit(2), "x\nMemoryError", OutOfMemory),
            (Ending::Signal(9), "", Killed),
            (Ending::Signal(6), "terminate called\n what(): std::bad_alloc", OutOfMemory),
            (Ending::Exit(137), "", Killed),
            (Ending::Exit(1), "", Unknown),
            (Ending::Exit(1), "KeyError: 'x'", Unknown),
        ] {
            assert_eq!(
                failure_class(ending, stderr.as_bytes(), b""),
                expected,
                "{ending:?} {stderr}"
            );
        }
    }

    #[test]
    fn tracebacks_are_classified() {
        let tokenizer_offline =
            format!("  File \"/v/transformers/models/auto/tokenization_auto.py\"\n{OFFLINE}");
        let dataset_offline =
            format!("  File \"/p/tokenization_auto.py\"\n  dataset = load_dataset(x)\n{OFFLINE}");
        for (stderr, expected) in [
            (
                "OSError: Error no file named model.safetensors, or pytorch_model.bin, found in directory /x.",
                MissingWeights,
            ),
            ("OSError: Incorrect path_or_model_id: '/x/checkpoint-20'.", MissingWeights),
            (
                "FileNotFoundError: [Errno 2] No such file or directory: '/x/model.safetensors'",
                MissingWeights,
            ),
            (
                "safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata, file not fully covered",
                CorruptWeights,
            ),
            ("RuntimeError: PytorchStreamReader failed reading zip archive", CorruptWeights),
            ("SafetensorError: IoError: No space left on device", Disk),
            (
                "OSError: Can't load tokenizer for '/x'. If you were trying to load it from …",
                Tokenizer,
            ),
            (&tokenizer_offline, Tokenizer),
            (
                "    tokenizer = AutoTokenizer.from_pretrained(args.model_path)\nHFValidationError: Repo id must be in the form",
                Tokenizer,
            ),
            (OFFLINE, Hub),
            (&dataset_offline, Hub),
            ("huggingface_hub.errors.LocalEntryNotFoundError: An error happened", Hub),
            ("requests.exceptions.HTTPError: 503 Server Error: Service Unavailable for url", Hub),
            (
                "datasets.exceptions.DatasetNotFoundError: Dataset 'x' doesn't exist on the Hub",
                Dataset,
            ),
            (
                "  File \"/v/datasets/load.py\"\nFileNotFoundError: [Errno 2] No such file: '/x'",
                Dataset,
            ),
            ("torch.cuda.OutOfMemoryError: CUDA out of memory.", OutOfMemory),
            (
                "RuntimeError: [enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory",
                OutOfMemory,
            ),
            ("RuntimeError: Error(s) in loading state_dict for X:\n\tsize mismatch for a.b", Shape),
            ("IndexError: index out of range in self", Shape),
            ("ModuleNotFoundError: No module named 'torch'", Import),
            ("\u{1b}[31mImportError: \u{1b}[0mcannot import", Import),
        ] {
            let class = failure_class(Ending::Exit(1), stderr.as_bytes(), b"");
            assert_eq!(class, expected, "{stderr}");
        }
        let on_stdout = failure_class(Ending::Exit(1), b"", b"CUDA out of memory");
        assert_eq!(on_stdout, OutOfMemory);
    }
}

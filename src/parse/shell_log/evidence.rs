//! What the words of a line say about why training failed.
//!
//! Sources: PyTorch's allocator, `torch.save` and process group messages, NCCL and gloo, the
//! exceptions of `datasets` and of Python itself, the kernel's and Slurm's out-of-memory lines.

use serde::{Deserialize, Serialize};

use bstr::ByteSlice;

/// Why training failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TrainingFailureClass {
    /// Memory of the host or a GPU ran out.
    OutOfMemory,
    /// Communication between ranks failed (NCCL, gloo, the process group).
    Nccl,
    /// SIGKILL.
    Killed,
    /// No space, or a quota is exhausted.
    DiskFull,
    /// Python could not import something.
    ImportError,
    /// The data set is missing or unreadable.
    Dataset,
    /// Shapes of tensors do not fit.
    ShapeMismatch,
    /// A loss or gradient norm is NaN or infinite.
    NonFinite,
    /// Losses or gradient norms run away.
    Divergence,
    /// A person or a scheduler ended it (SIGINT, SIGTERM).
    Interrupted,
    /// Any other exception.
    PythonException,
}

impl TrainingFailureClass {
    /// Returns the name used in JSON, events and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OutOfMemory => "out_of_memory",
            Self::Nccl => "nccl",
            Self::Killed => "killed",
            Self::DiskFull => "disk_full",
            Self::ImportError => "import_error",
            Self::Dataset => "dataset",
            Self::ShapeMismatch => "shape_mismatch",
            Self::NonFinite => "non_finite",
            Self::Divergence => "divergence",
            Self::Interrupted => "interrupted",
            Self::PythonException => "python_exception",
        }
    }
}

use TrainingFailureClass::{
    Dataset, DiskFull, ImportError, Interrupted, Killed, Nccl, NonFinite, OutOfMemory,
    PythonException, ShapeMismatch,
};

/// How much a line says; the strongest of an exception's lines decides its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Weight {
    /// An exception like any other.
    Generic,
    /// May have other causes.
    Weak,
    /// Says what went wrong.
    Specific,
    /// Says that processes lost each other, which has a cause of its own.
    Peer,
    /// Names an exhausted resource, the end of every chain of causes.
    Resource,
}

/// A class with the strength of its evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sign {
    pub(super) class: TrainingFailureClass,
    pub(super) weight: Weight,
}

impl Sign {
    const fn new(class: TrainingFailureClass, weight: Weight) -> Self {
        Self { class, weight }
    }
}

const MEMORY: Sign = Sign::new(OutOfMemory, Weight::Resource);
const DISK: Sign = Sign::new(DiskFull, Weight::Resource);
const PEERS: Sign = Sign::new(Nccl, Weight::Peer);
const DATA: Sign = Sign::new(Dataset, Weight::Specific);
const SHAPE: Sign = Sign::new(ShapeMismatch, Weight::Specific);
const STOPPED: Sign = Sign::new(Interrupted, Weight::Specific);

/// Texts that mean a failure wherever they stand.
pub(super) const ANYWHERE: [(&str, Sign); 34] = [
    ("CUDA out of memory", MEMORY),
    ("HIP out of memory", MEMORY),
    ("OutOfMemoryError", MEMORY),
    ("DefaultCPUAllocator: can't allocate memory", MEMORY),
    ("DefaultCPUAllocator: not enough memory", MEMORY),
    ("Cannot allocate memory", MEMORY),
    ("CUBLAS_STATUS_ALLOC_FAILED", MEMORY),
    ("std::bad_alloc", MEMORY),
    ("Out of memory: Killed process", MEMORY),
    ("oom-kill:", MEMORY),
    ("oom-kill event", MEMORY),
    ("oom_kill event", MEMORY),
    ("OOM Killed", MEMORY),
    (": Out Of Memory", MEMORY),
    ("CUDA_ERROR_OUT_OF_MEMORY", MEMORY),
    ("cudaErrorMemoryAllocation", MEMORY),
    ("out of shared memory", MEMORY),
    ("No space left on device", DISK),
    ("no space left on device", DISK),
    ("isk quota exceeded", DISK),
    ("[Errno 28]", DISK),
    ("Watchdog caught collective operation timeout", PEERS),
    ("NCCL error", PEERS),
    ("NCCL communicator was aborted", PEERS),
    ("Some NCCL operations have failed or timed out", PEERS),
    ("ncclUnhandledCudaError", PEERS),
    ("ncclSystemError", PEERS),
    ("ncclInternalError", PEERS),
    ("ncclRemoteError", PEERS),
    ("DUE TO TIME LIMIT", STOPPED),
    ("DUE TO PREEMPTION", STOPPED),
    ("CANCELLED AT", STOPPED),
    ("death signal, shutting down workers", STOPPED),
    ("SyntaxError: ", Sign::new(PythonException, Weight::Generic)),
];

/// Texts that mean a failure in the message of an exception.
const IN_EXCEPTION: [(&str, Sign); 39] = [
    ("out of memory", MEMORY),
    ("PytorchStreamWriter failed writing", DISK),
    ("unexpected pos", DISK),
    ("StorageFull", DISK),
    ("file write failed", DISK),
    ("iostream error", Sign::new(DiskFull, Weight::Weak)),
    ("Connection closed by peer", PEERS),
    ("gloo", PEERS),
    ("Gloo", PEERS),
    ("NCCL", PEERS),
    ("ProcessGroup", PEERS),
    ("DistBackendError", PEERS),
    ("DistNetworkError", PEERS),
    ("DistStoreError", PEERS),
    ("Timed out initializing process group", PEERS),
    ("killed by signal: Killed", Sign::new(Killed, Weight::Peer)),
    ("terminated with signal SIGKILL", Sign::new(Killed, Weight::Peer)),
    ("cannot open shared object file", Sign::new(ImportError, Weight::Specific)),
    ("Couldn't find a dataset", DATA),
    ("Couldn't find any data file", DATA),
    ("doesn't exist on the Hub or cannot be accessed", DATA),
    ("neither a `Dataset` directory", DATA),
    ("is not a `Dataset` directory", DATA),
    ("datasets.exceptions.", DATA),
    ("with any supported extension", DATA),
    ("size mismatch for", SHAPE),
    ("shapes cannot be multiplied", SHAPE),
    ("The size of tensor a", SHAPE),
    ("Sizes of tensors must match", SHAPE),
    ("is invalid for input of size", SHAPE),
    ("shape mismatch", SHAPE),
    ("could not be broadcast", SHAPE),
    ("must match the existing size", SHAPE),
    ("Expected input batch_size", SHAPE),
    ("is non-finite", Sign::new(NonFinite, Weight::Specific)),
    ("returned nan values", Sign::new(NonFinite, Weight::Specific)),
    ("got signal: 2", STOPPED),
    ("got signal: 15", STOPPED),
    ("got signal: 1", STOPPED),
];

/// What the frames of a traceback tell beyond its exception's line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Context {
    /// Data was being loaded.
    pub(super) loads_data: bool,
    /// The traceback is that of a launcher (accelerate, torchrun), not of training.
    pub(super) is_launcher: bool,
}

impl Context {
    /// Takes note of a line of a traceback's frames.
    pub(super) fn see(&mut self, frame: &[u8]) {
        self.loads_data |= ["/datasets/", "load_dataset", "load_from_disk", "dataset_preprocess"]
            .iter()
            .any(|text| frame.contains_str(text));
        self.is_launcher |= [
            "/accelerate/commands/",
            "/torch/distributed/run.py",
            "/torch/distributed/launcher/",
            "/deepspeed/launcher/",
        ]
        .iter()
        .any(|text| frame.contains_str(text));
    }
}

/// Returns what a line says wherever it stands.
pub(super) fn sign_anywhere(text: &[u8]) -> Option<Sign> {
    strongest(&ANYWHERE, text)
}

/// Returns what the line of an exception says.
pub(super) fn sign_of_exception(name: &str, text: &[u8], context: Context) -> Sign {
    let by_text = sign_of_message(text);
    let by_name = sign_of_name(name, text, context);
    [by_name, by_text]
        .into_iter()
        .flatten()
        .reduce(|best, next| if next.weight > best.weight { next } else { best })
        .unwrap_or(Sign::new(PythonException, Weight::Generic))
}

/// Returns what a further line of an exception's message says.
pub(super) fn sign_of_message(text: &[u8]) -> Option<Sign> {
    let everywhere = strongest(&ANYWHERE, text);
    let here = strongest(&IN_EXCEPTION, text);
    match (everywhere, here) {
        (Some(first), Some(second)) if second.weight > first.weight => Some(second),
        (first, second) => first.or(second),
    }
}

fn sign_of_name(name: &str, text: &[u8], context: Context) -> Option<Sign> {
    let sign = match name.rsplit('.').next().unwrap_or(name) {
        "MemoryError" | "_ArrayMemoryError" => MEMORY,
        "ImportError" | "ModuleNotFoundError" => Sign::new(ImportError, Weight::Specific),
        "DatasetNotFoundError"
        | "DataFilesNotFoundError"
        | "DatasetGenerationError"
        | "EmptyDatasetError" => DATA,
        "KeyboardInterrupt" => STOPPED,
        "FloatingPointError" => Sign::new(NonFinite, Weight::Specific),
        "FileNotFoundError" | "NotADirectoryError" if is_about_data(text, context) => DATA,
        "ConnectionError" if context.loads_data => DATA,
        _ => return None,
    };
    Some(sign)
}

fn is_about_data(text: &[u8], context: Context) -> bool {
    context.loads_data || text.contains_str("/data") || text.contains_str("dataset")
}

fn strongest(table: &[(&str, Sign)], text: &[u8]) -> Option<Sign> {
    table
        .iter()
        .filter(|(needle, _)| text.contains_str(needle))
        .map(|(_, sign)| *sign)
        .reduce(|best, next| if next.weight > best.weight { next } else { best })
}

/// Returns what the exit code of a child means, and whether it tells a cause by itself.
///
/// Negative codes are signals, as Python's `subprocess` and torchrun print them; 128 + signal is
/// the shell's form.
pub(super) fn class_of_exit(code: i32) -> (TrainingFailureClass, bool) {
    match code {
        -9 | 137 => (Killed, true),
        -1 | -2 | -15 | 129 | 130 | 143 => (Interrupted, true),
        _ => (PythonException, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_classified_by_name_and_message() {
        let data = Context { loads_data: true, is_launcher: false };
        for (text, context, expected) in [
            (
                "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
                data,
                OutOfMemory,
            ),
            ("RuntimeError: CUDA error: out of memory", Context::default(), OutOfMemory),
            ("MemoryError", Context::default(), OutOfMemory),
            ("OSError: [Errno 12] Cannot allocate memory", data, OutOfMemory),
            ("OSError: [Errno 28] No space left on device: '/x'", data, DiskFull),
            (
                "RuntimeError: [enforce fail at inline_container.cc:668] . unexpected pos 1 vs 2",
                data,
                DiskFull,
            ),
            ("RuntimeError: basic_ios::clear: iostream error", Context::default(), DiskFull),
            ("OSError: [Errno 122] Disk quota exceeded", data, DiskFull),
            ("torch.distributed.DistBackendError: NCCL error in: x.cpp:1", data, Nccl),
            (
                "RuntimeError: [../gloo/transport/tcp/pair.cc:547] Connection closed by peer",
                data,
                Nccl,
            ),
            ("ImportError: cannot import name 'x' from 'y'", data, ImportError),
            ("ModuleNotFoundError: No module named 'x'", data, ImportError),
            ("datasets.exceptions.DatasetNotFoundError: Dataset 'x' doesn't exist", data, Dataset),
            ("FileNotFoundError: [Errno 2] No such file or directory: '/x'", data, Dataset),
            (
                "FileNotFoundError: [Errno 2] No such file or directory: '/x'",
                Context::default(),
                PythonException,
            ),
            (
                "FileNotFoundError: Couldn't find a dataset script at /x",
                Context::default(),
                Dataset,
            ),
            (
                "RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)",
                data,
                ShapeMismatch,
            ),
            (
                "RuntimeError: The size of tensor a (3) must match the size of tensor b",
                data,
                ShapeMismatch,
            ),
            ("RuntimeError: shape '[2, 3]' is invalid for input of size 5", data, ShapeMismatch),
            ("RuntimeError: The total norm for gradients is non-finite", data, NonFinite),
            ("KeyboardInterrupt", data, Interrupted),
            ("x.SignalException: Process 7 got signal: 15", data, Interrupted),
            ("RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed.", data, Killed),
            ("ValueError: whatever", data, PythonException),
        ] {
            let name = text.split(':').next().unwrap_or_default();
            let sign = sign_of_exception(name, text.as_bytes(), context);
            assert_eq!(sign.class, expected, "{text}");
        }
    }

    #[test]
    fn ordinary_lines_say_nothing() {
        for text in [
            "[Gloo] Rank 0 is connected to 1 peer ranks",
            "Sending process 20570 closing signal SIGTERM",
            "GPU memory: 12 GiB in use",
            "TORCH_NCCL_ASYNC_ERROR_HANDLING=1",
        ] {
            assert_eq!(sign_anywhere(text.as_bytes()), None, "{text}");
        }
    }
}

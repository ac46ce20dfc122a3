//! Where an analysis computes.

/// A device for one analysis, and why it is this one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceChoice {
    /// The variables that restrict the child to it.
    pub environment: Vec<(String, String)>,
    /// Which device and why, for people: `cpu: GPU 0 is used by process 4711`.
    pub reason: String,
    /// The UUID of the GPU that nobody else may be given meanwhile.
    pub gpu: Option<String>,
}

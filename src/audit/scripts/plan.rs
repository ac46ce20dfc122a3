//! What a launcher says of the training that it starts, for the row of the experiment log.

use super::Start;

/// The cells of a pending row, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The data set.
    pub data: Option<String>,
    /// Number of epochs.
    pub epochs: Option<String>,
    /// The losses on concepts.
    pub losses: Option<String>,
    /// `LR 3e-4 cosine, batch 512, …`.
    pub parameters: Option<String>,
}

/// Reads the plan from what the training program is started with.
///
/// The batch is per step of the optimizer where reading tells the number of processes, else per
/// process.
pub fn plan(start: &Start) -> Plan {
    let parts = [
        learning_rate(start),
        batch(start),
        named(start, "max_steps", "max steps"),
        named(start, "warmup_steps", "warmup"),
        named(start, "weight_decay", "weight decay"),
        named(start, "max_seq_length", "length"),
        named(start, "model_name_or_path", "from"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    Plan {
        data: data(start),
        epochs: start.parameter("num_train_epochs").map(str::to_owned),
        losses: losses(start),
        parameters: (!parts.is_empty()).then(|| parts.join(", ")),
    }
}

fn named(start: &Start, parameter: &str, label: &str) -> Option<String> {
    start.parameter(parameter).map(|value| format!("{label} {value}"))
}

fn learning_rate(start: &Start) -> Option<String> {
    let rate = start.parameter("learning_rate")?;
    let schedule = start.parameter("lr_scheduler_type").map(|kind| format!(" {kind}"));
    Some(format!("LR {rate}{}", schedule.unwrap_or_default()))
}

fn batch(start: &Start) -> Option<String> {
    let each = start.parameter("per_device_train_batch_size").or(start.parameter("batch_size"))?;
    let accumulated = start.parameter("gradient_accumulation_steps").unwrap_or("1");
    let processes = ["num_processes", "nproc_per_node", "num_gpus"];
    let is_spread = start.launching.iter().any(|own| processes.contains(&own.name.as_str()));
    let processes = processes.iter().find_map(|name| start.launching(name));
    let number = |text: &str| text.parse::<u64>().ok();
    let own =
        number(each).zip(number(accumulated)).and_then(|(each, steps)| each.checked_mul(steps));
    match (own, processes.map(number)) {
        (Some(own), Some(Some(processes))) => {
            own.checked_mul(processes).map(|all| format!("batch {all}"))
        }
        (Some(own), _) if is_spread => Some(format!("batch {own} per process")),
        (Some(own), _) => Some(format!("batch {own}")),
        (None, _) => Some(format!("batch {each} x {accumulated}")),
    }
}

fn data(start: &Start) -> Option<String> {
    let name = start.parameter("dataset_name")?;
    let subset = start.parameter("dataset_name_subset").map(|subset| format!(" ({subset})"));
    Some(format!("{name}{}", subset.unwrap_or_default()))
}

fn losses(start: &Start) -> Option<String> {
    let losses = start.parameter("concept_losses")?;
    if losses == "none" {
        return Some(losses.to_owned());
    }
    let joined = losses.split_whitespace().collect::<Vec<_>>().join(" + ");
    let weighting = start.parameter("loss_weighting");
    let weight = start.parameter("loss_weight").filter(|_| weighting == Some("fixed"));
    let how = [weighting, weight].into_iter().flatten().collect::<Vec<_>>().join(" ");
    Some(if how.is_empty() { joined } else { format!("{joined} ({how})") })
}

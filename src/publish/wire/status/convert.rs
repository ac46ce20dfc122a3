//! From the model's snapshot to its wire form.

use super::{
    Analysis, CheckpointCounts, Daemon, Documents, Gpu, Held, Host, Incomplete, Log, Metrics,
    Queued, Receiver, RecentMetric, Run, Running, Score, Status, TrajectoryPoint, UnlinkedLog,
    UnlinkedReport, Watch,
};
use crate::model::checkpoint::TrainingPoint;
use crate::model::journal::{DocumentsState, HeldDocument};
use crate::model::status as model;
use crate::model::training::RunMetric;
use crate::publish::wire::finite;

impl From<&model::Status> for Status {
    fn from(status: &model::Status) -> Self {
        Self {
            time: status.time.clone(),
            problems: status.problems.clone(),
            runs: status.runs.iter().map(|run| Run::from(&**run)).collect(),
            analysis: Analysis::from(&status.analysis),
            paused: status.paused.clone(),
            queue: status.queue.iter().map(Queued::from).collect(),
            unlinked_logs: status.unlinked_logs.iter().map(UnlinkedLog::from).collect(),
            unlinked_reports: status.unlinked_reports.iter().map(UnlinkedReport::from).collect(),
            running: status.running.iter().map(Running::from).collect(),
            documents: Documents::from(&status.documents),
            log: Log::from(&status.log),
            watch: Watch::from(&status.watch),
            host: Host::from(&status.host),
            daemon: Daemon::from(&status.daemon),
            alerts: status.alerts.iter().map(Receiver::from).collect(),
        }
    }
}

impl From<&model::LogStatus> for Log {
    fn from(log: &model::LogStatus) -> Self {
        let model::LogStatus { branch, unmerged, problem, is_busy: _ } = log.clone();
        Self { branch, unmerged, problem }
    }
}

impl From<&model::RunStatus> for Run {
    fn from(run: &model::RunStatus) -> Self {
        let point = |&(step, rank): &(u64, f64)| TrajectoryPoint { step, rank: finite(rank) };
        let incomplete = |(checkpoint, missing): &(String, String)| Incomplete {
            checkpoint: checkpoint.clone(),
            missing: missing.clone(),
        };
        Self {
            run: run.run.to_string(),
            state: run.state.to_string(),
            evidence: run.evidence.to_string(),
            step: run.step,
            total_steps: run.total_steps,
            eta: run.eta.clone(),
            eta_basis: run.eta_basis.to_string(),
            metrics: run.metrics.as_ref().map(Metrics::from),
            checkpoints: CheckpointCounts::from(run.checkpoints),
            verdict: run.verdict,
            reasons: run.reasons.clone(),
            rank: run.rank.and_then(finite),
            rank_measurement: run.rank_measurement.clone(),
            concepts: run.concepts,
            trajectory: run.trajectory.iter().map(point).collect(),
            recent_metrics: run.recent_metrics.iter().map(RecentMetric::from).collect(),
            shell_log: run.shell_log.clone(),
            shell_logs: run.shell_logs.clone(),
            wandb_url: run.wandb_url.clone(),
            failure_notes: run.failure_notes.clone(),
            scores: run.scores.iter().map(Score::from).collect(),
            incomplete: run.incomplete.iter().map(incomplete).collect(),
        }
    }
}

impl From<&model::ScoreStatus> for Score {
    fn from(score: &model::ScoreStatus) -> Self {
        let model::ScoreStatus { task, metric, score, report } = score.clone();
        Self { task, metric, score: finite(score), report }
    }
}

impl From<&model::UnlinkedReport> for UnlinkedReport {
    fn from(unlinked: &model::UnlinkedReport) -> Self {
        let model::UnlinkedReport { report, reason } = unlinked.clone();
        Self { report, reason }
    }
}

impl From<&RunMetric> for RecentMetric {
    fn from(metric: &RunMetric) -> Self {
        let value = |(name, value): &(String, f64)| (name.clone(), finite(*value));
        Self {
            step: metric.step,
            line: metric.line,
            kind: metric.kind,
            source: metric.source,
            values: metric.values.iter().map(value).collect(),
        }
    }
}

impl From<&model::ReceiverStatus> for Receiver {
    fn from(status: &model::ReceiverStatus) -> Self {
        Self {
            address: status.address.clone(),
            format: status.format.to_owned(),
            waiting: status.waiting,
            lost: status.lost,
            problem: status.problem.clone(),
        }
    }
}

impl From<&model::UnlinkedLog> for UnlinkedLog {
    fn from(log: &model::UnlinkedLog) -> Self {
        Self { path: log.path.clone(), reason: log.reason.clone() }
    }
}

impl From<&TrainingPoint> for Metrics {
    fn from(point: &TrainingPoint) -> Self {
        Self {
            step: point.step,
            total_steps: point.total_steps,
            epoch: point.epoch.and_then(finite),
            loss: point.loss.and_then(finite),
            loss_step: point.loss_step,
            grad_norm: point.grad_norm.and_then(finite),
            learning_rate: point.learning_rate.and_then(finite),
            eval_loss: point.eval_loss.and_then(finite),
            eval_step: point.eval_step,
            not_finite: point.not_finite.clone(),
        }
    }
}

impl From<model::CheckpointCounts> for CheckpointCounts {
    fn from(counts: model::CheckpointCounts) -> Self {
        let model::CheckpointCounts { seen, complete, analyzed, pending, gone } = counts;
        Self { seen, complete, analyzed, pending, gone }
    }
}

impl From<&model::Readiness> for Analysis {
    fn from(readiness: &model::Readiness) -> Self {
        match readiness {
            model::Readiness::Checking => Self::Checking,
            model::Readiness::Ready { program } => Self::Ready { program: program.clone() },
            model::Readiness::NotReady { problem } => Self::NotReady { problem: problem.clone() },
        }
    }
}

impl From<&model::QueueEntry> for Queued {
    fn from(entry: &model::QueueEntry) -> Self {
        Self {
            run: entry.run.to_string(),
            checkpoint: entry.checkpoint.clone(),
            reason: entry.reason.clone(),
        }
    }
}

impl From<&model::RunningAnalysis> for Running {
    fn from(running: &model::RunningAnalysis) -> Self {
        Self {
            run: running.run.to_string(),
            checkpoint: running.checkpoint.clone(),
            since: running.since.clone(),
            attempt: running.attempt,
            device: running.device.clone(),
        }
    }
}

impl From<&DocumentsState> for Documents {
    fn from(documents: &DocumentsState) -> Self {
        let held = documents.held.iter().map(Held::from).collect();
        Self { pending: documents.pending, held }
    }
}

impl From<&HeldDocument> for Held {
    fn from(held: &HeldDocument) -> Self {
        Self {
            document: held.document.clone(),
            reason: held.reason.clone(),
            since: held.since.clone(),
            entries: held.entries,
        }
    }
}

impl From<&model::WatchStatus> for Watch {
    fn from(watch: &model::WatchStatus) -> Self {
        Self {
            backend: watch.backend.clone(),
            watches: watch.watches,
            overflows: watch.overflows,
            last_reconcile: watch.last_reconcile.clone(),
            reconcile_ms: watch.reconcile_ms.and_then(finite),
            degraded: watch.degraded.clone(),
            training_folder: watch.training_folder.clone(),
        }
    }
}

impl From<&model::HostStatus> for Host {
    fn from(host: &model::HostStatus) -> Self {
        Self {
            name: host.name.clone(),
            cpu: host.cpu.and_then(finite),
            memory_used: host.memory_used,
            memory_total: host.memory_total,
            disk_free: host.disk_free,
            disk_total: host.disk_total,
            gpus: host.gpus.iter().map(Gpu::from).collect(),
            gpu_note: host.gpu_note.clone(),
        }
    }
}

impl From<&model::GpuStatus> for Gpu {
    fn from(gpu: &model::GpuStatus) -> Self {
        Self {
            index: gpu.index,
            uuid: gpu.uuid.clone(),
            name: gpu.name.clone(),
            memory_used: gpu.memory_used,
            memory_total: gpu.memory_total,
            utilization: gpu.utilization.and_then(finite),
            processes: gpu.processes.clone(),
            problem: gpu.problem.clone(),
        }
    }
}

impl From<&model::DaemonStatus> for Daemon {
    fn from(daemon: &model::DaemonStatus) -> Self {
        Self {
            version: daemon.version.clone(),
            pid: daemon.pid,
            root: daemon.root.clone(),
            uptime_seconds: daemon.uptime_seconds,
            memory: daemon.memory,
            journal: daemon.journal.clone(),
            journal_problem: daemon.journal_problem.clone(),
            seq: daemon.seq,
        }
    }
}

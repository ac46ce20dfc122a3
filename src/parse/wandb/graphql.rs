//! Questions to W&B's GraphQL service and its answers, as its own public Python client asks them.

use serde_json::{Value, json};

use super::{Configuration, RunPage, WandbRun, commit, final_loss, keep, literal};
use crate::parse::json::{self, Json};

/// Runs in one answer.
const PER_PAGE: u32 = 50;
/// What the service complains of is shortened to this many characters.
const LONGEST_COMPLAINT: usize = 200;

const QUERY: &str = "query Runs($project: String!, $entity: String, $cursor: String, \
    $perPage: Int, $filters: JSONString) { project(name: $project, entityName: $entity) { \
    name entityName runs(filters: $filters, after: $cursor, first: $perPage) { \
    edges { node { name displayName state config summaryMetrics commit } } \
    pageInfo { endCursor hasNextPage } } } }";

/// One page of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// The runs.
    pub runs: Vec<FoundRun>,
    /// Where the next page begins; `None`: this is the last one.
    pub next: Option<String>,
}

/// A run with the name that people gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundRun {
    /// The name for people.
    pub display_name: String,
    /// Everything else.
    pub run: WandbRun,
}

/// Returns the question for the runs with this id or name.
pub fn question(project: &str, entity: Option<&str>, run: &str, cursor: Option<&str>) -> Value {
    let filters = json!({"$or": [{"name": run}, {"display_name": run}]}).to_string();
    json!({"query": QUERY, "variables": {
        "project": project, "entity": entity, "cursor": cursor, "perPage": PER_PAGE,
        "filters": filters,
    }})
}

/// Reads an answer; `site` is where the pages of runs stand, such as `https://wandb.ai`.
///
/// # Errors
/// What the service complains of, or that it is no answer.
pub fn answer(bytes: &[u8], site: &str) -> Result<Answer, String> {
    let answer = json::parse(bytes).map_err(|problem| format!("its answer {problem}"))?;
    if let Some(complaint) = complaint(&answer) {
        return Err(complaint);
    }
    let data = answer.get("data").ok_or("its answer has no data")?;
    let project = match data.get("project") {
        Some(project) if project.is_object() => project,
        // A project that is not there, or that this key may not see.
        _ => return Ok(Answer::default()),
    };
    let text = |from: &Json, key: &str| from.get(key).and_then(Json::as_str).map(str::to_owned);
    let (Some(name), Some(entity)) = (text(project, "name"), text(project, "entityName")) else {
        return Err("its answer names no project".to_owned());
    };
    let runs = project.get("runs").ok_or("its answer has no runs")?;
    let edges = runs.get("edges").and_then(Json::as_array).unwrap_or_default();
    let found = edges.iter().filter_map(|edge| {
        let node = edge.get("node")?;
        let id = text(node, "name")?;
        let url = format!("{site}/{entity}/{name}/runs/{id}");
        let page = RunPage { url, entity: entity.clone(), project: name.clone(), id };
        let run = WandbRun { page: super::page(&page.url), ..facts(node) };
        Some(FoundRun { display_name: text(node, "displayName").unwrap_or_default(), run })
    });
    let info = runs.get("pageInfo");
    let has_more = info.and_then(|info| info.get("hasNextPage")) == Some(&Json::Bool(true));
    let next = info.and_then(|info| text(info, "endCursor")).filter(|_| has_more);
    Ok(Answer { runs: found.collect(), next })
}

/// Returns the one run that is meant: the one with this id, else the only one with this name.
pub fn the_one(mut found: Vec<FoundRun>, run: &str) -> Option<WandbRun> {
    let is_its_id = |one: &FoundRun| one.run.page.as_ref().is_some_and(|page| page.id == run);
    if let Some(at) = found.iter().position(is_its_id) {
        return Some(found.swap_remove(at).run);
    }
    found.retain(|one| one.display_name == run);
    let only = found.pop()?;
    found.is_empty().then_some(only.run)
}

/// Returns where the pages of runs stand, by the address of the service.
pub fn site(base_url: &str) -> String {
    let base = base_url.trim_end_matches('/');
    if base == "https://api.wandb.ai" { "https://wandb.ai".to_owned() } else { base.to_owned() }
}

fn complaint(answer: &Json) -> Option<String> {
    let first = answer.get("errors")?.as_array()?.first()?;
    let text = first.get("message").and_then(Json::as_str).unwrap_or("an error without words");
    Some(text.chars().filter(|c| !c.is_control()).take(LONGEST_COMPLAINT).collect())
}

/// Reads what stands as JSON inside of a text.
fn facts(node: &Json) -> WandbRun {
    let inner = |key: &str| json::parse(node.get(key)?.as_str()?.as_bytes()).ok();
    let mut config = Configuration::new();
    if let Some(Json::Object(members)) = inner("config") {
        for (key, value) in members {
            if let Some(value) = value.get("value") {
                keep(&mut config, key, of_json(value));
            }
        }
    }
    let found_commit = node.get("commit").and_then(Json::as_str).and_then(commit);
    // While it runs its last loss is not its final one.
    let is_running = node.get("state").and_then(Json::as_str) == Some("running");
    let summary = inner("summaryMetrics").filter(|_| !is_running);
    let final_loss = summary.as_ref().and_then(final_loss);
    WandbRun { page: None, config, found_commit, final_loss }
}

fn of_json(value: &Json) -> literal::Value {
    match value {
        Json::Null => literal::Value::Word("null".to_owned()),
        Json::Bool(value) => literal::Value::Word(value.to_string()),
        Json::Number(number) => literal::Value::Word(number.to_string()),
        Json::String(text) => literal::Value::Text(text.clone()),
        Json::Array(_) | Json::Object(_) => literal::Value::Nested,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, name: &str) -> Value {
        json!({"node": {
            "name": id, "displayName": name, "state": "finished", "commit": "54ee8701aa",
            "config": "{\"git_commit\": {\"value\": \"54ee870\", \"desc\": null}, \"lr\": {\"value\": 0.0003}, \"git_tag\": {\"value\": null}, \"_wandb\": {\"value\": {}}}",
            "summaryMetrics": "{\"train/loss\": 1.433, \"_step\": 40}",
        }})
    }

    fn body(edges: &[Value], next: Option<&str>) -> Vec<u8> {
        json!({"data": {"project": {"name": "MrCogito", "entityName": "ksopyla", "runs": {
            "edges": edges, "pageInfo": {"endCursor": next, "hasNextPage": next.is_some()},
        }}}})
        .to_string()
        .into_bytes()
    }

    #[test]
    fn an_answer_has_pages_configurations_and_losses() {
        let bytes = body(&[node("a1b2", "my run"), json!({}), json!({"node": null})], Some("c1"));
        let read = answer(&bytes, "https://wandb.ai").unwrap();
        assert_eq!((read.runs.len(), read.next.as_deref()), (1, Some("c1")));
        let run = &read.runs[0].run;
        let url = &run.page.as_ref().unwrap().url;
        assert_eq!(url, "https://wandb.ai/ksopyla/MrCogito/runs/a1b2");
        assert_eq!(run.config.get("lr"), Some(&Some("0.0003".to_owned())));
        assert_eq!(run.git().commit.as_deref(), Some("54ee870"));
        let running = String::from_utf8(bytes).unwrap().replace("finished", "running");
        let running = answer(running.as_bytes(), "https://wandb.ai").unwrap();
        assert_eq!(running.runs[0].run.final_loss, None);
        let wanted = ["git_tag", "lr"].map(str::to_owned);
        assert_eq!((run.final_loss, run.lacking(&wanted)), (Some(1.433), vec!["git_tag"]));
    }

    #[test]
    fn what_is_no_answer_is_said() {
        for (text, expected) in [
            (r#"{"errors": [{"message": "bad\nquery"}], "data": null}"#, Err("badquery")),
            (r#"{"data": {"project": null}}"#, Ok(0)),
            (r#"{"data": {"project": {"runs": {}}}}"#, Err("its answer names no project")),
            ("<html>", Err("its answer is not JSON: a value expected at byte 0")),
            ("{}", Err("its answer has no data")),
        ] {
            let read = answer(text.as_bytes(), "x").map(|answer| answer.runs.len());
            assert_eq!(
                read.as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|e| *e),
                "{text}"
            );
        }
    }

    #[test]
    fn of_several_runs_the_one_is_known_by_its_id_or_by_being_the_only_one() {
        let read = |edges: &[Value]| answer(&body(edges, None), "https://wandb.ai").unwrap().runs;
        let id = |run: Option<WandbRun>| run.and_then(|run| run.page).map(|page| page.id);
        for (edges, expected) in [
            (vec![node("x", "r"), node("r", "other")], Some("r")),
            (vec![node("x", "r"), node("y", "s")], Some("x")),
            (vec![node("x", "r"), node("y", "r")], None),
            (vec![], None),
        ] {
            assert_eq!(id(the_one(read(&edges), "r")).as_deref(), expected);
        }
        assert_eq!(site("https://api.wandb.ai/"), "https://wandb.ai");
        assert_eq!(site("http://wandb.local:8080/"), "http://wandb.local:8080");
        let question = question("MrCogito", None, "r\"", Some("c1"));
        let variables = &question["variables"];
        assert_eq!(variables["filters"], r#"{"$or":[{"name":"r\""},{"display_name":"r\""}]}"#);
        assert_eq!((&variables["entity"], &variables["cursor"]), (&Value::Null, &json!("c1")));
    }
}
